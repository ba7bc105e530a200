"""What a run says: a progress bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from threading import Timer
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from focusdd.core.distributed import rank
from focusdd.core.spelling import spelled

# of the processes of a torchrun, the first speaks for all
console = Console(highlight=False, soft_wrap=True, emoji=False, quiet=rank() > 0)
_PLAIN_SECONDS = 15.0  # between plain lines
_FIRST_SECONDS = 5.0  # until the first, where nothing is done yet: what is quick says nothing
_BAR_SECONDS = 0.1


class Advance(Protocol):
    def __call__(self, items: int, /, note: str = "") -> None:
        """So many more are done. The note replaces the last one."""


@contextmanager
def progress(what: str, total: int | None, unit: str, done: int = 0) -> Iterator[Advance]:
    """Shows progress over `total` items (None: unknown), `done` of them earlier, while the block runs."""
    start = last = time.monotonic()
    new = 0
    bar = _bar() if console.is_terminal else None
    begun = f"{what}: {done:,} {unit}" if total is None else f"{what}: {done}/{total} {unit}"
    first = Timer(_FIRST_SECONDS, say, [begun])
    first.daemon = True

    def advance(items: int, note: str = "") -> None:
        nonlocal new, last
        first.cancel()
        new += items
        now = time.monotonic()
        if now - last < (_BAR_SECONDS if bar else _PLAIN_SECONDS):
            return
        last = now
        each = new / (now - start)
        rate = f"{each:.3g} {unit}/s"
        if bar:
            bar.update(task, completed=done + new, rate=rate, note=note)
        elif total is None:
            say(f"{what}: {done + new:,} {unit}, {rate}")
        else:
            left = (total - done - new) / max(each, 1e-9)
            say(f"{what}: {done + new}/{total}, {rate}, {left:.0f} s left {note}".rstrip())

    with bar or nullcontext():
        if bar:
            task = bar.add_task(what, total=total, completed=done, rate="", note="")
        elif total != 0:
            first.start()
        try:
            yield advance
        finally:
            first.cancel()


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    )


def say(line: str) -> None:
    """One line of output, never interpreted as markup."""
    console.print(line, markup=False)


def warn(line: str) -> None:
    """One line that asks for attention."""
    console.print(f"warning: {spelled(line)}", style="yellow", markup=False)


warn_once = cache(warn)  # of many students and their one teacher

"""What a run says: a progress bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

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

# of the processes of a torchrun, the first speaks for all
console = Console(highlight=False, soft_wrap=True, emoji=False, quiet=rank() > 0)
_PLAIN_SECONDS = 15.0  # between plain lines

Advance = Callable[[int, str], None]
"""advance(items, note): so many more are done; the note replaces the last one."""


@contextmanager
def progress(what: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Shows progress over `total` items, `done` of them earlier, while the block runs."""
    if console.is_terminal:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done, rate="", note="")
            start, new = time.monotonic(), 0

            def advance(items: int, note: str = "") -> None:
                nonlocal new
                new += items
                rate = new / max(time.monotonic() - start, 1e-9)
                bar.update(task, advance=items, rate=f"{rate:.3g} {unit}/s", note=note)

            yield advance
        return
    start = last = time.monotonic()
    new = 0

    def advance_plain(items: int, note: str = "") -> None:
        nonlocal new, last
        new += items
        now = time.monotonic()
        if now - last >= _PLAIN_SECONDS:
            last = now
            rate = new / (now - start)
            left = (total - done - new) / max(rate, 1e-9)
            say(f"{what}: {done + new}/{total}, {rate:.3g} {unit}/s, {left:.0f} s left {note}".rstrip())

    yield advance_plain


@contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Shows how many items there are so far, where nobody knows the total, while the block runs.

    Yields advance(items); it is cheap enough to be called for every one of a million items.
    """
    start = last = time.monotonic()
    count = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
    pause = _PLAIN_SECONDS if bar is None else 0.1

    def advance(items: int) -> None:
        nonlocal count, last
        count += items
        now = time.monotonic()
        if now - last < pause:
            return
        last = now
        line = f"{what}: {count:,} {unit}, {count / (now - start):.3g} {unit}/s"
        if bar is None:
            say(line)
        else:
            bar.update(task, description=line)

    with bar or nullcontext():
        if bar is not None:
            task = bar.add_task(what, total=None)
        yield advance


def say(line: str) -> None:
    """One line of output, never interpreted as markup."""
    console.print(line, markup=False)


def warn(line: str) -> None:
    """One line that asks for attention."""
    console.print(f"warning: {line}", style="yellow", markup=False)

"""Where the numbered shards of a stage are worked on. A stage never learns it: parts are the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from focusdd.core.console import Advance, progress, say
from focusdd.execute.remote import require_there
from focusdd.settings import EngineSettings

Work = Callable[[Sequence[int], Advance], None]
"""work(shards, advance): writes the part of each of these shards whole, unless it is there already, and says
how many items are done, with a note for the progress line."""

Worker = Callable[[], Work]
"""Makes the work in another process: it can be pickled, so it holds names and settings, never data."""


def make_missing(
    parts: Sequence[Sequence[Path]],
    items: Sequence[int],
    unit: str,
    what: str,
    work: Work,
    worker: Worker,
    engine: EngineSettings | None = None,
    device: str = "cpu",
) -> int:
    """Makes the parts of which a file is missing, with a progress line.

    Args:
        parts: the files of every part, by its number.
        items: how many items every part holds.
        unit: of the items.
        what: is done, in a word.
        work: what this process does. The caller holds the stage's lock.
        worker: what makes the same work elsewhere, from the files that all nodes share.
        engine: where; default: here.
        device: "cpu" for work that needs no GPU; "auto" takes GPUs where the cluster has any.

    Returns:
        The number of items made.

    Raises:
        FocusError: what a worker raised, or a file that it has written is not seen here.
    """
    pending = [number for number, files in enumerate(parts) if not all(file.exists() for file in files)]
    if 0 < len(pending) < len(parts):
        say(f"resuming: {len(parts) - len(pending)} of {len(parts)} parts are there")
    total = sum(items[number] for number in pending)
    with progress(what, total, unit) as advance:
        if pending and (engine is None or engine.engine == "local"):
            work(pending, advance)
        elif pending and engine is not None:
            from focusdd.execute.ray import run_on_ray

            run_on_ray(pending, worker, advance, engine, device)
    require_there(file for files in parts for file in files)
    return total

"""The trials of a comparison on the workers of a cluster: names and settings travel, files come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from focusdd.core.console import Advance, progress
from focusdd.core.version import __version__
from focusdd.execute import Work
from focusdd.execute.ray import run_on_ray
from focusdd.execute.remote import SourceName, once_free, require_there, require_version
from focusdd.extraction.index import open_index
from focusdd.settings import EngineSettings
from focusdd.tasks.trials import ComparisonContext, Trial


def hand_out(
    what: str,
    do: Callable[[Trial, ComparisonContext], Any],
    folders: Mapping[Trial, Sequence[Path]],
    context: ComparisonContext,
    engine: EngineSettings,
    finished: Callable[[Trial], None],
) -> None:
    """Distils or trains for every trial, which fills its folders.

    Args:
        what: "distil" or "train".
        do: does it, in a worker.
        finished: is called with every trial when its files are there, in whatever order that is.

    Raises:
        FocusError: as the stages, wherever they ran.
    """
    trials = tuple(folders)
    sources = {
        name: SourceName.of(source, context.task.open_source)
        for name in ("source", "val", "other")
        if (source := getattr(context, name)) is not None
    }
    index = context.index.folder.absolute() if context.index is not None else None
    named: Any = {**sources, "index": index, "out": context.out.absolute(), "made": {}}
    worker = partial(_opened, do, what == "train", trials, replace(context, **named), __version__)
    with progress(what, len(trials), "runs") as advance:

        def done(items: int, note: str = "") -> None:
            trial = trials[int(note) - 1]
            require_there(folder / "done.json" for folder in folders[trial])
            finished(trial)
            advance(items, folders[trial][0].name)

        run_on_ray(range(1, len(trials) + 1), worker, done, engine, context.settings.device, "run")


def _opened(
    do: Callable[[Trial, ComparisonContext], Any],
    train: bool,
    trials: tuple[Trial, ...],
    named: ComparisonContext,
    version: str,
) -> Work:
    """Works on trials in another process, from the files that all nodes share.

    Args:
        train: their datasets are there.
        named: with the names of sources and the folder of the index in their places.
    """
    task = named.task
    require_version(version, named.out)
    opened = {
        "source": named.source.reopen(),
        "val": task.comparison.validation(named.val.reopen()),
        "other": named.other.reopen() if named.other is not None else None,
        "index": open_index(named.index) if named.index is not None else None,
    }
    context = replace(named, **opened)
    if train:  # two workers must not open a dataset as a stage at once
        folders = {folder for trial in trials if (folder := context.dataset(trial)) is not None}
        require_there(folder / "done.json" for folder in folders)
        context.made.update({folder: task.distillation.open(folder) for folder in folders})

    def work(numbers: Sequence[int], advance: Advance) -> None:
        for number in numbers:
            once_free(partial(do, trials[number - 1], context))
            advance(1, str(number))

    return work

"""The runs of a comparison on the workers of a cluster: names and settings travel, files come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from focusdd.comparison.trials import Bench, Cell, make_dataset, run_cell
from focusdd.composition.dataset import open_distilled
from focusdd.core.console import Advance, progress
from focusdd.core.version import __version__
from focusdd.execute import Work
from focusdd.execute.ray import run_on_ray
from focusdd.execute.remote import SourceName, once_free, require_there, require_version
from focusdd.extraction.index import open_index
from focusdd.settings import CompareSettings, EngineSettings
from focusdd.sources import open_source
from focusdd.sources.pixels import DecodedOnce


def run_cells(
    cells: Sequence[Cell], bench: Bench, engine: EngineSettings, finished: Callable[[Cell], None]
) -> None:
    """Makes all datasets, each of them once, and then runs all cells.

    Args:
        finished: is called with every cell when its files are there, in whatever order that is.

    Raises:
        FocusError: as the stages, wherever they ran.
    """
    firsts: dict[Path, Cell] = {}
    for cell in cells:
        if cell.ipc:
            firsts.setdefault(bench.dataset(cell), cell)
    for folder, cell in firsts.items():
        if (folder / "done.json").exists() and not bench.overwrite:
            make_dataset(cell, bench)  # sees whether it is the one that is asked for
    datasets = [cell for folder, cell in firsts.items() if folder not in bench.made]
    _hand_out("distil", datasets, bench, engine, lambda cell: [bench.dataset(cell)], lambda _: None)

    def folders(cell: Cell) -> list[Path]:
        return [bench.student(cell), *filter(None, [bench.outside(cell)])]

    _hand_out("train", cells, bench, engine, folders, finished)


def _hand_out(
    what: str,
    cells: Sequence[Cell],
    bench: Bench,
    engine: EngineSettings,
    folders: Callable[[Cell], list[Path]],
    finished: Callable[[Cell], None],
) -> None:
    """Distils or trains for every cell, which fills these folders."""
    if not cells:
        return

    worker = _Worker(
        what == "train",
        tuple(cells),
        bench.settings,
        SourceName.of(bench.source, open_source),
        SourceName.of(bench.val, open_source),
        SourceName.of(bench.other, open_source) if bench.other is not None else None,
        bench.index.folder.absolute() if bench.index is not None else None,
        bench.out.absolute(),
        bench.overwrite,
        __version__,
    )
    with progress(what, len(cells), "runs") as advance:

        def done(items: int, note: str) -> None:
            cell = cells[int(note) - 1]
            require_there(folder / file for folder in folders(cell) for file in ("done.json", "run.json"))
            finished(cell)
            advance(items, folders(cell)[0].name)

        run_on_ray(range(1, len(cells) + 1), worker, done, engine, bench.settings.device, "run")


@dataclass(frozen=True)
class _Worker:
    """Works on cells in another process, from the files that all nodes share."""

    train: bool
    """Or only make their datasets."""
    cells: tuple[Cell, ...]
    settings: CompareSettings
    source: SourceName
    val: SourceName
    other: SourceName | None
    index: Path | None
    out: Path
    overwrite: bool
    version: str

    def __call__(self) -> Work:
        require_version(self.version, self.out)
        bench = Bench(
            self.settings,
            self.source.reopen(),
            DecodedOnce(self.val.reopen()),
            self.other.reopen() if self.other is not None else None,
            open_index(self.index) if self.index is not None else None,
            self.out,
            self.overwrite,
            {},
        )
        if self.train:  # all datasets are there, and two workers must not open one as a stage at once
            folders = {bench.dataset(cell) for cell in self.cells if cell.ipc}
            require_there(folder / "done.json" for folder in folders)
            bench.made.update({folder: open_distilled(folder) for folder in folders})
        return partial(_work, self.cells, bench, run_cell if self.train else make_dataset)


def _work(
    cells: Sequence[Cell],
    bench: Bench,
    do: Callable[[Cell, Bench], Any],
    numbers: Sequence[int],
    advance: Advance,
) -> None:
    for number in numbers:
        once_free(partial(do, cells[number - 1], bench))
        advance(1, str(number))

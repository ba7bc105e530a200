"""One run of a comparison: the stages that make it, their folders, and its row of the results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from focusdd.composition.dataset import Distilled
from focusdd.core.files import read_json
from focusdd.extraction.index import Index
from focusdd.settings import CompareSettings, DistillSettings, TrainSettings
from focusdd.settings.resolve import not_given
from focusdd.sources.base import Source
from focusdd.tasks.classify.distill import WITH_INDEX, depends_on_seed, distill
from focusdd.training.corruptions import CORRUPTIONS
from focusdd.training.robustness import robustness
from focusdd.training.train import train, train_on_source


class Cell(NamedTuple):
    """One run of the comparison."""

    method: str
    ipc: int
    """0 for full."""
    student: str
    labels: str
    augmented: bool
    seed: int

    @property
    def dataset(self) -> str:
        return f"{self.method}-ipc{self.ipc}" if self.ipc else self.method


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    settings: CompareSettings
    source: Source
    val: Source
    other: Source | None
    index: Index | None
    out: Path
    overwrite: bool
    made: dict[Path, Distilled]
    """Datasets opened so far."""

    def name(self, cell: Cell) -> str:
        """What the folders of the student and its scores are called."""
        data = cell.dataset if cell.ipc else f"{cell.method}-{self.epochs(cell)}passes"
        plain = [] if cell.augmented else ["plain"]
        return "-".join([data, cell.student.replace("/", "_"), cell.labels, *plain, f"seed{cell.seed}"])

    def student(self, cell: Cell) -> Path:
        return self.out / "students" / self.name(cell)

    def outside(self, cell: Cell) -> Path | None:
        """Scores outside the distribution; None where there are none."""
        wanted = self.settings.corruptions or self.other is not None
        return self.out / "robustness" / self.name(cell) if wanted else None

    def dataset(self, cell: Cell) -> Path:
        """The distilled dataset; runs of several students, labels or seeds may share it."""
        seed = f"-seed{cell.seed}" if depends_on_seed(self.distilling(cell)) else ""
        return self.out / "distilled" / (cell.dataset + seed)

    def distilling(self, cell: Cell) -> DistillSettings:
        own = {"ipc": cell.ipc, "method": cell.method, "seed": cell.seed, "teacher": self.settings.teacher}
        return not_given(self.settings.distill.model_copy(update=own))

    def training(self, cell: Cell) -> TrainSettings:
        own = {
            "student": cell.student,
            "teacher": self.settings.teacher,
            "labels": cell.labels,
            "augment": cell.augmented,
            "epochs": self.epochs(cell),
            "seed": cell.seed,
            "device": self.settings.device,
        }
        return not_given(self.settings.train.model_copy(update=own))

    def epochs(self, cell: Cell) -> int:
        """Passes over what a student learns from; full takes the steps of the largest ipc, in whole ones."""
        settings, batch = self.settings, self.settings.train.batch_size
        if cell.method != "full":
            return settings.train.epochs
        if settings.full_epochs is not None:
            return settings.full_epochs
        steps = settings.train.epochs * math.ceil(max(settings.ipc) * len(self.source.classes) / batch)
        return math.ceil(steps / math.ceil(len(self.source.records) / batch))

    def work(self, cell: Cell) -> float:
        """Images that a student will have seen."""
        images = cell.ipc * len(self.source.classes) if cell.ipc else len(self.source.records)
        return float(images * self.epochs(cell))


def make_dataset(cell: Cell, bench: Bench) -> Distilled:
    """Distils what a cell learns from, or finds it finished."""
    folder = bench.dataset(cell)
    if folder not in bench.made:
        reading = bench.settings.extract.model_copy(update={"device": bench.settings.device})
        bench.made[folder] = distill(
            bench.source,
            folder,
            bench.distilling(cell),
            index=bench.index,
            extract=not_given(reading),
            overwrite=bench.overwrite,
        )
    return bench.made[folder]


def run_cell(cell: Cell, bench: Bench) -> None:
    """Runs one cell, or finds it finished."""
    recipe, folder = bench.training(cell), bench.student(cell)
    if cell.method == "full":
        side = bench.settings.distill.size
        train_on_source(bench.source, bench.val, folder, recipe, side=side, overwrite=bench.overwrite)
    else:
        train(make_dataset(cell, bench), bench.val, folder, recipe, overwrite=bench.overwrite)
    if (outside := bench.outside(cell)) is not None:
        robustness(
            folder,
            bench.val,
            outside,
            other=bench.other,
            corruptions=bench.settings.corruptions,
            device=bench.settings.device,
            overwrite=bench.overwrite,
        )


def row_of(cell: Cell, bench: Bench) -> dict[str, Any]:
    """The row of a finished cell; what a stage left no record of is None."""
    folder, outside = bench.student(cell), bench.outside(cell)
    index = bench.index if cell.method in WITH_INDEX else None
    result, trained = read_json(folder / "result.json"), read_json(folder / "run.json")
    distilled = read_json(bench.dataset(cell) / "run.json") if cell.ipc else {}
    extracted = read_json(index.folder / "run.json") if index is not None else {}
    scores = read_json(outside / "robustness.json") if outside is not None else {}
    corrupted = scores.get("corruptions") or {}
    settings = result["settings"]
    return {
        **cell._asdict(),
        "ipc": result["distilled"]["ipc"],
        **{name: settings[name] for name in ("size", "epochs", "lr", "weight_decay")},
        "by_region": result["taught"]["by_region"],
        "top1": result["top1"],
        "top5": result["top5"],
        "corrupted_top1": scores.get("corrupted_top1"),
        **{f"{name}_top1": round(mean(corrupted[name]), 5) if corrupted else None for name in CORRUPTIONS},
        "other_top1": (scores.get("other") or {}).get("top1"),
        "teacher_top1": round(result["teacher"]["sample_accuracy"], 5) if result["teacher"] else None,
        "seconds_extract": extracted.get("seconds_total"),
        "seconds_distil": distilled.get("seconds_total"),
        "seconds_train": trained["seconds"]["train"],
        "memory_distil_mb": distilled.get("peak_memory_mb"),
        "memory_train_mb": trained["peak_memory_mb"],
        "device_memory_train_mb": trained.get("device_memory_mb"),
        **{name: trained.get(name) for name in ("device", "commit", "focusdd", "machine", "date")},
        **{name: trained["versions"][name] for name in ("torch", "timm")},
    }

"""The trials of a comparison, whatever the task: which there are, what they share, where they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from focusdd.settings.resolve import not_given, resolve

if TYPE_CHECKING:
    from focusdd.composition.dataset import Shown
    from focusdd.extraction.index import Index
    from focusdd.tasks.base import Task


class Budget(NamedTuple):
    """How many distilled images there are: a setting of `distill` and its value."""

    name: str
    value: float


class Trial(NamedTuple):
    """One run of a comparison: one student, trained once."""

    method: str
    budget: Budget | None
    """None for all images of the source."""
    student: str
    seed: int
    labels: str = ""
    """Kind of labels, for a task that has several."""
    augmented: bool = True

    @property
    def data(self) -> str:
        """What the folder of its dataset is called, but for the seed."""
        return f"{self.method}-{self.budget.name}{self.budget.value:g}" if self.budget else self.method

    def __str__(self) -> str:
        labels = f", {self.labels} labels" if self.labels else ""
        plain = "" if self.augmented else " without augmentation"
        return f"{self.data}, {self.student}{labels}{plain}, seed {self.seed}"


@dataclass(frozen=True)
class ComparisonContext:
    """What all trials of a comparison share."""

    task: Task
    settings: Any
    source: Any
    val: Any
    other: Any
    """A second source that every student is scored on too, or None."""
    index: Index | None
    out: Path
    overwrite: bool
    made: dict[Path, Shown] = field(default_factory=dict)
    """Datasets opened so far."""

    def distilling(self, trial: Trial) -> Any:
        """How a trial's dataset is made; None where it learns from the source as it is."""
        return self.task.comparison.distilling(trial, self.settings)

    def dataset(self, trial: Trial) -> Path | None:
        """The folder of its dataset; trials of several students, labels or seeds may share it."""
        settings = self.distilling(trial)
        if settings is None:
            return None
        seed = f"-seed{trial.seed}" if self.redrawn(trial) else ""
        return self.out / "distilled" / (trial.data + seed)

    def redrawn(self, trial: Trial) -> bool:
        """Whether another seed makes another dataset: else it changes the training alone."""
        settings = self.distilling(trial)
        return settings is not None and "seed" in resolve(settings).key

    def student(self, trial: Trial) -> Path:
        """The folder of its student."""
        return self.task.comparison.folders(trial, self)[0]


def every_trial(
    settings: Any, budgets: Sequence[Budget], students: Iterable[str], labels: Iterable[str] = ("",)
) -> list[Trial]:
    """All trials, seed by seed, so that an unfinished comparison has something of everything.

    Random images are always among them; method full has no budget, it takes all images.
    """
    plain = getattr(settings, "plain", False)  # also without augmentation
    return [
        Trial(method, budget, student, seed, kind, augmented)
        for seed in range(settings.seeds)
        for method in dict.fromkeys([*settings.methods, "random"])
        for budget in (budgets if method != "full" else [None])
        for student in dict.fromkeys(students)
        for kind in dict.fromkeys(labels)
        for augmented in ([True, False] if plain and method != "full" else [True])
    ]


def costs(library: str, *memory: str) -> list[tuple[str, pa.DataType]]:
    """The last columns of results.csv: what a trial cost, where, and with which versions.

    Args:
        library: beside torch, what the students come from.
        memory: columns in MB.
    """
    text, number = pa.string(), pa.float64()
    return [
        ("redrawn", pa.bool_()),  # whether the seed chose the images too, or the training alone
        ("seconds_extract", number),  # once for all datasets of the index
        ("seconds_distil", number),
        ("seconds_train", number),
        *((name, pa.int32()) for name in memory),
        *((name, text) for name in ("device", "commit", "focusdd", "torch", library, "machine", "date")),
    ]


def training(trial: Trial, context: ComparisonContext, **more: Any) -> Any:
    """How a trial's student is trained: by its seed, and `more` settings of `train`."""
    own = {"seed": trial.seed, "device": context.settings.device, **more}
    return not_given(context.settings.train.model_copy(update=own))


def distilling(trial: Trial, settings: Any, **more: Any) -> Any:
    """How a trial's dataset is made: by its method, budget and seed, and `more` settings of `distill`."""
    budget = {trial.budget.name: trial.budget.value} if trial.budget else {}
    own = {"method": trial.method, "seed": trial.seed, **budget, **more}
    return not_given(settings.distill.model_copy(update=own))


def folders_of(trial: Trial, context: ComparisonContext) -> list[Path]:
    """The folder that a trial fills."""
    return [context.out / "students" / f"{trial.data}-{trial.student}-seed{trial.seed}"]

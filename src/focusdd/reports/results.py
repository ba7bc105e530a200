"""The table of results: students joined over their seeds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean
from typing import Any, NamedTuple

from focusdd.comparison.scores import Outcome, Scores, score
from focusdd.comparison.verdict import Verdict, judge, subject
from focusdd.core.spelling import number_of
from focusdd.reports.collect import Found, FoundDistilled, Student, method_rank
from focusdd.tasks.base import Task

# settings that make no variant of a method
_APART = {"ipc", "budget", "ratio", "seed", "distil seed", "method"}
# settings with a place of their own in a row
_SHOWN = {"labels", "epochs", "steps", "augment"}
_NOT_IN_RECIPE = {*_SHOWN, "tile_crops", "student", "seed", "lr", "weight_decay", "device", "teacher"}


class Times(NamedTuple):
    """Mean seconds and highest memory (MB) of the runs behind a row; None where no run.json tells."""

    extract: float | None
    distil: float | None
    train: float | None
    memory: float | None


@dataclass(frozen=True)
class Row:
    """One line of the results: students that differ in nothing but the seed."""

    val: tuple[str, int]
    """Name of the validation set and number of its images."""
    method: str
    task: Task
    ipc: float
    student: str
    labels: str
    """Empty where a task has one kind alone."""
    epochs: int
    """Or steps, where a task trains by these."""
    variant: str
    """Settings that tell this row from others of the same method and student, in words."""
    augmented: bool
    recipe: str
    """The settings of training that rows must have in common, beside those above, to be compared."""
    seeds: list[tuple[int, int]]
    """Of the training, and of the dataset where it was redrawn."""
    scores: dict[str, list[float]]
    """By the columns of the task, one per seed; empty where a score is not known."""
    chance: float | None
    """Top-1 of always naming the most frequent class, where the results tell it."""
    per_class: dict[str, float]
    dataset: FoundDistilled | None
    """Of the first seed, where it is below the folder."""
    times: Times

    @property
    def redrawn(self) -> bool:
        """Whether the seeds chose the images too, so far as it is known; else they changed the training
        alone."""
        return self.method != "full" and (
            self.dataset is None or "seed" in self.dataset.stage.done["settings"]
        )

    @property
    def main(self) -> list[float]:
        """The score that the methods are compared by, one per seed."""
        return self.scores[self.task.comparison.score]

    @property
    def title(self) -> str:
        """What that score is called."""
        return self.task.comparison.columns[self.task.comparison.score]

    @property
    def name(self) -> str:
        """The method, with its variant where it has several."""
        return f"{self.method} ({self.variant})" if self.variant else self.method

    @property
    def length(self) -> str:
        """How long the students were trained."""
        return number_of(self.epochs, "epoch" if self.labels else "step")

    @property
    def training(self) -> str:
        """How the students were trained, in words."""
        labels = f"{self.labels} labels" if self.labels else ""
        return ", ".join(filter(None, (labels, self.length, "" if self.augmented else "not augmented")))

    @property
    def panel(self) -> tuple[tuple[str, int], str, str]:
        """What all methods in one figure have in common."""
        return self.val, self.student, self.labels


def rows(found: Found) -> list[Row]:
    """The results: focus first, then rded, view, random and others; by ipc and student within a method."""
    groups: dict[str, list[Student]] = defaultdict(list)
    lines: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for student in {student.stage.key: student for student in found.students}.values():
        read = student.inputs.get("teacher"), student.dataset and student.dataset.stage.done["inputs"]
        ipc, settings = float(student.result["distilled"]["ipc"]), _settings(student)
        groups[repr((_line(student), ipc, sorted(settings.items()), read))].append(student)
        lines[_line(student)].append(settings)
    made = [_row(group, _variant(group[0], lines[_line(group[0])])) for group in groups.values()]
    return sorted(
        made,
        key=lambda row: (
            *(row.task.name, row.val, *method_rank(row.method)),
            *(row.ipc, row.student, row.variant, row.epochs),
        ),
    )


def _line(student: Student) -> tuple[str, ...]:
    """What rows have in common that a variant must tell apart."""
    labels, method = str(student.settings.get("labels", "")), student.result["distilled"]["method"]
    return student.inputs.get("val", ""), method, student.architecture, labels


def _settings(student: Student) -> dict[str, str]:
    """All settings behind a student but ipc and seeds, as text; those of distilling and extracting first."""
    distilled, dataset, teacher = student.result["distilled"], student.dataset, student.result.get("teacher")
    made: dict[str, Any] = {name: distilled[name] for name in ("size", "grid") if name in distilled}
    if dataset is not None:
        judge = dataset.info.get("judge")
        made |= dataset.stage.done["settings"] | ({"judge": judge["name"]} if judge else {})
        if dataset.index is not None:
            info = dataset.index.index.info
            made = {**info["settings"], "extractor": info["extractor"]["name"], **made}
    made = {f"distil {name}" if name in student.settings else name: value for name, value in made.items()}
    made |= student.settings | ({"teacher": teacher["name"]} if teacher else {})
    return {name: str(value) for name, value in made.items() if name not in _APART}


def _variant(student: Student, others: list[dict[str, str]]) -> str:
    """Settings that others have otherwise; what is not known of a dataset elsewhere is no difference."""
    own = {name: value for name, value in _settings(student).items() if name not in _SHOWN}
    odd = [name for name in own if any(name in other and other[name] != own[name] for other in others)]
    return ", ".join(f"{name} {own[name]}" for name in odd)


def _row(group: list[Student], variant: str) -> Row:
    first, group = group[0], sorted(group, key=lambda student: student.stage.shown)
    result, settings, ipc = first.result, first.settings, float(first.result["distilled"]["ipc"])
    classes = dict.fromkeys(name for student in group for name in student.per_class)
    return Row(
        val=(result["val"]["name"], result["val"]["images"]),
        method=result["distilled"]["method"],
        task=first.task,
        ipc=int(ipc) if ipc.is_integer() else ipc,
        student=first.architecture,
        labels=str(settings.get("labels", "")),
        epochs=int(settings["epochs"] if "epochs" in settings else settings["steps"]),
        variant=variant,
        augmented=bool(settings.get("augment", True)),
        recipe=repr(sorted((name, str(v)) for name, v in settings.items() if name not in _NOT_IN_RECIPE)),
        seeds=[_seeds(student) for student in group],
        scores={
            name: [student.scores[name] for student in group if name in student.scores]
            for name in first.task.comparison.columns
        },
        chance=result.get("chance"),
        per_class={
            name: mean(student.per_class.get(name, float("nan")) for student in group) for name in classes
        },
        dataset=first.dataset,
        times=_times(group),
    )


def _seeds(student: Student) -> tuple[int, int]:
    """Of the training and of the dataset: the same where the dataset does not depend on a seed of its own."""
    own = int(student.settings.get("seed", 0))
    drawn = student.dataset.stage.done["settings"] if student.dataset else {}
    return own, int(drawn.get("seed", own))


def scores(table: list[Row]) -> list[tuple[tuple[str, int], list[Scores]]]:
    """DD-Ranking's scores by validation set: of rows that share a recipe, with the full data under any number
    of epochs. A method with variants is named with them."""
    groups: dict[tuple[tuple[str, int], int, str], list[Row]] = defaultdict(list)
    for row in table:
        if row.method != "full" and row.labels:
            groups[row.val, row.epochs, row.recipe].append(row)
    found = []
    for (val, _, recipe), group in groups.items():
        full = [row for row in table if (row.method, row.val, row.recipe) == ("full", val, recipe)]
        outcomes = [
            Outcome(row.name, int(row.ipc), row.student, row.labels, row.augmented, seed, top1)
            for row in [*group, *full]
            for seed, top1 in zip(row.seeds, row.main, strict=True)
        ]
        made = [one for one in score(outcomes) if any(one[3:])]
        if made:
            found.append((val, made))
    return found


def verdicts(table: list[Row]) -> list[tuple[Row, Verdict]]:
    """How the first method stands against the others that share its recipe, with a row of theirs."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in table:
        if row.method != "full":
            groups[*row.panel, row.ipc, row.augmented, row.recipe].append(row)
    found = []
    for first, *others in groups.values():
        runs = {row.name: dict(zip(row.seeds, row.main, strict=True)) for row in (first, *others)}
        spent = {
            row.name: (row.times.extract or 0.0) + row.times.distil
            for row in (first, *others)
            if row.times.distil
        }
        plain = "" if first.augmented else "not augmented"
        setting = ", ".join(filter(None, (f"ipc {first.ipc}", first.student, first.labels, plain)))
        method = subject(runs)
        if method is not None and (verdict := judge(setting, method, runs, spent)):
            found.append((first, verdict))
    return found


def amount(value: float) -> str:
    """Images per class, which need not be whole."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _times(students: list[Student]) -> Times:
    datasets = [student.dataset for student in students if student.dataset]
    stages = (
        [data.index.stage for data in datasets if data.index],
        [data.stage for data in datasets],
        [student.stage for student in students],
    )
    extracts, distils, trains = ([stage.run for stage in group if stage.run] for group in stages)
    memory = [run["peak_memory_mb"] for run in (*extracts, *distils, *trains) if run.get("peak_memory_mb")]
    return Times(
        _mean([run["seconds_total"] for run in extracts]),
        _mean([sum(run["seconds"].values()) for run in distils]),  # an extraction inside is not in it
        _mean([run["seconds"].get("train", run["seconds_total"]) for run in trains]),
        max(memory, default=None),
    )


def _mean(seconds: list[float]) -> float | None:
    return mean(seconds) if seconds else None

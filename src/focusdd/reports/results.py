"""The table of results: students joined over their seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any, NamedTuple

from focusdd.comparison.scores import Outcome, Scores, score
from focusdd.comparison.verdict import Verdict, judge, subject
from focusdd.reports.collect import Found, FoundDistilled, Student, method_rank
from focusdd.tasks.base import Task

_APART = {
    "ipc",
    "budget",
    "ratio",
    "seed",
    "distil seed",
    "method",
}  # settings that make no variant of a method
_SHOWN = {"labels", "epochs", "steps", "augment"}  # settings with a place of their own in a row
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
    seeds: list[int]
    scores: dict[str, list[float]]
    """By the columns of the task, one per seed; empty where a score is not known."""
    chance: float | None
    """Top-1 of always naming the most frequent class, where the results tell it."""
    per_class: dict[str, float]
    redrawn: bool
    """Whether the seeds chose the images too, so far as it is known; else they changed the training alone."""
    times: Times

    @property
    def main(self) -> list[float]:
        """The score that the methods are compared by, one per seed."""
        return self.scores[self.task.comparison.score]

    @property
    def title(self) -> str:
        """What that score is called."""
        return self.task.comparison.columns[self.task.comparison.score]


def rows(found: Found) -> list[Row]:
    """The results: focus first, then rded, view, random and others; by ipc and student within a method."""
    datasets = {data.stage.key: data for data in found.distilled}
    groups: dict[str, list[Student]] = defaultdict(list)
    for student in {student.stage.key: student for student in found.students}.values():
        dataset = datasets.get(student.distilled["key"])
        read = [student.stage.inputs.get("teacher"), dataset.stage.inputs if dataset else None]
        what = [_line(student), student.distilled["ipc"], sorted(_settings(student, datasets).items()), read]
        groups[repr(what)].append(student)
    lines: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for group in groups.values():
        lines[_line(group[0])].append(_settings(group[0], datasets))
    made = [
        _row(group, datasets, _variant(group[0], datasets, lines[_line(group[0])]))
        for group in groups.values()
    ]
    return sorted(
        made,
        key=lambda row: (
            *(row.task.name, row.val, *method_rank(row.method)),
            *(row.ipc, row.student, row.variant, row.epochs),
        ),
    )


def _line(student: Student) -> tuple[str, ...]:
    """What rows have in common that a variant must tell apart."""
    labels = str(student.settings.get("labels", ""))
    return student.stage.inputs.get("val", ""), student.distilled["method"], student.architecture, labels


def _settings(student: Student, datasets: dict[str, FoundDistilled]) -> dict[str, str]:
    """All settings behind a student but ipc and seeds, as text; those of distilling and extracting first."""
    dataset = datasets.get(student.distilled["key"])
    made: dict[str, Any] = {
        name: student.distilled[name] for name in ("size", "grid") if name in student.distilled
    }
    if dataset is not None:
        judge = dataset.data.info.get("judge")
        made |= dataset.stage.settings | ({"judge": judge["name"]} if judge else {})
        if dataset.index is not None:
            info = dataset.index.index.info
            made = {**info["settings"], "extractor": info["extractor"]["name"], **made}
    made = {f"distil {name}" if name in student.settings else name: value for name, value in made.items()}
    made |= student.settings | ({"teacher": student.teacher[0]} if student.teacher else {})
    return {name: str(value) for name, value in made.items() if name not in _APART}


def _variant(student: Student, datasets: dict[str, FoundDistilled], others: list[dict[str, str]]) -> str:
    """Settings that others have otherwise; what is not known of a dataset elsewhere is no difference."""
    own = _settings(student, datasets)
    shown = [name for name in own if name not in _SHOWN]
    odd = [name for name in shown if any(name in other and other[name] != own[name] for other in others)]
    return ", ".join(f"{name} {own[name]}" for name in odd)


def _row(group: list[Student], datasets: dict[str, FoundDistilled], variant: str) -> Row:
    first = group[0]
    group = sorted(group, key=lambda student: student.stage.shown)
    names = list(dict.fromkeys(name for student in group for name in student.per_class))
    per_class = {name: mean(student.per_class.get(name, float("nan")) for student in group) for name in names}
    return Row(
        val=(first.val_name, first.val_images),
        method=first.distilled["method"],
        task=first.task,
        ipc=first.distilled["ipc"],
        student=first.architecture,
        labels=str(first.settings.get("labels", "")),
        epochs=int(first.settings["epochs"] if "epochs" in first.settings else first.settings["steps"]),
        variant=variant,
        augmented=bool(first.settings.get("augment", True)),
        recipe=repr(sorted((n, str(v)) for n, v in first.settings.items() if n not in _NOT_IN_RECIPE)),
        seeds=[int(student.settings.get("seed", 0)) for student in group],
        scores={
            name: [student.scores[name] for student in group if name in student.scores]
            for name in first.task.comparison.columns
        },
        chance=first.chance,
        per_class=per_class,
        redrawn=_redrawn(first, datasets.get(first.distilled["key"])),
        times=_times(group, [datasets[key] for s in group if (key := s.distilled["key"]) in datasets]),
    )


def _redrawn(student: Student, dataset: FoundDistilled | None) -> bool:
    return student.distilled["method"] != "full" and (dataset is None or "seed" in dataset.stage.settings)


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
        made = [one for one in score(_trials([*group, *full])) if any(one[3:])]
        if made:
            found.append((val, made))
    return found


def verdicts(table: list[Row]) -> list[tuple[tuple[str, int], Verdict]]:
    """By validation set, how the first method stands against the others that share its recipe."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in table:
        if row.method != "full":
            groups[row.val, row.ipc, row.student, row.labels, row.augmented, row.recipe].append(row)
    found = []
    for (val, ipc, student, labels, augmented, _), group in groups.items():
        runs = {_name(row): dict(zip(row.seeds, row.main, strict=True)) for row in group}
        spent = {
            _name(row): (row.times.extract or 0.0) + row.times.distil for row in group if row.times.distil
        }
        words = [f"ipc {ipc}", student, labels, "" if augmented else "not augmented"]
        setting = ", ".join(filter(None, words))
        method = subject(runs)
        if method is not None and (verdict := judge(setting, method, runs, spent)):
            found.append((val, verdict))
    return found


def _name(row: Row) -> str:
    return f"{row.method} ({row.variant})" if row.variant else row.method


def _trials(group: list[Row]) -> Iterator[Outcome]:
    for row in group:
        for seed, top1 in zip(row.seeds, row.main, strict=True):
            yield Outcome(_name(row), int(row.ipc), row.student, row.labels, row.augmented, seed, top1)


def _times(students: list[Student], datasets: list[FoundDistilled]) -> Times:
    extracts = [data.index.stage.run for data in datasets if data.index and data.index.stage.run]
    distils = [data.stage.run for data in datasets if data.stage.run]
    trains = [student.stage.run for student in students if student.stage.run]
    memory = [run.peak_memory_mb for run in (*extracts, *distils, *trains) if run.peak_memory_mb is not None]
    return Times(
        mean(run.total for run in extracts) if extracts else None,
        mean(sum(run.seconds.values()) for run in distils)
        if distils
        else None,  # an extraction inside is not in it
        mean(run.seconds.get("train", run.total) for run in trains) if trains else None,
        max(memory) if memory else None,
    )

"""What a folder holds: every finished stage below it, read from its files alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from operator import getitem
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from focusdd.core.errors import FocusError
from focusdd.core.files import read_json
from focusdd.core.finished import Finished
from focusdd.core.manifest import remedy_for
from focusdd.core.spelling import number_of
from focusdd.extraction.index import Index, open_index
from focusdd.tasks import task_of
from focusdd.tasks.base import Task

# in the order of the work
STAGES = ("extract", "fit", "distill", "train", "detect extract", "detect distill", "detect train")
# the order of every table; others follow by name
METHODS = ("focus", "rded", "view", "random", "herding", "k-center", "full")
_SOURCE = "source.name source.split source.fingerprint"
# the fields that the page shows, by file or task and by type
_FIELDS: dict[str, dict[Any, str]] = {
    "done.json": {str: "stage key", dict: "settings inputs counts"},
    "run.json": {str: "machine date focusdd python", dict: "versions seconds", Real: "seconds_total"},
    "index.json": {
        str: f"{_SOURCE} extractor.name extractor.confidence",
        list: "classes class_names grid skipped",
        dict: "settings",
        Real: "counts.images extractor.accuracy",
    },
    "distilled.json": {
        str: f"{_SOURCE} method",
        list: "classes class_names short_classes",
        Real: "ipc size source_images",
    },
    "result.json": {
        str: "val.name distilled.key distilled.method",
        list: "val.skipped",
        dict: "settings per_class",
        Real: "val.images distilled.ipc",
    },
    "classify": {int: "ipc grid"},
    "detect": {dict: "objects source_objects settings", int: "images masked refused"},
}


@dataclass(frozen=True)
class Stage:
    """A finished stage folder."""

    folder: Path
    shown: str
    """The folder as the page names it: relative to the report's where it lies below it."""
    done: dict[str, Any]
    """The content of done.json."""
    run: dict[str, Any] | None
    """The content of run.json, the part of a run that is not the same next time."""

    @property
    def key(self) -> str:
        return str(self.done["key"])


@dataclass(frozen=True)
class FoundIndex:
    """A finished index."""

    stage: Stage
    index: Index


@dataclass(frozen=True)
class FoundDistilled:
    """A distilled dataset with its plan and, for method focus, the index it was chosen from."""

    stage: Stage
    task: Task
    data: Finished
    plan: Any
    """Tiles by distilled image, of the task's kind."""
    index: FoundIndex | None

    @property
    def info(self) -> dict[str, Any]:
        return self.data.info

    @property
    def title(self) -> str:
        images = self.info.get("images")
        many = f"{self.info['ipc']} per class" if images is None else number_of(images, "image")
        return f"{self.info['method']}, {many}"


@dataclass(frozen=True)
class Student:
    """A trained student."""

    stage: Stage
    task: Task
    result: dict[str, Any]
    """The content of result.json."""
    scores: dict[str, float]
    """By the columns of the task; fractions."""
    dataset: FoundDistilled | None
    """What it learned from, where that is below the folder too."""

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the training."""
        return dict(self.result["settings"])

    @property
    def inputs(self) -> dict[str, str]:
        """Keys of what the training read."""
        return dict(self.stage.done["inputs"])

    @property
    def architecture(self) -> str:
        return str(self.result["student" if "student" in self.result else "detector"])

    @property
    def per_class(self) -> dict[str, float]:
        """Of the classes with validation images."""
        return {name: share for name, share in self.result["per_class"].items() if share is not None}


@dataclass(frozen=True)
class Found:
    """Everything below a folder."""

    stages: list[Stage]
    indexes: list[FoundIndex]
    distilled: list[FoundDistilled]
    students: list[Student]


@contextlib.contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file of another shape into a FocusError that names it and the remedy."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        reason = str(error) if isinstance(error, FocusError) else f"{type(error).__name__}: {error}"
        raise FocusError(
            f"{path} is not as focusdd writes it ({reason}): {remedy_for(path.parent)}, or move that folder"
        ) from error


def collect(folder: Path) -> Found:
    """Reads every finished stage below a folder, and the indexes that its distilled datasets name.

    Raises:
        FocusError: there is no finished stage, or a file is not as focusdd writes it.
    """
    if not folder.is_dir():
        raise FocusError(f"there is no folder {folder}")
    done = sorted(path for path in folder.rglob("done.json") if path.with_name("stage.json").exists())
    stages = {path.parent: _stage(path.parent, folder) for path in done}
    if not stages:
        begun = any(folder.rglob("stage.json"))
        remedy = f"`focusdd status {folder}` says how to go on" if begun else "run `focusdd run` first"
        raise FocusError(f"{folder} holds no finished output of focusdd: {remedy}")

    def having(name: str) -> list[Stage]:
        return [stage for path, stage in stages.items() if (path / name).exists()]

    indexes = {stage.key: _index(stage) for stage in having("index.json")}
    distilled = [_distilled(stage, indexes, stages, folder) for stage in having("distilled.json")]
    outside = dict(_outside(stage) for stage in having("robustness.json"))
    datasets = {data.stage.key: data for data in distilled}
    students = [_student(stage, datasets, outside.get(stage.key, {})) for stage in having("result.json")]
    distilled.sort(key=lambda found: (*method_rank(found.info["method"]), found.info["ipc"]))
    ordered = sorted(stages.values(), key=lambda stage: (_place(stage.done["stage"], STAGES), stage.shown))
    return Found(ordered, list(indexes.values()), distilled, students)


def _read(path: Path, more: dict[Any, str]) -> dict[str, Any]:
    """The content of a file whose fields in `_FIELDS`, and `more` of them, are of the right types."""
    with as_written(path):
        content = read_json(path)
        for kind, names in [*_FIELDS[path.name].items(), *more.items()]:
            for name in names.split():
                value = reduce(getitem, name.split("."), content)
                if not isinstance(value, kind):
                    raise TypeError(f"{name} is {value!r}")
        if "classes" in content and len(content["classes"]) != len(content["class_names"]):
            raise TypeError("there are not as many class names as classes")
        return dict(content)


def _stage(path: Path, root: Path) -> Stage:
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    run = _read(path / "run.json", {}) if (path / "run.json").exists() else None
    return Stage(path, shown, _read(path / "done.json", {}), run)


def _index(stage: Stage) -> FoundIndex:
    _read(stage.folder / "index.json", {})
    return FoundIndex(stage, open_index(stage.folder))


def _distilled(
    stage: Stage, indexes: dict[str, FoundIndex], stages: dict[Path, Stage], root: Path
) -> FoundDistilled:
    """Opens a distilled dataset; an index that it names elsewhere joins the found ones."""
    task = task_of(stage.done["stage"])
    # its images may be elsewhere: the page says so where it would show them
    data = Finished(stage.folder, _read(stage.folder / "distilled.json", _FIELDS.get(task.name, {})))
    key = stage.done["inputs"].get("index", "")
    named = Path(os.path.normpath(stage.folder / (data.info.get("index") or "")))
    if key and key not in indexes and (named / "done.json").exists():
        index = _index(_stage(named, root))
        if index.stage.key == key:
            indexes[key], stages[named] = index, index.stage
    with as_written(stage.folder / "plan.parquet"):
        plan = task.distillation.drawing.read_plan(pq.read_table(stage.folder / "plan.parquet"))
        if not all(-1 <= tile.label < len(data.classes) for tile in plan.tiles):
            raise TypeError("a label has no class")
        return FoundDistilled(stage, task, data, plan, indexes.get(key))


def _outside(stage: Stage) -> tuple[str, dict[str, float]]:
    """The key of a student, and how it did outside the distribution that it learned from."""
    path = stage.folder / "robustness.json"
    with as_written(path):
        read = read_json(path)
        found = {"corrupted": read["corrupted_top1"], "other": (read["other"] or {}).get("top1")}
        known = {name: float(value) for name, value in found.items() if value is not None}
        return str(stage.done["inputs"]["student"]), known


def _student(stage: Stage, datasets: dict[str, FoundDistilled], outside: dict[str, float]) -> Student:
    task, path = task_of(stage.done["stage"]), stage.folder / "result.json"
    result = _read(path, {Real: task.comparison.score})
    with as_written(path):
        told = {name: float(result[name]) for name in task.comparison.columns if result.get(name) is not None}
        student = Student(stage, task, result, told | outside, datasets.get(result["distilled"]["key"]))
        if "balanced" in task.comparison.columns and student.per_class:
            student.scores.setdefault("balanced", mean(student.per_class.values()))
        return student


def method_rank(method: str) -> tuple[int, str]:
    """Where a method stands in every table."""
    return _place(method, METHODS), method


def _place(name: str, order: tuple[str, ...]) -> int:
    """Place in an order; what it does not name comes last."""
    return order.index(name) if name in order else len(order)

"""What a folder holds: every finished stage below it, read from its files alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from focusdd.composition.dataset import Finished
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json
from focusdd.extraction.index import Index, open_index
from focusdd.tasks import task_of
from focusdd.tasks.base import Task

# in the order of the work
STAGES = ("extract", "fit", "distill", "train", "detect extract", "detect distill", "detect train")
# the order of every table; others follow by name
METHODS = ("focus", "rded", "view", "random", "herding", "k-center", "full")
_SOURCE = {
    "source.name": str,
    "source.split": str,
    "source.fingerprint": str,
    "classes": list,
    "class_names": list,
}
_DISTILLED = _SOURCE | {"method": str, "size": int, "source_images": int, "short_classes": list}
_OF_TASK: dict[str, dict[str, type]] = {
    "classify": {"ipc": int, "grid": int},
    "detect": {
        **dict.fromkeys(("objects", "source_objects", "settings"), dict),
        **dict.fromkeys(("images", "seed", "masked", "refused"), int),
    },
}
_INDEX = _SOURCE | {
    "extractor.name": str,
    "extractor.confidence": str,
    "extractor.accuracy": float,
    "settings": dict,
    "grid": list,
    "counts.images": int,
    "skipped": list,
}


@dataclass(frozen=True)
class Run:
    """What `run.json` says: the part of a run that is not the same next time."""

    command: str
    """Empty when the stage was not run from the command line."""
    machine: str
    device: str
    date: str
    versions: dict[str, str]
    seconds: dict[str, float]
    total: float
    """Seconds in all."""
    peak_memory_mb: float | None
    images: int | None


@dataclass(frozen=True)
class Stage:
    """A finished stage folder."""

    folder: Path
    shown: str
    """The folder as the page names it: relative to the report's where it lies below it."""
    name: str
    key: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, Any]
    run: Run | None


@dataclass(frozen=True)
class FoundDistilled:
    """A distilled dataset with its plan and, for method focus, the index it was chosen from."""

    stage: Stage
    data: Finished
    plan: Any
    """Tiles by distilled image, of the task's kind."""
    index: FoundIndex | None

    @property
    def title(self) -> str:
        info = self.data.info
        many = f"{info['images']} images" if "images" in info else f"{info['ipc']} per class"
        return f"{info['method']}, {many}"


@dataclass(frozen=True)
class FoundIndex:
    """A finished index."""

    stage: Stage
    index: Index


@dataclass(frozen=True)
class Student:
    """A trained student: what its `result.json` says."""

    stage: Stage
    task: Task
    architecture: str
    scores: dict[str, float]
    """By the columns of the task; fractions."""
    chance: float | None
    """Top-1 of always naming the most frequent class; None where the result does not tell."""
    per_class: dict[str, float]
    val_name: str
    val_images: int
    val_shared: int
    """Validation images that the student learned from too."""
    val_skipped: list[tuple[str, str]]
    distilled: dict[str, Any]
    """key, method, ipc, size, grid and seed of what it learned from."""
    teacher: tuple[str, float] | None
    """Name and accuracy on a sample."""
    settings: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Everything below a folder."""

    folder: Path
    stages: list[Stage]
    indexes: list[FoundIndex]
    distilled: list[FoundDistilled]
    students: list[Student]


@contextlib.contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Turns what goes wrong with a file of another shape into a FocusError that names it."""
    try:
        yield
    except FocusError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        reason = f"{type(error).__name__}: {error}"
        raise FocusError(f"{path} is not as focusdd writes it ({reason})") from error


def collect(folder: Path) -> Found:
    """Reads every finished stage below a folder, and the indexes that its distilled datasets name.

    Raises:
        FocusError: there is no finished stage, or a file is not as focusdd writes it.
    """
    if not folder.is_dir():
        raise FocusError(f"there is no folder {folder}")
    done = sorted(path for path in folder.rglob("done.json") if path.with_name("stage.json").exists())
    stages = {stage.folder: stage for stage in (_stage(path.parent, folder) for path in done)}
    if not stages:
        raise FocusError(
            f"{folder} holds no finished output of focusdd: run `focusdd extract` or `distill` first"
        )
    indexes = {stage.key: _index(stage) for stage in stages.values() if _has(stage, "index.json")}
    marked = [stage for stage in stages.values() if _has(stage, "distilled.json")]
    distilled = [_distilled(stage, indexes, stages, folder) for stage in marked]
    outside = dict(_outside(stage) for stage in stages.values() if _has(stage, "robustness.json"))
    students = [
        _student(stage, outside.get(stage.key, {})) for stage in stages.values() if _has(stage, "result.json")
    ]
    distilled.sort(key=lambda found: (*method_rank(found.data.info["method"]), found.data.info["ipc"]))
    ordered = sorted(stages.values(), key=lambda stage: (place(stage.name, STAGES), stage.shown))
    return Found(folder, ordered, list(indexes.values()), distilled, students)


def _has(stage: Stage, name: str) -> bool:
    return (stage.folder / name).exists()


def _stage(path: Path, root: Path) -> Stage:
    with as_written(path / "done.json"):
        done = read_json(path / "done.json")
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        settings, inputs, counts = (dict(done[part]) for part in ("settings", "inputs", "counts"))
        return Stage(path, shown, str(done["stage"]), str(done["key"]), settings, inputs, counts, _run(path))


def _run(path: Path) -> Run | None:
    if not (path / "run.json").exists():
        return None
    with as_written(path / "run.json"):
        run = read_json(path / "run.json")
        versions = {"focusdd": run["focusdd"], "python": run["python"], **run["versions"]}
        memory = run.get("peak_memory_mb")
        return Run(
            command=str(run.get("command") or ""),
            machine=str(run["machine"]),
            device=str(run.get("device", "")),
            date=str(run["date"]),
            versions={str(name): str(version) for name, version in versions.items()},
            seconds={str(name): float(value) for name, value in run["seconds"].items()},
            total=float(run["seconds_total"]),
            peak_memory_mb=None if memory is None else float(memory),
            images=None if run.get("images") is None else int(run["images"]),
        )


def _index(stage: Stage) -> FoundIndex:
    path = stage.folder / "index.json"
    with as_written(path):
        index = open_index(stage.folder)
        _check(index.info, _INDEX)
        return FoundIndex(stage, index)


def _distilled(
    stage: Stage, indexes: dict[str, FoundIndex], stages: dict[Path, Stage], root: Path
) -> FoundDistilled:
    """Opens a distilled dataset; an index that it names elsewhere joins the found ones."""
    with as_written(stage.folder / "distilled.json"):
        task = task_of(stage.name)
        # its images may be elsewhere: the page says so where it would show them
        data = Finished(stage.folder, read_json(stage.folder / "distilled.json"))
        _check(data.info, _DISTILLED | _OF_TASK.get(task.name, {}))
        key = stage.inputs.get("index", "")
        named = Path(os.path.normpath(stage.folder / (data.info["index"] or "")))
        if key and key not in indexes and (named / "done.json").exists():
            index = _index(_stage(named, root))
            if index.stage.key == key:
                indexes[key] = index
                stages[named] = index.stage
    with as_written(stage.folder / "plan.parquet"):
        plan = task.distillation.drawing.read_plan(pq.read_table(stage.folder / "plan.parquet"))
        if not all(-1 <= tile.label < len(data.classes) for tile in plan.tiles):
            raise TypeError("a label has no class")
        return FoundDistilled(stage, data, plan, indexes.get(key))


def _check(info: dict[str, Any], fields: dict[str, type]) -> None:
    """Raises TypeError or LookupError when a field that the page shows is missing or of another type."""
    for name, kind in fields.items():
        value: Any = info
        for part in name.split("."):
            value = value[part]
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}")
    if len(info["classes"]) != len(info["class_names"]):
        raise TypeError("there are not as many class names as classes")


def _outside(stage: Stage) -> tuple[str, dict[str, float]]:
    """The key of a student, and how it did outside the distribution that it learned from."""
    path = stage.folder / "robustness.json"
    with as_written(path):
        read = read_json(path)
        found = {"corrupted": read["corrupted_top1"], "other": (read["other"] or {}).get("top1")}
        known = {name: float(value) for name, value in found.items() if value is not None}
        return str(stage.inputs["student"]), known


def _student(stage: Stage, outside: dict[str, float]) -> Student:
    path = stage.folder / "result.json"
    with as_written(path):
        task, result = task_of(stage.name), read_json(path)
        distilled, teacher = result["distilled"], result.get("teacher")
        shares = result["per_class"].items()
        per_class = {str(name): float(share) for name, share in shares if share is not None}
        told = {name: result[name] for name in task.comparison.columns if result.get(name) is not None}
        scores = {name: float(value) for name, value in told.items()} | outside
        scores[task.comparison.score] = float(result[task.comparison.score])
        if "balanced" in task.comparison.columns and per_class:
            scores.setdefault("balanced", mean(per_class.values()))
        return Student(
            stage=stage,
            task=task,
            architecture=str(result["student"] if "student" in result else result["detector"]),
            scores=scores,
            chance=float(result["chance"]) if "chance" in result else None,
            per_class=per_class,
            val_name=str(result["val"]["name"]),
            val_images=int(result["val"]["images"]),
            val_shared=int(result["val"].get("shared", 0)),
            val_skipped=[(str(name), str(reason)) for name, reason in result["val"]["skipped"]],
            distilled={**distilled, "method": str(distilled["method"]), "ipc": _number(distilled["ipc"])},
            teacher=(str(teacher["name"]), float(teacher["sample_accuracy"])) if teacher else None,
            settings=dict(result["settings"]),
        )


def _number(value: Any) -> int | float:
    return int(value) if int(value) == value else float(value)


def method_rank(method: str) -> tuple[int, str]:
    return place(method, METHODS), method


def place(name: str, order: tuple[str, ...]) -> int:
    """Place in an order; what it does not name comes last."""
    return order.index(name) if name in order else len(order)

"""What training gives: small frozen records of `result.json`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from focusdd.core.files import read_json


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network and what it reached on the validation images. Scores are fractions, 0 to 1."""

    folder: Path = field(compare=False)
    """Holds the checkpoint, result.json and run.json."""
    per_class: dict[str, float | None]
    """The score of every class; None for a class without validation images."""
    val: dict[str, Any]
    """Validation source: name, number of images, and what was skipped."""
    distilled: dict[str, Any]
    """What was learnt from: key, method, ipc, size and seed of the distilled dataset."""
    settings: dict[str, Any]
    """All settings of the training."""

    def to_dict(self) -> dict[str, Any]:
        """The content of result.json."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "folder"}

    @classmethod
    def of(cls, folder: Path, result: dict[str, Any]) -> Self:
        """From the content of result.json."""
        return cls(folder=folder, **{one.name: result[one.name] for one in fields(cls) if one.name in result})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What training left in a folder. Raises FocusError if it is missing or damaged."""
        return cls.of(folder, read_json(folder / "result.json"))


@dataclass(frozen=True, kw_only=True)
class TrainedStudent(Trained):
    """What `train` gives."""

    student: str
    """Its architecture."""
    top1: float
    """Share of the validation images whose most probable class is right."""
    top5: float
    """Share of the validation images whose class is among the five most probable."""
    balanced: float
    """Mean of the classes' top-1."""
    chance: float
    """Top-1 of always answering the most frequent class."""
    teacher: dict[str, Any] | None
    """Name and sample accuracy of the teacher; None with hard labels."""
    taught: dict[str, Any]
    """How it was taught: dense, and tile_crops."""

    @property
    def summary(self) -> str:
        """Its scores in words."""
        top5 = f", {self.top5:.1%} top-5" if len(self.per_class) > 5 else ""  # else always all
        return f"{self.student}: {self.top1:.1%} top-1{top5}"


@dataclass(frozen=True, kw_only=True)
class TrainedDetector(Trained):
    """What `detect train` gives. `per_class` is mean average precision as `map`."""

    detector: str
    """Its architecture."""
    map: float
    """Mean average precision over classes and IoU from 0.5 to 0.95."""
    map50: float
    """Mean average precision at IoU 0.5."""
    steps: int
    """Optimizer steps."""

    @property
    def summary(self) -> str:
        """Its scores in words."""
        return f"{self.detector}: {self.map:.1%} mAP50-95, {self.map50:.1%} mAP50"

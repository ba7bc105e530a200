"""What a comparison combines, and what `run` makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from focusdd.settings.base import UNSET, Count, Derived, Device, Only, Seed, Settings
from focusdd.settings.distill import DistillSettings, Method
from focusdd.settings.extract import DEFAULT_EXTRACTOR, ExtractorSettings
from focusdd.settings.train import TrainSettings

_FULL = Only(methods=lambda methods: "full" in methods)
_STEPS = 1500  # that a student of `run` takes at least; measured: docs/understand/measured.md


class CompareSettings(Settings, panel="Comparison"):
    """Every combination of methods, ipc, students, labels and seeds. All else is the same for all runs."""

    renamed: ClassVar[dict[str, str]] = {"views": "extract"}
    own: ClassVar[dict[str, dict[str, str]]] = {
        "extract": {"extractor": "extractor", "device": "device"},
        "distill": {"ipc": "ipc", "method": "methods", "seed": "seeds", "teacher": "teacher"},
        "train": {"student": "students", "teacher": "teacher", "labels": "labels", "seed": "seeds",
                  "augment": "plain", "device": "device"},
    }  # fmt: skip

    methods: tuple[Method | Literal["full"], ...] = ("focus", "random")
    """Methods as in `distill --method`, and full: all images of the source. Random is always added."""
    ipc: tuple[Count, ...] = (10,)
    """Distilled images per class."""
    students: tuple[str, ...] = ("resnet18",)
    """timm model names."""
    labels: tuple[Literal["soft", "hard"], ...] = ("soft",)
    """What students learn. soft: the teacher's distribution for every crop. hard: the class index."""
    seeds: Count = 3
    """Runs of every combination. They have the seeds 0, 1, ... for selecting and training."""
    teacher: Annotated[str, Only(labels_from=("teacher",))] = ""
    """Model that gives the soft labels and scores the crops of method rded: a checkpoint folder or a timm
    model name."""
    extractor: Annotated[str, Only(reader=("extractor",))] = DEFAULT_EXTRACTOR
    """ViT of the methods focus, herding and k-center: a checkpoint folder or a timm model name."""
    full_epochs: Annotated[Count | None, _FULL] = None
    """Passes over the source for method full. Default: as many steps as the largest ipc takes."""
    plain: bool = False
    """Train every student also without augmentation, for the augmentation-robust score."""
    corruptions: bool = False
    """Score every student also on corrupted validation images: 5 corruptions at 5 strengths."""
    device: Device = "auto"
    extract: ExtractorSettings = Field(default_factory=ExtractorSettings)
    """How the extractor reads the images."""
    distill: DistillSettings = Field(default_factory=DistillSettings)
    """Settings of `distill` beside what is compared."""
    train: TrainSettings = Field(default_factory=TrainSettings)
    """Settings of `train` beside what is compared."""


def _epochs(values: Mapping[str, Any]) -> int:
    batch = TrainSettings.model_fields["batch_size"].default
    steps = math.ceil(values["ipc"] * values["classes"] / batch)
    return max(TrainSettings.model_fields["epochs"].default, math.ceil(_STEPS / steps))


class RunSettings(Settings, panel="Training"):
    """From photographs to a trained student: extract, fit, distill, label, train."""

    ipc: Count = 10
    """Distilled images per class."""
    student: str = "resnet18"
    """Architecture to train: a timm model name. The teacher has the same."""
    teacher: str = ""
    """Large model that the teacher is distilled from: a checkpoint folder or a timm model name. A checkpoint
    folder of the student's own architecture is the teacher itself. Default: the teacher learns from the class
    labels alone."""
    labels: Literal["soft", "tiles", "views"] = "soft"
    """What the student learns, as in `train --labels`. soft: the teacher is asked during training. tiles,
    views: its labels are stored beside the images first, so that later students need no teacher."""
    extractor: str = ExtractorSettings.model_fields["extractor"].default
    """ViT that reads the images: a checkpoint folder or a timm model name."""
    input_size: Annotated[int | None, Field(ge=16, le=2048)] = None
    """Side of the extractor's input in pixels. Default: that of `extract`."""
    size: Annotated[int, Field(ge=32, le=1024), Derived()] = UNSET
    """Side of the distilled images and of the models' input in pixels. Default: that of a --teacher of the
    student's own architecture, else 224."""
    fit_epochs: Count = 30
    """Passes over the source in which the teacher learns."""
    epochs: Annotated[Count, Derived(_epochs)] = UNSET
    """Passes over the distilled images in which the student learns. Default: 300, or as many as make 1,500
    steps."""
    control: bool = False
    """Train a second student in the same way on random images."""
    anyway: bool = False
    """Go on with an extractor or a --teacher whose accuracy is near chance."""
    device: Device = "auto"
    seed: Seed = 0

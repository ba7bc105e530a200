"""What `run` makes: one student from nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from focusdd.settings.base import UNSET, Count, Derived, Device, Seed, Settings
from focusdd.settings.extract import ExtractorSettings


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
    size: Annotated[int, Field(ge=32, le=1024), Derived()] = UNSET
    """Side of the distilled images and of the models' input in pixels. Default: that of a --teacher of the
    student's own architecture, else 224."""
    fit_epochs: Count = 30
    """Passes over the source in which the teacher learns."""
    epochs: Count = 300
    """Passes over the distilled images in which the student learns."""
    control: bool = False
    """Train a second student in the same way on random images."""
    anyway: bool = False
    """Go on with an extractor or a --teacher whose accuracy is near chance."""
    device: Device = "auto"
    """Device of all models. auto: a GPU if there is one."""
    seed: Seed = 0
    """Seed of every random choice."""

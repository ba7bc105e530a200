"""Which images and windows make up a distilled dataset, and how they become pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from focusdd.settings.base import UNSET, Count, Derived, Exponent, NotInKey, Only, Seed, Settings, positive
from focusdd.settings.extract import PatchSettings

Method = Literal["focus", "random", "view", "rded", "herding", "k-center"]
FEW = 5  # distilled images per class, below which the most realistic images are the best choice
_FOCUS = Only(method=("focus",))
_RDED = Only(method=("rded",))


def _views(values: Mapping[str, Any]) -> int:
    cells = int(values["grid"]) ** 2
    return cells // 2 if values["view_source"] == "same" else 3 * cells // 4


def _keep(values: Mapping[str, Any]) -> float:
    return 0.0 if values["ipc"] < FEW else 1.0


class SelectSettings(PatchSettings):
    """Which images and windows make up the distilled dataset. No image is opened to decide it."""

    ipc: Count = 10
    """Distilled images per class."""
    method: Method = "focus"
    """Selection method. focus: key patches and downsampled views. random: whole images. view: downsampled
    views only. rded: the random crops with the lowest teacher loss. herding, k-center: whole images chosen
    on the extractor's features."""
    grid: Annotated[int, Field(ge=1, le=8), Only(method=("focus", "view", "rded"))] = 2
    """Tiles per side of a distilled image."""
    view_source: Annotated[Literal["other", "same"], _FOCUS] = "other"
    """Images that views show. other: images that give no key patch. same: the images of the key patches."""
    views: Annotated[int, Field(ge=0, le=64), _FOCUS, Derived(_views)] = UNSET
    """Tiles of a distilled image that show a whole image, downsampled. The other tiles show key patches.
    Default: three quarters of the tiles, half of them with --view-source same."""
    keep: Annotated[float, Field(ge=0, le=1), _FOCUS, Derived(_keep)] = UNSET
    """Fraction of each class, most realistic first, from which images are drawn at random. 0 takes the most
    realistic in order. Default: 0 if --ipc is below 5, else 1."""
    skip: Annotated[float, Field(ge=0, lt=1), _FOCUS] = 0.0
    """Fraction of each class, most realistic first, that is used last, as too easy."""
    clusters: Annotated[bool, Only(keep=positive), _FOCUS] = False
    """Spread the draw over k-means clusters of the extractor's features. Each cluster gives the image nearest
    to its centre."""
    balanced: Annotated[bool, _FOCUS] = False
    """exp"""
    max_similarity: Annotated[float, Field(ge=-1, le=1), _FOCUS] = 1.0
    """Near-duplicate threshold (cosine similarity of features). Images above it are used last. 1 disables
    it."""
    confidence_power: Annotated[Exponent, _FOCUS] = 1.0
    """Exponent a of the confidence in realism = confidence^a * mass^b * (1 - area)^c."""
    mass_power: Annotated[Exponent, _FOCUS] = 1.0
    """Exponent b of the attention mass inside the key patch."""
    area_power: Annotated[Exponent, _FOCUS] = 0.0
    """Exponent c of one minus the attention area."""
    seed: Annotated[Seed, Only(method=("focus", "random", "view", "rded"), keep=positive)] = 0
    """Seed of every random choice."""


class ComposeSettings(Settings):
    """How tiles become pixels."""

    size: Annotated[int, Field(ge=16, le=4096)] = 224
    """Side of a distilled image in pixels."""
    format: Literal["jpg", "png"] = "jpg"
    """File format of the distilled images. png is lossless and several times larger."""
    quality: Annotated[int, Field(ge=1, le=100), Only(format=("jpg",))] = 95
    """JPEG quality."""


class DistillSettings(SelectSettings, ComposeSettings):
    """All settings of selecting and composing."""

    teacher: Annotated[str, NotInKey, _RDED] = ""
    """Model that scores the crops of --method rded: a checkpoint folder or a timm model name."""
    rded_images: Annotated[Count, _RDED] = 300
    """Images per class that --method rded crops."""
    rded_crops: Annotated[Count, _RDED] = 5
    """Random crops per image, of which --method rded keeps the one with the lowest loss."""

"""Detection: which objects a distilled image shows, how a detector learns, and what is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from focusdd.settings.base import (
    UNSET,
    Count,
    Derived,
    Device,
    Exponent,
    Flip,
    Only,
    OnlyRanked,
    Seed,
    Settings,
    Share,
)
from focusdd.settings.distill import ComposeSettings
from focusdd.settings.extract import DEFAULT_EXTRACTOR, ExtractorSettings

Detector = Literal["yolo11n", "yolo11s", "yolo11m", "yolo11l", "yolo11x", "ssdlite"]
DetectMethod = Literal["focus", "random", "selection", "paste", "full"]
_FOCUS = Only(method=("focus",))
_PACKED = Only(method=("focus", "paste"))
_SCORED = Only(method=("focus", "selection"))
_RANKED = OnlyRanked(keep=lambda keep: keep < 1)
_NOT_FULL = Only(method=("focus", "random", "selection", "paste"))


def _ipc(values: Mapping[str, Any]) -> int | None:
    return 10 if values["budget"] is None and values["ratio"] is None else None


class ObjectSettings(Settings, panel="Selection"):
    """Which objects a distilled image shows, and what becomes of their boxes."""

    ipc: Annotated[Count | None, _NOT_FULL, Derived(_ipc)] = UNSET
    """Distilled images per class, counted by the class that an image's patches were chosen for. Default:
    10."""
    budget: Annotated[Count | None, _NOT_FULL] = None
    """Distilled images in all, shared out among the classes. Use it instead of --ipc."""
    ratio: Annotated[Share | None, _NOT_FULL] = None
    """Distilled images as a fraction of the source's images, such as 0.01. Use it instead of --ipc."""
    method: DetectMethod = "focus"
    """Selection method. focus: windows around objects at full resolution and downsampled whole images.
    random: whole images. selection: the most realistic whole images. paste: random objects, cut out tightly.
    full: all images."""
    layout: Annotated[Literal["grid", "pack"], _FOCUS] = "pack"
    """Arrangement of windows. grid: tiles of one size. pack: windows of the size of their objects, as many as
    fit."""
    grid: Annotated[int, Field(ge=1, le=8), _PACKED] = 2
    """Tiles per side of --layout grid. In --layout pack no window and no whole image needs more room than a
    tile, but a whole image takes more where most of its objects would be too small for a label otherwise."""
    views: Annotated[int, Field(ge=0, le=64), _FOCUS] = 1
    """Downsampled whole images in every distilled image."""
    context: Annotated[float, Field(ge=0, le=4), _PACKED, Derived(lambda _: 0.5)] = UNSET
    """Smallest surroundings on each side of an object, as a fraction of its longer side. Default: 0.1 to 0.5,
    as much as fits a tile of --grid with the median object at the scale of whole images."""
    grow: Annotated[float, Field(ge=1, le=4), _FOCUS] = 1.5
    """Largest factor by which a window grows to avoid cutting another object."""
    mix: Annotated[float, Field(ge=1, le=4), _PACKED] = 1.5
    """Largest factor by which an object is drawn smaller or larger than a whole image would show it. The
    factor is random, and as often below 1 as above: an object with no room to be drawn larger is not drawn
    smaller either. 1 draws all objects at the scale of whole images."""
    max_upsample: Annotated[float, Field(ge=1, le=8), _PACKED] = 2.0
    """Largest factor by which a window is enlarged beyond its own pixels, if whole images are not enlarged
    more."""
    visible: Share = 0.6
    """Smallest visible fraction of a box that keeps its label. Below it the object is masked."""
    min_size: Annotated[float, Field(gt=0)] = 4.0
    """Smallest side of a box in pixels of the distilled image that keeps its label."""
    keep: Annotated[float, Field(ge=0, le=1), _FOCUS] = 1.0
    """Fraction of each class's objects, most realistic first, from which they are drawn at random. 0 takes
    the most realistic in order."""
    confidence_power: Annotated[Exponent, _SCORED, _RANKED] = 1.0
    """Exponent a of the confidence in realism = confidence^a * mass^b * size^c * whole^d."""
    mass_power: Annotated[Exponent, _SCORED, _RANKED] = 1.0
    """Exponent b of the class attention inside the object's box."""
    size_power: Annotated[Exponent, _SCORED, _RANKED] = 0.0
    """Exponent c of the object's size, the square root of its share of the image area."""
    whole_power: Annotated[Exponent, _SCORED, _RANKED] = 1.0
    """Exponent d of how whole an object is. It is halved for every border of the image that its box
    touches."""
    seed: Annotated[Seed, Only(method=("focus", "random", "paste"))] = 0


class DetectDistillSettings(ObjectSettings, ComposeSettings):
    """All settings of selecting and composing for detection."""

    size: Annotated[int, Field(ge=32, le=4096), Derived()] = UNSET
    """Side of a distilled image in pixels, at which detectors are trained by default. Default: small objects
    have about 8 pixels. It is a multiple of 32 from 320 to 640, and not above the size of the images."""


class DetectTrainSettings(Settings, panel="Training"):
    """How a detector learns from a distilled detection dataset, always from scratch."""

    detector: Detector = "yolo11n"
    """Architecture. yolo11n to yolo11x: from Ultralytics, AGPL-3.0. ssdlite: SSDLite on a MobileNetV3, from
    torchvision, BSD."""
    size: Annotated[int, Field(ge=32, le=1280, multiple_of=32), Derived()] = UNSET
    """Side of the detector's square input in pixels, in training and validation: a multiple of 32. Default:
    that of the distilled images."""
    steps: Count = 2000
    """Optimizer steps, the same for every size of dataset. Above 20 they are rounded to a multiple of 20."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """Images per step. With --mosaic each of them is made of four."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of AdamW. The schedule is 5 % warm-up and a cosine to zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay."""
    mosaic: Annotated[float, Field(ge=0, le=1), Only(detector=lambda name: name != "ssdlite")] = 1.0
    """Probability of a mosaic of four images. The last tenth of the steps has none."""
    flip: Flip = True
    device: Device = "auto"
    seed: Seed = 0


class DetectCompareSettings(Settings, panel="Comparison"):
    """Every combination of methods, budgets, detectors and seeds. All else is the same for all runs."""

    renamed: ClassVar[dict[str, str]] = {"views": "extract"}
    own: ClassVar[dict[str, dict[str, str]]] = {
        "extract": {"extractor": "extractor", "device": "device"},
        "distill": {"ipc": "ipc", "ratio": "ratio", "budget": "ratio", "method": "methods", "seed": "seeds"},
        "train": {"detector": "detectors", "seed": "seeds", "device": "device"},
    }

    methods: tuple[DetectMethod, ...] = ("focus", "random")
    """Methods as in `detect distill --method`. Random is always added."""
    ipc: tuple[Count, ...] = ()
    """Distilled images per class. Default: 10, if no --ratio is given."""
    ratio: tuple[Share, ...] = ()
    """Distilled images as fractions of the source's images, beside or instead of --ipc."""
    detectors: tuple[Detector, ...] = ("yolo11n",)
    """Architectures as in `detect train --detector`."""
    seeds: Count = 3
    """Runs of every combination. They have the seeds 0, 1, ... for selecting and training."""
    extractor: Annotated[str, Only(reader=("extractor",))] = DEFAULT_EXTRACTOR
    """ViT of the methods focus and selection: a checkpoint folder or a timm model name."""
    device: Device = "auto"
    extract: ExtractorSettings = Field(default_factory=ExtractorSettings)
    """How the extractor reads the images."""
    distill: DetectDistillSettings = Field(default_factory=DetectDistillSettings)
    """Settings of `detect distill` beside what is compared."""
    train: DetectTrainSettings = Field(default_factory=DetectTrainSettings)
    """Settings of `detect train` beside what is compared."""

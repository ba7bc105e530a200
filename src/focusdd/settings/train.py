"""How teachers, extractors and students learn, and which labels are stored for students."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from focusdd.settings.base import (
    UNSET,
    Anyway,
    Count,
    Derived,
    Device,
    Flip,
    NotInKey,
    Only,
    Seed,
    Settings,
    Share,
    positive,
)
from focusdd.settings.recipes import default_help

DENSE, WHOLE_VIEWS = "dense labels", "labels of whole views"
"""Values of the fact "taught": what the labels that a student learns from are of."""
_SHOWN = Only(augment=(True,), kind=("views", "both"))
_SOFT = Only(labels=("soft", "stored", "tiles", "views"))
_VIEWS = Only(kind=("views", "both"))


def _temperature(values: Mapping[str, Any]) -> float:
    return 4.0 if values.get("other_family") else 20.0  # measured: docs/understand/measured.md


def _tile_crops(values: Mapping[str, Any]) -> float:
    return 0.5 if values.get("taught") == DENSE or values.get("dense") else 1.0


class AugmentSettings(Settings, panel="Augmentation"):
    """How a student is shown distilled images. The defaults are the recipe of every table here."""

    renamed: ClassVar[dict[str, str]] = {"mixup": "mix_prob"}

    crop: Annotated[Share, _SHOWN] = 0.5
    """Smallest fraction of a distilled image, or of a tile, that a random resized crop shows."""
    tile_crops: Annotated[float, Field(ge=0, le=1), _SHOWN, Derived(_tile_crops)] = UNSET
    """Fraction of the crops that are taken within one tile. Default: 0.5 with dense labels, else 1."""
    flip: Annotated[Flip, _SHOWN] = True
    shuffle_tiles: Annotated[bool, _SHOWN] = True
    """Put the tiles of a distilled image in random order in every epoch."""
    mix_prob: Annotated[float, Field(ge=0, le=1), _SHOWN] = 1.0
    """Probability that another image is mixed into a view, by CutMix unless --mix says otherwise."""


class LabelSettings(AugmentSettings, panel="Labels"):
    """Which soft labels are stored beside the images, and in how many bytes."""

    renamed: ClassVar[dict[str, str]] = {
        "mixup": "mix_prob",
        "labels": "kind",
        "places": "dense",
        "views": "num_crops",
    }

    teacher: Annotated[str, NotInKey]
    """Model that gives the labels: a checkpoint folder or a timm model name."""
    kind: Literal["tiles", "views", "both"] = "tiles"
    """What is labelled. tiles: every tile and the whole image. The label of a crop is composed of them.
    views: --num-crops crops of every image, reused over the epochs. both: tiles and views."""
    size: Annotated[int, Field(ge=16, le=1024), Derived()] = UNSET
    """Side of the teacher's and the student's input in pixels. Default: what the teacher was fitted at."""
    num_crops: Annotated[Count, _VIEWS] = 100
    """Crops of every image that are labelled."""
    dense: Annotated[int, Field(ge=0, le=64), _VIEWS] = 0
    """Dense labels: locations per side of every crop that get labels of their own. 0 labels whole crops
    alone."""
    top: Annotated[int, Field(ge=1, le=65535)] = 32
    """Most probable classes that a label stores. All others share one value."""
    bits: Literal[4, 8, 16] = 8
    """Bits per stored class."""
    temperature: Annotated[float, Field(gt=0), Only(stored=("some classes",))] = 20.0
    """Temperature of the later training. The classes beyond --top keep their joint probability at it."""
    device: Device = "auto"
    anyway: Anyway = False
    """Go on with a teacher whose accuracy on the tiles is near chance."""
    seed: Annotated[int, Field(ge=0, lt=2**63), _VIEWS] = 0
    """Seed of the crops."""


class TrainSettings(AugmentSettings, panel="Training"):
    """How a student learns from a distilled dataset. The defaults are the recipe of every table here."""

    renamed: ClassVar[dict[str, str]] = {"mixup": "mix_prob", "regions": "dense_weight"}

    student: str = "resnet18"
    """Any timm model name."""
    teacher: Annotated[str, NotInKey, Only(labels=("soft",))] = ""
    """Model that gives the soft labels: a checkpoint folder or a timm model name. Needed with --labels
    soft."""
    labels: Literal["soft", "hard", "stored", "tiles", "views"] = "soft"
    """What is learnt. soft: the teacher's distribution for every crop, computed during training. hard: the
    class index. tiles, views: that kind of labels from `focusdd label`. stored: views if there are any, else
    tiles."""
    epochs: Count = 300
    """Passes over the distilled dataset."""
    size: Annotated[int, Field(ge=16, le=1024), Derived()] = UNSET
    """Side of the student's input in pixels, in training and validation. Default: what the teacher was fitted
    at, the size of stored labels or, with --labels hard, that of the distilled images."""
    batch_size: Annotated[int, Field(ge=2)] = 20
    """Images per step."""
    lr: Annotated[
        float,
        Field(gt=0, description=f"Peak learning rate of AdamW. Default: {default_help('lr')}."),
        Derived(),
    ] = UNSET
    weight_decay: Annotated[
        float, Field(ge=0, description=f"Weight decay. Default: {default_help('weight_decay')}."), Derived()
    ] = UNSET
    loss: Annotated[Literal["kl", "mse"], _SOFT] = "kl"
    """Distance from the teacher. kl: Kullback-Leibler divergence of the softened distributions. mse: squared
    error of the logits."""
    temperature: Annotated[float, Field(gt=0), Only(loss=("kl",)), _SOFT, Derived(_temperature)] = UNSET
    """Temperature of the teacher's and the student's distribution. Default: 20, or 4 for a teacher of another
    family than the student; for stored labels of --top classes, theirs."""
    hard_weight: Annotated[float, Field(ge=0, lt=1), _SOFT] = 0.0
    """Weight of the cross-entropy with the class index. The distance from the teacher has the rest."""
    dense_weight: Annotated[float, Field(ge=0, le=1), Only(taught=(DENSE,)), _SOFT] = 1.0
    """Weight of dense labels: of the distance at every location of the last feature maps. The distance of
    whole views has the rest. Networks without such maps and stored labels that are not dense have whole views
    alone."""
    mix: Annotated[Literal["cutmix", "mixup"], Only(augment=(True,), mix_prob=positive)] = "cutmix"
    """How images are mixed. cutmix: a box of another image. mixup: a blend of two. Stored labels know
    cutmix alone."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights, which is then scored and saved. 0 takes the last
    weights."""
    schedule: Literal["cosine", "half-cosine"] = "cosine"
    """Learning rate over the epochs. cosine: to zero. half-cosine: to half of the peak, as in RDED's code."""
    augment: bool = True
    """Crop, mirror, shuffle and mix. Without it the student sees every distilled image as it is."""
    device: Device = "auto"
    anyway: Annotated[Anyway, Only(labels=("soft",))] = False
    """Go on with a teacher whose accuracy on the validation images is near chance."""
    seed: Seed = 0


class FitSettings(Settings, panel="Training"):
    """How a teacher or an extractor is trained on a source."""

    renamed: ClassVar[dict[str, str]] = {"mixup": "mix_prob"}

    model: str = ""
    """Architecture: a timm model name, with or without timm/, or hf-hub:OWNER/NAME. Default: that of
    --init."""
    init: Annotated[str, NotInKey] = ""
    """Checkpoint folder to start from. Its head is kept if it has the same classes."""
    model_args: dict[str, Annotated[int | float | bool | str, Field(union_mode="left_to_right")]] = Field(
        default={}
    )
    """Arguments of the architecture, such as --model-args.depth 6 --model-args.patch-size 8."""
    size: Annotated[int, Field(ge=16, le=1024)] = 128
    """Side of the training images in pixels."""
    epochs: Annotated[int, Field(ge=1)] = 30
    """Passes over the source."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images per step."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of AdamW. The schedule is a warm-up and a cosine to zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Weight decay."""
    crop: Share = 0.35
    """Smallest fraction of the image area that a random resized crop shows."""
    flip: Flip = True
    mix_prob: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a box of another image is mixed into an image (CutMix)."""
    pretrained: Annotated[bool, Only(init=("",)), Derived()] = UNSET
    """Start from timm's pretrained weights. Default: if timm has such for --model, they can be had, and there
    are no --model-args."""
    teacher: Annotated[str, NotInKey] = ""
    """Model to distil from (temperature 2) beside the class labels: a checkpoint folder or a timm model
    name."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights, which is then saved. 0 saves the last
    weights."""
    device: Device = "auto"
    anyway: Annotated[Anyway, Only(teacher=bool)] = False
    """Go on with a teacher whose accuracy on the source is near chance."""
    seed: Seed = 0

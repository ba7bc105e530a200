"""How a teacher or an extractor is trained on a source."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from focusdd.settings.base import UNSET, Anyway, Derived, Device, NotInKey, Seed, Settings, Share


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
    flip: bool = True
    """Mirror half of the images. Switch it off for digits, letters and whatever else has a left and a
    right."""
    mix_prob: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that a box of another image is mixed into an image (CutMix)."""
    pretrained: Annotated[bool, Derived()] = UNSET
    """Start from timm's pretrained weights. Default: if timm has such for --model, they can be had, and there
    are no --model-args."""
    teacher: Annotated[str, NotInKey] = ""
    """Model to distil from (temperature 2) beside the class labels: a checkpoint folder or a timm model
    name."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights, which is then saved. 0 saves the last
    weights."""
    device: Annotated[Device, NotInKey] = "auto"
    """Device of the model. auto: a GPU if there is one."""
    anyway: Anyway = False
    """Go on with a teacher whose accuracy on the source is near chance."""
    seed: Seed = 0
    """Seed of every random choice."""

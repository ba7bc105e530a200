"""How a ViT reads images, and which windows of an image are its key patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from focusdd.settings.base import UNSET, Anyway, Count, Derived, Device, NotInKey, Only, Settings, Share

# the fact "reader": who looks at the images; "extractor" where this stage runs the ViT itself
_READS = Only(reader=("extractor",))
_FOCUS = Only(method=("focus",))


DEFAULT_EXTRACTOR = "vit_small_patch14_reg4_dinov2.lvd142m"
"""DINOv2's ViT-S/14 with registers: any photographs, any classes, through the probe."""
_DEFAULT_SIZE = 224  # instead of its own 518 px: 256 tokens instead of 1,369


def _input_size(values: Mapping[str, Any]) -> int | None:
    return _DEFAULT_SIZE if values["extractor"] == DEFAULT_EXTRACTOR else None


class ExtractorSettings(Settings, panel="Extractor"):
    """How a ViT reads attention and confidence."""

    renamed: ClassVar[dict[str, str]] = {"fit": "resize"}

    extractor: Annotated[str, NotInKey, _READS] = DEFAULT_EXTRACTOR
    """ViT that reads the images: a checkpoint folder (config.json + model.safetensors), a timm model name, or
    hf-hub:OWNER/NAME. The default is DINOv2's ViT-S/14 with registers."""
    input_size: Annotated[int | None, Field(ge=16, le=2048), _READS, Derived(_input_size)] = None
    """Side of the ViT's input in pixels. Default: 224 for the default extractor, else the model's own. A
    larger input finds smaller objects and takes longer."""
    resize: Annotated[Literal["squash", "letterbox"], _READS] = "squash"
    """How an image becomes a square input. squash: resized without regard to its aspect ratio. letterbox:
    scaled and padded."""
    attention: Annotated[Literal["last", "mean", "ema", "rollout"], _READS] = "mean"
    """Layers that make up the class attention. last: the last layer. mean: the mean of the last --layers.
    ema: an exponential average over them (LF-ViT). rollout: attention rollout over all layers."""
    layers: Annotated[Count, Only(attention=("mean", "ema")), _READS] = 2
    """Number of layers, counted from the last, that --attention mean and ema use."""
    heads: Annotated[Literal["mean", "max"], _READS] = "max"
    """How the attention heads of a layer are combined."""
    confidence: Annotated[Literal["auto", "head", "probe"], Only(task=("classification",)), _READS] = "auto"
    """Source of the confidence. head: the model's classifier. probe: a linear probe on its class-token
    features. auto: the head if its classes match the source's, else the probe."""
    anyway: Annotated[Anyway, Only(task=("classification",)), _READS] = False
    """Go on with a model whose accuracy on the source is near chance."""
    batch_size: Annotated[Count, NotInKey, _READS, Derived()] = UNSET
    """Images per forward pass of the ViT. Default: 64. On a GPU: as many as have 65,536 tokens, from 16 to
    256. Lower it if memory runs out."""
    device: Annotated[Device, Only(reader=("extractor", "method rded"))] = "auto"


class PatchSettings(Settings, panel="Patches"):
    """Which windows of an image are its key patches."""

    window: Annotated[Literal["object", "tile"], _FOCUS] = "object"
    """Size of a key patch. object: the smallest window that holds --share of the attention. tile: the size
    of a tile. Both are centred on the attention."""
    share: Annotated[Share, _FOCUS] = 0.75
    """Fraction of the class attention that a key patch of --window object holds. Raise it to show more of
    the surroundings."""
    max_upsample: Annotated[float, Field(ge=1, le=8), _FOCUS] = 1.5
    """Largest factor by which a key patch is enlarged to fill its tile."""
    patches: Annotated[int, Field(ge=1, le=16), _FOCUS] = 1
    """Number of key patches per image. Raise it for images with several objects."""
    max_iou: Annotated[float, Field(ge=0, lt=1), Only(patches=lambda count: count > 1), _FOCUS] = 0.25
    """Largest overlap (intersection over union) between key patches of one image."""


class ExtractSettings(ExtractorSettings, PatchSettings, panel="Patches"):
    """How one ViT pass over the data fills the index."""

    tile: Annotated[int, Field(ge=8, le=4096)] = 112
    """Side in pixels of the tiles that key patches are meant for. `distill` computes key patches for other
    tile sizes from the stored attention."""

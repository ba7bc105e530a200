"""What inference on the images of a source is: decoded images, a ViT's attention on them, and rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from focusdd.core.decoders import PILLOW
from focusdd.core.errors import FocusError
from focusdd.extraction.attention import ViT, as_vit, class_attention
from focusdd.extraction.geometry import margins, without_padding
from focusdd.extraction.index import from_bytes, to_bytes
from focusdd.models.device import autocast, cast_weights
from focusdd.models.load import Model
from focusdd.settings import ExtractorSettings
from focusdd.sources.base import Record, Source

_TOKENS = 2**16  # in a batch on a GPU


class DecodedImage(NamedTuple):
    """A decoded image as the ViT sees it, or the reason why there is none."""

    record: Record
    pixels: np.ndarray | torch.Tensor | None
    """uint8 (side, side, 3); all of a batch are in the same memory."""
    width: int
    height: int
    problem: str
    hash: str = ""
    """Of the encoded file."""
    notes: Any = None
    """What the annotations of the source say of it, where it has any."""
    decoder: str = PILLOW


class Inference(NamedTuple):
    """How the images of a source become rows."""

    source: Source
    side: int
    """Of the view in pixels."""
    settings: ExtractorSettings
    schema: pa.Schema
    rows: Callable[[list[DecodedImage]], dict[str, Any]]
    """The columns of one batch, all of it readable."""
    device: torch.device
    """Where `rows` computes."""
    notes: Callable[[str, int, int], Any] | None = None
    """(key, width, height) -> what else belongs to an image; it may raise UnreadableImage."""
    decoder: str = PILLOW
    """What decodes the files, where it can."""


def as_extractor(model: Model) -> ViT:
    """Makes a model ready for `attention_of`; it computes under `autocast` alone from then on.

    Raises:
        FocusError: it is no ViT whose attention can be read.
    """
    vit = as_vit(model.net, model.name)
    cast_weights(model.net, model.device)
    return vit


def batch_size(vit: ViT, model: Model) -> int:
    """Images per forward pass: on a GPU so many that launching the kernels takes less than computing them."""
    if model.device.type != "cuda":
        return 64
    height, width = vit.grid(model.input_size, model.input_size)
    return min(max(_TOKENS // (height * width), 16), 256)


def attention_of(
    images: list[DecodedImage], model: Model, vit: ViT, settings: ExtractorSettings
) -> tuple[np.ndarray, torch.Tensor]:
    """One batch through the ViT: attention grids over the images as bytes (B, h, w), and the final tokens.

    Raises:
        FocusError: the attention is not a number.
    """
    pixels = torch.stack([torch.as_tensor(one.pixels) for one in images])
    with autocast(model.device):
        attention, tokens = class_attention(vit, model.prepare(pixels.permute(0, 3, 1, 2)), settings)
    grids = attention.cpu().double().numpy()  # Apple's GPUs know no float64
    if not np.isfinite(grids).all():
        raise FocusError(
            f"the attention of {model.name!r} is not a number for {images[0].record.key} or near it: use "
            "another --extractor"
        )
    if settings.resize == "letterbox":
        empty = (margins(one.width, one.height, "letterbox") for one in images)
        grids = np.stack([without_padding(grid, *sides) for grid, sides in zip(grids, empty, strict=True)])
    return to_bytes(grids), tokens


def read_images(
    images: list[DecodedImage], model: Model, vit: ViT, settings: ExtractorSettings
) -> tuple[np.ndarray, torch.Tensor, dict[str, Any]]:
    """`attention_of` a batch: grids that sum to 1, the final tokens, and the columns of rows of any task."""
    stored, tokens = attention_of(images, model, vit, settings)
    with autocast(model.device):
        feature = model.net.forward_head(tokens, pre_logits=True).float()  # type: ignore[operator]
    columns = {
        "key": [one.record.key for one in images],
        "hash": [one.hash for one in images],
        "width": np.array([one.width for one in images], np.int32),
        "height": np.array([one.height for one in images], np.int32),
        "attention": [grid.tobytes() for grid in stored],
        "feature": list(feature.cpu().numpy().astype(np.float16)),
    }
    # what follows comes from what is stored: it can be found again
    return from_bytes(stored), tokens, columns

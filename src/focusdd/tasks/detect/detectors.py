"""Families of detectors: what training and scoring ask of each, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from focusdd.tasks.detect.distilled import Sample

GREY = 114  # what stands around images that are not square


class Found(NamedTuple):
    """What a detector found in one image, most confident first."""

    boxes: torch.Tensor
    """float32 (n, 4): half-open, in the units of the image given, inside it."""
    scores: torch.Tensor
    labels: torch.Tensor
    """int64 (n,)."""


@dataclass(frozen=True)
class Family:
    """How detectors of one library are made, taught and asked."""

    package: str
    """Its name, for the record of a run."""
    require: Callable[[], Any]
    """Raises FocusError where the library is not installed."""
    new_network: Callable[[str, int, torch.device, int], nn.Module]
    """(detector, number of classes, device, seed) -> an untrained network."""
    lessons: Callable[[Sequence[Sample], int, float, bool], Any]
    """(samples, side, share of mosaics, flip): `batch(rows, seed, mosaic)` is what `loss` takes."""
    loss: Callable[[nn.Module, Any, torch.device], torch.Tensor]
    """(network, batch, device) -> the mean loss per image."""
    find: Callable[[nn.Module, torch.Tensor], list[Found]]
    """(network in eval mode, uint8 (n, 3, side, side)) -> objects in pixels of this input."""
    clip: float
    """Largest gradient norm of the loss summed over a batch."""


def family_of(detector: str) -> Family:
    """The family of a detector by its name."""
    if detector.startswith("yolo"):
        from focusdd.tasks.detect.yolo import YOLO

        return YOLO
    from focusdd.tasks.detect.ssdlite import SSDLITE

    return SSDLITE

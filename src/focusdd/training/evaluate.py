"""Top-1 and top-5 on a validation set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from focusdd.models.load import normalise
from focusdd.models.precision import autocast
from focusdd.sources.pixels import Pixels


@dataclass(frozen=True)
class Score:
    """Accuracy as fractions, 0 to 1."""

    top1: float
    top5: float
    per_class: tuple[float, ...]
    """Top-1 by class; NaN for a class without images."""
    chance: float
    """Top-1 of always naming the most frequent class."""

    @property
    def balanced(self) -> float:
        """Mean top-1 of the classes that have images."""
        return float(np.nanmean(self.per_class))


@torch.inference_mode()
def evaluate(
    net: nn.Module,
    pixels: Pixels,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    num_classes: int,
    outputs: np.ndarray | None = None,
) -> Score:
    """Scores a network on decoded images.

    Args:
        outputs: the network's outputs in label order, when they are not already.
    """
    net.eval()
    correct1 = torch.zeros(num_classes, dtype=torch.float64)
    correct5 = torch.zeros(num_classes, dtype=torch.float64)
    for images, labels in zip(pixels.images.split(128), pixels.labels.split(128), strict=True):
        with autocast(device):
            logits = net(normalise(images.to(device), mean, std)).float().cpu()
        if outputs is not None:
            logits = logits[:, torch.as_tensor(outputs)]
        best = logits.topk(min(5, num_classes), dim=1).indices
        hits = best == labels[:, None]
        correct1.index_add_(0, labels, hits[:, 0].double())
        correct5.index_add_(0, labels, hits.any(1).double())
    counts = torch.bincount(pixels.labels, minlength=num_classes).double()
    return Score(
        float(correct1.sum() / counts.sum()),
        float(correct5.sum() / counts.sum()),
        tuple((correct1 / counts).tolist()),
        float(counts.max() / counts.sum()),
    )

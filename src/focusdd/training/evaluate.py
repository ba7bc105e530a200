"""Top-1 and top-5 on a validation set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from focusdd.models.checks import Accuracy
from focusdd.models.device import autocast
from focusdd.models.load import normalise
from focusdd.sources.pixels import Pixels


@dataclass(frozen=True)
class Score(Accuracy):
    """Accuracy on a validation set, as fractions."""

    top5: float


@torch.inference_mode()
def evaluate(
    net: nn.Module,
    pixels: Pixels,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    num_classes: int,
) -> Score:
    """Scores a network, whose outputs are in label order, on decoded images."""
    net.eval()
    best = []
    for images in pixels.images.split(128):
        with autocast(device):
            logits = net(normalise(images.to(device), mean, std)).float().cpu()
        best.append(logits.topk(min(5, num_classes), dim=1).indices)
    hits = (torch.cat(best) == pixels.labels[:, None]).numpy()
    found = Accuracy.of(hits[:, 0], pixels.labels.numpy(), num_classes)
    return Score(**vars(found), top5=float(hits.any(1).mean()))

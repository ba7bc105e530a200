"""Dense logits: what a network says of every location of its last feature map.

A head that averages the map and then classifies says of a view the mean of what it says of its locations.
These say more: what is where. Taught at every location, a student learns from one view what it would take
many to learn of the whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

Logits = tuple[torch.Tensor, torch.Tensor | None]
"""float32 logits (B, classes) of images and, at every location, (B, classes, h, w)."""


class PooledLogits(nn.Module):
    """A network that answers for whole images alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> Logits:
        """(B, 3, H, W) -> logits of whole images."""
        return self.net(images).float(), None


class DenseLogits(PooledLogits):
    """A timm network with feature maps that answers for the whole and for every location."""

    def forward(self, images: torch.Tensor) -> Logits:
        """One pass through the body; the head reads the map, and then each location as a map of its own."""
        maps = self.net.forward_features(images)  # type: ignore[operator]
        whole = self.net.forward_head(maps)  # type: ignore[operator]
        channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"  # as Swin has them
        located = maps if channels_last else maps.permute(0, 2, 3, 1)
        batch, height, width, channels = located.shape
        single = located.reshape(batch * height * width, 1, 1, channels)
        dense = self.net.forward_head(single if channels_last else single.permute(0, 3, 1, 2))  # type: ignore[operator]
        return whole.float(), dense.view(batch, height, width, -1).permute(0, 3, 1, 2).float()


def dense_grid(net: nn.Module, size: int, device: torch.device) -> tuple[int, int] | None:
    """Height and width of a network's last feature map; None unless it has several locations and a head that
    can read one.

    Args:
        size: side in pixels of its input.
    """
    mode = net.training
    net.eval()
    try:
        with torch.no_grad():
            whole, dense = DenseLogits(net)(torch.zeros((1, 3, size, size), device=device))
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    finally:
        net.train(mode)
    if dense is None or dense.shape[:2] != whole.shape or dense[0, 0].numel() == 1:
        return None
    return dense.shape[2], dense.shape[3]


def on_one_grid(mine: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense logits (B, classes, h, w) of two networks on the coarser grid, (B * h * w, classes) each."""
    height, width = (min(sides) for sides in zip(mine.shape[2:], theirs.shape[2:], strict=True))
    one, other = (
        F.adaptive_avg_pool2d(dense, (height, width)).permute(0, 2, 3, 1).flatten(0, 2)
        for dense in (mine, theirs)
    )
    return one, other

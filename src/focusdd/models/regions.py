"""Region-level labels: what a network says of every place of its last feature map.

A head that averages the map and then classifies says of a view the mean of what it says of the view's places.
The places say more: what is where. Taught place by place, a student learns from one view what it would take
many to learn of the whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

Answer = tuple[torch.Tensor, torch.Tensor | None]
"""float32 logits (B, classes) of images and, place by place, (B, classes, h, w)."""


class Whole(nn.Module):
    """A network that answers for whole images alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> Answer:
        """(B, 3, H, W) -> an answer without places."""
        return self.net(images).float(), None


class Regions(Whole):
    """A timm network with feature maps that answers for the whole and for every place."""

    def forward(self, images: torch.Tensor) -> Answer:
        """One pass through the body; the head reads the map, and then each place as a map of its own."""
        maps = self.net.forward_features(images)  # type: ignore[operator]
        whole = self.net.forward_head(maps)  # type: ignore[operator]
        channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"  # as Swin has them
        of_places = maps if channels_last else maps.permute(0, 2, 3, 1)
        batch, height, width, channels = of_places.shape
        places = of_places.reshape(batch * height * width, 1, 1, channels)
        said = self.net.forward_head(places if channels_last else places.permute(0, 3, 1, 2))  # type: ignore[operator]
        return whole.float(), said.view(batch, height, width, -1).permute(0, 3, 1, 2).float()


def has_regions(net: nn.Module, size: int, device: torch.device) -> bool:
    """Whether a network has feature maps of several places, and a head that can read one.

    Args:
        size: side in pixels of its input.
    """
    mode = net.training
    net.eval()
    try:
        with torch.no_grad():
            whole, places = Regions(net)(torch.zeros((1, 3, size, size), device=device))
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False
    finally:
        net.train(mode)
    return places is not None and places.shape[:2] == whole.shape and places[0, 0].numel() > 1


def paired(mine: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The places (B, classes, h, w) of two networks one by one, (B * h * w, classes), on the coarser grid."""
    height, width = (min(sides) for sides in zip(mine.shape[2:], theirs.shape[2:], strict=True))
    one, other = (
        F.adaptive_avg_pool2d(places, (height, width)).permute(0, 2, 3, 1).flatten(0, 2)
        for places in (mine, theirs)
    )
    return one, other

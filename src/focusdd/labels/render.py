"""Pixels of views from their records, a batch at a time, on the device that trains.

torchvision's and timm's transforms crop one image at a time, and draw where they cut: here crops are replayed
from records, and two matrix products resize a batch.
"""

from __future__ import annotations

import math

import torch

from focusdd.labels.views import Views


def render(
    images: torch.Tensor, rows: torch.Tensor, views: Views, size: int, device: torch.device
) -> torch.Tensor:
    """The pixels of one view of each of the rows (B,): float32 [0, 255] (B, 3, size, size) on the device.

    Args:
        images: all distilled images, uint8 (n, 3, side, side), wherever they lie.
        views: B records.
    """
    boxed, blended = bool(views.mix.any()), bool((views.lam < 1).any())
    if boxed or blended:
        partners = (rows + views.shift) % len(images)
        both = _canvases(images, torch.cat([rows, partners]), views.order.repeat(2, 1), device)
        own, partner = both.chunk(2)
    else:
        own = _canvases(images, rows, views.order, device)
    # one transfer: each would make the CPU wait
    columns = torch.cat([views.crop, views.mix, views.flip[:, None]], 1).to(device)
    crop, mix, flip = columns.split((4, 4, 1), 1)
    if boxed:
        own = torch.where(_inside(mix, images.shape[-1]), partner, own)
    elif blended:
        own = torch.lerp(partner.float(), own.float(), views.lam.to(device)[:, None, None, None])
    own = resized_crops(own, crop.float(), size)
    return torch.where(flip[:, :, None, None] > 0, own.flip(-1), own)


def resized_crops(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Cuts one box (B, 4) per image (B, 3, H, W) and resizes it to size x size.

    The filter is Pillow's bilinear with antialiasing, which is separable: two matrix products do a batch.
    Pixels outside the box do not count.
    """
    boxes = boxes.to(images.device)
    down = _resampling(boxes[:, 1], boxes[:, 3], size, images.shape[-2])
    across = _resampling(boxes[:, 0], boxes[:, 2], size, images.shape[-1])
    return down[:, None] @ images.float() @ across[:, None].mT


def _resampling(start: torch.Tensor, end: torch.Tensor, size: int, length: int) -> torch.Tensor:
    """Weights (B, size, length) of the pixels of one axis in those of a crop from start to end (B,)."""
    start, end = start[:, None, None], end[:, None, None]
    scale = (end - start) / size
    middle = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(length, device=start.device)
    weight = (1 - (pixel + 0.5 - middle).abs() / scale.clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel + 1 > start) & (pixel < end))
    return weight / weight.sum(-1, keepdim=True)


def _inside(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Masks (B, 1, side, side) of the pixels within boxes (B, 4)."""
    pixel = torch.arange(side, device=boxes.device)
    across, down = ((pixel >= boxes[:, :2, None]) & (pixel < boxes[:, 2:, None])).unbind(1)
    return (down[:, :, None] & across[:, None, :])[:, None]


def _canvases(
    images: torch.Tensor, rows: torch.Tensor, order: torch.Tensor, device: torch.device
) -> torch.Tensor:
    """The images of the rows (B,) with their tiles in order (B, grid^2), on the device."""
    grid, side = math.isqrt(order.shape[1]), images.shape[-1]
    if grid == 1 or side % grid:
        return images[rows.to(images.device)].to(device)
    index = torch.cat([rows[:, None], order], 1).to(images.device)
    rows, order = index[:, :1], index[:, 1:]
    tiles = images.view(-1, 3, grid, side // grid, grid, side // grid)
    # one gather: (B, cell, channel, y, x)
    tiles = tiles[rows, :, order // grid, :, order % grid, :].to(device)
    tiles = tiles.view(len(rows), grid, grid, 3, side // grid, side // grid)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(len(rows), 3, side, side)

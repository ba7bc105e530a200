"""Augmentation in batches, on the device that trains.

Images are [0, 255] tensors (B, 3, H, W); every random choice comes from the generator given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from focusdd.extraction.geometry import cell_edges
from focusdd.settings import AugmentSettings


def tile_crops_of(settings: AugmentSettings, by_region: bool = False) -> float:
    """Share of the crops that are taken within one tile.

    Args:
        by_region: a view is labelled place by place, so that what is of another tile is no noise.
    """
    if settings.tile_crops is not None:
        return settings.tile_crops
    return 0.5 if by_region else 1.0


class Mixed(NamedTuple):
    """A batch in which a part of every image may come from another image of the batch."""

    images: torch.Tensor
    order: torch.Tensor
    """(B,): where the other part of every image comes from."""
    share: float
    """Share of every image that is its own."""


Mixing = Callable[[torch.Tensor, torch.Generator], Mixed]


def augment(
    images: torch.Tensor,
    size: int,
    smallest: float,
    flipped: bool,
    mixed: float,
    generator: torch.Generator,
    grid: int = 1,
    tile_crops: float = 0.0,
    mix: Mixing | None = None,
    extents: torch.Tensor | None = None,
) -> Mixed:
    """Random resized crops (B, 3, size, size), mirrored at random, and mixed with probability `mixed`.

    Args:
        mix: how; default: `cutmix`.
        grid, tile_crops: a share `tile_crops` of the crops is taken within one of the grid x grid tiles.
    """
    height, width = images.shape[-2:]
    regions = crop_regions(len(images), height, width, grid, tile_crops, generator, extents)
    images = resized_crops(images, crop_boxes(regions, smallest, generator), size)
    if flipped:
        images = flip(images, generator)
    if torch.rand((), generator=generator) < mixed:
        return (mix or cutmix)(images, generator)
    return Mixed(images, torch.arange(len(images)), 1.0)


def mixed_cross_entropy(
    predicted: torch.Tensor,
    labels: torch.Tensor,
    batch: Mixed,
    smoothing: float = 0.0,
    part: slice = slice(None),
) -> torch.Tensor:
    """Cross-entropy with the labels (B,) of both parts of every image, weighted by their shares.

    Args:
        part: the rows of the batch that `predicted` is of.
    """
    own = F.cross_entropy(predicted, labels[part], label_smoothing=smoothing)
    if batch.share == 1.0:
        return own
    others = labels[batch.order[part].to(labels.device)]
    other = F.cross_entropy(predicted, others, label_smoothing=smoothing)
    return batch.share * own + (1 - batch.share) * other


def shuffle_extents(images, extents, grid, generator):
    """As shuffle_tiles, with the extents (B, cells) in the same order."""
    state = generator.get_state()
    shuffled = shuffle_tiles(images, grid, generator)
    if grid > 1 and images.shape[-1] % grid == 0:
        again = torch.Generator()
        again.set_state(state)
        order = torch.rand((len(images), grid**2), generator=again).argsort(1)
        extents = extents.gather(1, order)
    return shuffled, extents


def shuffle_tiles(images: torch.Tensor, grid: int, generator: torch.Generator) -> torch.Tensor:
    """Puts the grid x grid cells of every image in random order (RDED's ShufflePatches).

    Images whose side the grid does not divide are returned as they are.
    """
    batch, channels, height, width = images.shape
    if grid == 1 or height % grid or width % grid:
        return images
    tiles = images.view(batch, channels, grid, height // grid, grid, width // grid).permute(0, 2, 4, 1, 3, 5)
    tiles = tiles.reshape(batch, grid**2, channels, height // grid, width // grid)
    order = torch.rand((batch, grid**2), generator=generator).argsort(1).to(images.device)
    tiles = tiles[torch.arange(batch, device=images.device)[:, None], order]
    tiles = tiles.view(batch, grid, grid, channels, height // grid, width // grid).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(batch, channels, height, width)


def crop_regions(
    batch: int, height: int, width: int, grid: int, tile_crops: float, generator: torch.Generator, extents=None
) -> torch.Tensor:
    """Boxes (B, 4) that crops are taken in: a random tile with probability `tile_crops`, else all."""
    draws = torch.rand((batch, 3), generator=generator)
    whole = torch.tensor([0.0, 0.0, width, height]).expand(batch, 4)
    if grid == 1:
        return whole
    edges = [torch.tensor(cell_edges(side, grid)) for side in (width, height)]
    column, row = ((draws[:, axis] * grid).long().clamp(max=grid - 1) for axis in (0, 1))
    tile = torch.stack([edges[0][column], edges[1][row], edges[0][column + 1], edges[1][row + 1]], dim=1)
    tile = tile.float()
    if extents is not None:
        zoom = 1 / extents.gather(1, (row * grid + column)[:, None])
        ends = torch.tensor([width, height], dtype=torch.float32)
        side = torch.minimum((tile[:, 2:] - tile[:, :2]) * zoom, ends)
        start = torch.minimum(((tile[:, :2] + tile[:, 2:] - side) / 2).clamp(min=0), ends - side)
        tile = torch.cat([start, start + side], dim=1)
    return torch.where(draws[:, 2:] < tile_crops, tile, whole)


def crop_boxes(regions: torch.Tensor, smallest: float, generator: torch.Generator) -> torch.Tensor:
    """Boxes (B, 4) of random resized crops: area from `smallest` to 1 of the region, aspect 3/4 to 4/3.

    As torchvision's RandomResizedCrop, except that a crop that does not fit is shrunk, not drawn again.
    """
    draws = torch.rand((len(regions), 4), generator=generator)
    width, height = (regions[:, 2:] - regions[:, :2]).unbind(1)
    area = (smallest + (1 - smallest) * draws[:, 0]) * height * width
    aspect = torch.exp((2 * draws[:, 1] - 1) * math.log(4 / 3))
    w = torch.minimum((area * aspect).sqrt(), width)
    h = torch.minimum((area / aspect).sqrt(), height)
    x = regions[:, 0] + draws[:, 2] * (width - w)
    y = regions[:, 1] + draws[:, 3] * (height - h)
    return torch.stack([x, y, x + w, y + h], dim=1)


def resized_crops(images: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Cuts one box (B, 4) per image and resizes it to size x size.

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


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirrors every image with probability one half."""
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def cutmix(images: torch.Tensor, generator: torch.Generator) -> Mixed:
    """CutMix (Yun et al., 2019) with one box for the batch and a uniform share."""
    height, width = images.shape[-2:]
    share, x, y = torch.rand(3, generator=generator).tolist()
    cut = math.sqrt(1 - share)
    x0, x1 = (round(min(max(x * width + side * cut * width / 2, 0), width)) for side in (-1, 1))
    y0, y1 = (round(min(max(y * height + side * cut * height / 2, 0), height)) for side in (-1, 1))
    order = torch.randperm(len(images), generator=generator)
    mixed = images.clone()
    mixed[:, :, y0:y1, x0:x1] = images[order.to(images.device), :, y0:y1, x0:x1]
    return Mixed(mixed, order, 1 - (x1 - x0) * (y1 - y0) / (height * width))


def mixup(images: torch.Tensor, generator: torch.Generator) -> Mixed:
    """Mixup (Zhang et al., 2018) with one uniform share for the batch."""
    share = float(torch.rand((), generator=generator))
    order = torch.randperm(len(images), generator=generator)
    images = images.float()
    return Mixed(torch.lerp(images[order.to(images.device)], images, share), order, share)


MIXING: dict[str, Mixing] = {"cutmix": cutmix, "mixup": mixup}

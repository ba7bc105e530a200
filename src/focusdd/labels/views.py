"""Views: what a student sees of the distilled images, drawn as records from which `render` makes the pixels.

A view is made in whole pixels of the distilled image: its tiles are put in the view's order, a partner whose
tiles are in the same order is mixed in, a crop is cut and resized to the student's input, and the result is
mirrored or not. Training draws a fresh record for every image of a batch; stored labels keep one record for
all images, which costs next to nothing. The partner of image i is image (i + shift) mod n.

torchvision's and timm's transforms crop one image at a time, and draw where they cut: here crops are replayed
from records, and two matrix products resize a batch, on the device that trains.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch

from focusdd.extraction.geometry import cell_edges
from focusdd.settings import AugmentSettings


class Views(NamedTuple):
    """Records of views, one per row, on the CPU: `render` takes them to the device of the pixels at once."""

    order: torch.Tensor
    """int64 (V, grid^2): the tile that each cell shows, row by row."""
    crop: torch.Tensor
    """int64 (V, 4): x0, y0, x1, y1 in pixels of the distilled image, half-open."""
    flip: torch.Tensor
    """bool (V,): mirrored after the crop."""
    shift: torch.Tensor
    """int64 (V,): from an image to its partner."""
    mix: torch.Tensor
    """int64 (V, 4): the partner's box (CutMix), within the crop; four zeros for none."""
    lam: torch.Tensor
    """float32 (V,): lambda, the weight of the image itself: the share of the crop that the box leaves
    (CutMix) or, in views without a box, the weight in a blend with the partner (Mixup)."""

    @classmethod
    def of(cls, records: np.ndarray) -> Views:
        """The records of views.npy, which knows no Mixup."""
        order, crop, shift, mix = (
            torch.from_numpy(records[name].astype(np.int64)) for name in ("order", "crop", "shift", "mix")
        )
        return cls(
            order, crop, torch.from_numpy(records["flip"].astype(bool)), shift, mix, _lambda(crop, mix)
        )

    def records(self) -> np.ndarray:
        """The rows as views.npy holds them."""
        cells = self.order.shape[1]
        fields = [("order", "u1", (cells,)), ("crop", "<u2", (4,)), ("flip", "u1"), ("shift", "<u4")]
        records = np.zeros(len(self.flip), [*fields, ("mix", "<u2", (4,))])
        for name in records.dtype.names or ():
            records[name] = getattr(self, name)
        return records

    def take(self, numbers: torch.Tensor | slice) -> Views:
        """The records with these numbers (B,)."""
        return Views(*(column[numbers] for column in self))


def draw_views(
    count: int,
    images: int,
    side: int,
    grid: int,
    recipe: AugmentSettings,
    generator: torch.Generator,
    mix: Literal["cutmix", "mixup"] = "cutmix",
) -> Views:
    """Draws `count` records for `images` images of side x side pixels with grid x grid tiles.

    CutMix (Yun et al., 2019) and Mixup (Zhang et al., 2018) have a uniform share, drawn for every view.
    """
    regions = crop_regions(count, side, grid, recipe.tile_crops, generator)
    crop = crop_boxes(regions, recipe.crop, generator).round()
    crop[:, :2].clamp_(max=side - 1)
    crop[:, 2:] = crop[:, 2:].maximum(crop[:, :2] + 1)  # a box of less than half a pixel is one
    order = torch.rand((count, grid**2), generator=generator).argsort(1)
    draws = torch.rand((count, 5), generator=generator)
    plain = plain_views(count, side, grid)
    if not recipe.shuffle_tiles or side % grid:
        order = plain.order
    flip = (draws[:, 0] < 0.5) & recipe.flip
    shift = torch.randint(1, images, (count,), generator=generator) if images > 1 else plain.shift
    chosen, share = draws[:, 4:] < recipe.mix_prob, draws[:, 3:4]
    if mix == "mixup":
        lam = torch.where(chosen, share, 1.0)[:, 0]
        return Views(order, crop.long(), flip, shift, plain.mix, lam)
    start, size = crop[:, :2], crop[:, 2:] - crop[:, :2]
    middle, half = start + draws[:, 1:3] * size, size * share.sqrt() / 2
    box = torch.cat([(middle - half).maximum(start), (middle + half).minimum(crop[:, 2:])], dim=1).round()
    box = torch.where(chosen, box, 0)
    return Views(order, crop.long(), flip, shift, box.long(), _lambda(crop, box))


def plain_views(count: int, side: int, grid: int) -> Views:
    """The records of the whole image as it is."""
    return Views(
        torch.arange(grid**2).repeat(count, 1),
        torch.tensor([0, 0, side, side]).repeat(count, 1),
        torch.zeros(count, dtype=torch.bool),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros((count, 4), dtype=torch.int64),
        torch.ones(count),
    )


def crop_regions(
    count: int, side: int, grid: int, tile_crops: float, generator: torch.Generator
) -> torch.Tensor:
    """Boxes (count, 4) that crops are taken in: a random tile with probability `tile_crops`, else all."""
    draws = torch.rand((count, 3), generator=generator)
    whole = torch.tensor([0.0, 0.0, side, side]).expand(count, 4)
    if grid == 1:
        return whole
    edges = torch.tensor(cell_edges(side, grid))
    cell = (draws[:, :2] * grid).long().clamp(max=grid - 1)
    tile = torch.cat([edges[cell], edges[cell + 1]], dim=1)
    return torch.where(draws[:, 2:] < tile_crops, tile.float(), whole)


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


def _lambda(crop: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Shares (V,) of crops that their boxes leave free."""
    crop_area, box_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (crop, box))
    return 1 - box_area / crop_area


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

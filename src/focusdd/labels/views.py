"""Views: what a student sees of the distilled images, as records from which anyone makes the same pixels.

A view is made in whole pixels of the distilled image: its tiles are put in the view's order, a box of it is
replaced by that box of a partner whose tiles are in the same order (CutMix), a crop is cut and resized to the
student's input, and the result is mirrored or not. One record serves all images, so that it costs next to
nothing: in view v the partner of image i is image (i + shift) mod n.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from focusdd.labels.augment import crop_boxes, crop_regions, resized_crops
from focusdd.settings import AugmentSettings


class Views(NamedTuple):
    """Records of views on a device, one per row."""

    order: torch.Tensor
    """int64 (V, grid^2): the tile that each cell shows, row by row."""
    crop: torch.Tensor
    """int64 (V, 4): x0, y0, x1, y1 in pixels of the distilled image, half-open."""
    flip: torch.Tensor
    """bool (V,): mirrored after the crop."""
    shift: torch.Tensor
    """int64 (V,): from an image to its partner."""
    mix: torch.Tensor
    """int64 (V, 4): the partner's box, within the crop; four zeros for none."""

    @classmethod
    def of(cls, records: np.ndarray, device: torch.device) -> Views:
        """The records of `draw_views` or of views.npy."""
        order, crop, shift, mix = (
            torch.from_numpy(records[name].astype(np.int64)).to(device)
            for name in ("order", "crop", "shift", "mix")
        )
        return cls(order, crop, torch.from_numpy(records["flip"].astype(bool)).to(device), shift, mix)

    def take(self, numbers: torch.Tensor) -> Views:
        """The records with these numbers (B,)."""
        return Views(*(column[numbers] for column in self))


def draw_views(
    count: int, images: int, side: int, grid: int, recipe: AugmentSettings, seed: int
) -> np.ndarray:
    """Draws `count` records for `images` images of side x side pixels, by the recipe of online training."""
    generator = torch.Generator().manual_seed(seed)
    records = np.repeat(plain_view(side, grid), count)
    regions = crop_regions(count, side, side, grid, recipe.tile_crops, generator)
    crop = crop_boxes(regions, recipe.crop, generator).round()
    crop[:, :2].clamp_(max=side - 1)
    crop[:, 2:] = crop[:, 2:].maximum(crop[:, :2] + 1)  # a box of less than half a pixel is one
    order = torch.rand((count, grid**2), generator=generator).argsort(1)
    draws = torch.rand((count, 5), generator=generator)
    if recipe.shuffle_tiles and side % grid == 0:
        records["order"] = order
    records["crop"] = crop
    records["flip"] = (draws[:, 0] < 0.5) & recipe.flip
    if images > 1:
        records["shift"] = torch.randint(1, images, (count,), generator=generator)
    start, size = crop[:, :2], crop[:, 2:] - crop[:, :2]
    middle, half = start + draws[:, 1:3] * size, size * draws[:, 3:4].sqrt() / 2
    mix = torch.cat([(middle - half).maximum(start), (middle + half).minimum(crop[:, 2:])], dim=1).round()
    records["mix"] = torch.where(draws[:, 4:] < recipe.mixup, mix, 0)
    return records


def plain_view(side: int, grid: int) -> np.ndarray:
    """The record (1,) of the whole image as it is."""
    record = np.zeros(
        1,
        [
            ("order", "u1", (grid**2,)),
            ("crop", "<u2", (4,)),
            ("flip", "u1"),
            ("shift", "<u4"),
            ("mix", "<u2", (4,)),
        ],
    )
    record["order"], record["crop"] = np.arange(grid**2), (0, 0, side, side)
    return record


def show(images: torch.Tensor, rows: torch.Tensor, views: Views, size: int) -> torch.Tensor:
    """The pixels of one view of each of the rows (B,): float32 [0, 255] (B, 3, size, size).

    Args:
        images: all distilled images, uint8 (n, 3, side, side).
        views: B records, on the device that the pixels are wanted on; the images may lie elsewhere.
    """
    batch = _ordered(images, rows, views.order)
    if views.mix.any():
        partner = _ordered(images, (rows + views.shift) % len(images), views.order)
        pixel = torch.arange(images.shape[-1], device=views.mix.device)
        across, down = (
            (pixel >= views.mix[:, axis, None]) & (pixel < views.mix[:, axis + 2, None]) for axis in (0, 1)
        )
        batch = torch.where((down[:, :, None] & across[:, None, :])[:, None], partner, batch)
    batch = resized_crops(batch, views.crop.float(), size)
    return torch.where(views.flip[:, None, None, None], batch.flip(-1), batch)


def _ordered(images: torch.Tensor, rows: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The images of the rows (B,) with their tiles in order (B, grid^2), on the device of the order."""
    grid, side = math.isqrt(order.shape[1]), images.shape[-1]
    device, order, rows = order.device, order.to(images.device), rows.to(images.device)
    if grid == 1 or side % grid:
        return images[rows].to(device)
    tiles = images.view(-1, 3, grid, side // grid, grid, side // grid)
    # one gather: (B, cell, channel, y, x)
    tiles = tiles[rows[:, None], :, order // grid, :, order % grid, :].to(device)
    tiles = tiles.view(len(rows), grid, grid, 3, side // grid, side // grid)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(len(rows), 3, side, side)

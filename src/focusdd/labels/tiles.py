"""The label of any view from the labels of the tiles it shows: pure functions of geometry and logits.

An image has one label for the whole and one for each tile alone. A view's label is their mean, each softened
at the temperature of training and weighted by the area that shows it. What the teacher says of many tiles at
once is not the mean of what it says of each, so the whole image counts with the share of it that the crop
shows, and the tiles with the rest: measured on imagenette, no other constant weight and neither a mean of
logits nor one at temperature 1 is nearer to the teacher (docs/guides/labels.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from focusdd.extraction.geometry import cell_box, cell_edges
from focusdd.labels.views import Views


def tile_boxes(grid: int, side: int) -> list[tuple[int, int, int, int]]:
    """What the labels of an image of side x side pixels are for: the whole, then its tiles row by row."""
    cells = [cell_box(row, column, grid, side) for row in range(grid) for column in range(grid)]
    return [(0, 0, side, side), *cells] if grid > 1 else cells


def shares(views: Views, grid: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the labels of `tile_boxes` in a view: those of its own image, and of its partner.

    Returns:
        Two float32 tensors (B, 1 + grid^2), or (B, 1) for a grid of 1; together every row adds up to 1.
    """
    own, other = visible(views, grid, side)
    if grid == 1:
        return own, other
    left, top, right, bottom = views.crop.unbind(1)
    whole = ((right - left) * (bottom - top) / side**2)[:, None]
    return _with_whole(own, whole), _with_whole(other, whole)


def visible(views: Views, grid: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of a view's area that show each tile of its own image, and of its partner.

    Returns:
        Two float32 tensors (B, grid^2), tiles row by row as they lie in the file; together every row adds up
        to 1.
    """
    edges = torch.tensor(cell_edges(side, grid))
    crop, mix = _overlap(views.crop, edges), _overlap(views.mix, edges)
    total = crop.sum(1, keepdim=True)
    own = torch.zeros_like(crop).scatter_(1, views.order, (crop - mix) / total)
    return own, torch.zeros_like(crop).scatter_(1, views.order, mix / total)


def compose(
    own: torch.Tensor, other: torch.Tensor, weights: tuple[torch.Tensor, torch.Tensor], temperature: float
) -> torch.Tensor:
    """Probabilities (B, C) of views from the logits (B, labels, C) of their own images and their partners."""
    softened = (F.softmax(logits / temperature, -1) for logits in (own, other))
    mine, theirs = ((p * weight[..., None]).sum(1) for p, weight in zip(softened, weights, strict=True))
    return mine + theirs


def _overlap(boxes: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Area in pixels of boxes (B, 4) within each cell, row by row: float32 (B, grid^2)."""
    across, down = (
        (
            torch.minimum(boxes[:, axis + 2, None], edges[1:])
            - torch.maximum(boxes[:, axis, None], edges[:-1])
        ).clamp(min=0)
        for axis in (0, 1)
    )
    return (down[:, :, None] * across[:, None, :]).flatten(1).float()


def _with_whole(tiles: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return torch.cat([whole * tiles.sum(1, keepdim=True), (1 - whole) * tiles], dim=1)

"""Where things are: original pixels, the ViT's view, and the grid of attention between them.

Boxes are (x0, y0, x1, y1), half-open, float, in pixels of the original upright image; pixel i covers
[i, i+1). The grid of h x w tokens tiles the view; token (r, c) covers the same share of the view as of the
grid. All functions are pure.
"""

from __future__ import annotations

from typing import Literal

import numpy as np


def margins(width: int, height: int, resize: Literal["squash", "letterbox"]) -> tuple[float, float]:
    """How a ViT sees an image: it fills [left, 1 - left) x [top, 1 - top) of the view, in shares of it."""
    if resize == "squash":
        return 0.0, 0.0
    longest = max(width, height)
    return (1 - width / longest) / 2, (1 - height / longest) / 2


def without_padding(attention: np.ndarray, left: float, top: float) -> np.ndarray:
    """Cuts and resamples a letterboxed view's attention to a grid of the same shape over the image alone.

    Args:
        attention: (h, w), a density over the view.
        left, top: the margins of the image.

    Returns:
        (h, w), summing to 1, where token (r, c) covers the same share of the *image* as of the grid.
    """
    if not (left or top):
        return attention
    h, w = attention.shape
    total = np.pad(attention.cumsum(0).cumsum(1), [(1, 0), (1, 0)])
    rows, columns = np.linspace(top, 1 - top, h + 1) * h, np.linspace(left, 1 - left, w + 1) * w
    by_row = np.stack([np.interp(rows, np.arange(h + 1), column) for column in total.T], axis=1)
    corners = np.stack([np.interp(columns, np.arange(w + 1), row) for row in by_row])
    inside = np.maximum(np.diff(np.diff(corners, axis=0), axis=1), 0.0)
    mass = inside.sum()
    return inside / mass if mass > 0 else np.full((h, w), 1 / (h * w))


def cell_edges(side: int, grid: int) -> list[int]:
    """The grid + 1 whole pixels at which cells begin and end, even if grid does not divide the side."""
    return [round(side * step / grid) for step in range(grid + 1)]


def cell_box(row: int, column: int, grid: int, side: int) -> tuple[int, int, int, int]:
    """Whole-pixel box of a cell; cells tile the canvas even when `grid` does not divide `side`."""
    edges = cell_edges(side, grid)
    return edges[column], edges[row], edges[column + 1], edges[row + 1]


def axis_cover(start: np.ndarray, end: np.ndarray, tokens: int) -> np.ndarray:
    """Share (..., tokens) of every token along an axis inside spans (...), given in shares of the axis."""
    # the spans along the last axis in memory: there are more of them than tokens, and NumPy likes long rows
    inside = np.maximum(np.arange(tokens + 1.0)[:, None], start[..., None, :] * tokens)
    np.minimum(inside, end[..., None, :] * tokens, out=inside)
    return np.swapaxes(inside[..., 1:, :] - inside[..., :-1, :], -1, -2)


def token_cover(boxes: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Share (n, h, w) of every token that lies inside boxes (n, 4) given in shares of the image."""
    down = axis_cover(boxes[:, 1], boxes[:, 3], grid[0])
    return down[:, :, None] * axis_cover(boxes[:, 0], boxes[:, 2], grid[1])[:, None]

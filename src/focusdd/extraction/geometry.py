"""Where things are: original pixels, the ViT's view, and the grid of attention between them.

Boxes are (x0, y0, x1, y1), half-open, float, in pixels of the original upright image; pixel i covers
[i, i+1). The grid of h x w tokens tiles the view; token (r, c) covers the same share of the view as of the
grid. All functions are pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from focusdd.core.images import Box


@dataclass(frozen=True)
class View:
    """How an original of width x height pixels was shown to a ViT, in shares of the view.

    The image occupies [left, 1 - left) x [top, 1 - top) of the view; both margins are 0 when squashed.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0

    @classmethod
    def of(cls, width: int, height: int, fit: Literal["squash", "letterbox"]) -> View:
        """The view of an image of this size."""
        if fit == "squash":
            return cls(width, height)
        longest = max(width, height)
        return cls(width, height, (1 - width / longest) / 2, (1 - height / longest) / 2)

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """Maps a point from shares of the view to original pixels."""
        return (
            (x - self.left) / (1 - 2 * self.left) * self.width,
            (y - self.top) / (1 - 2 * self.top) * self.height,
        )

    def to_view(self, x: float, y: float) -> tuple[float, float]:
        """Maps a point from original pixels to shares of the view; the inverse of `to_original`."""
        return (
            x / self.width * (1 - 2 * self.left) + self.left,
            y / self.height * (1 - 2 * self.top) + self.top,
        )

    def token_box(self, row: int, column: int, grid: tuple[int, int]) -> Box:
        """What a token covers, in original pixels, clipped to the image (empty when all padding).

        Args:
            grid: (h, w) tokens.
        """
        h, w = grid
        x0, y0 = self.to_original(column / w, row / h)
        x1, y1 = self.to_original((column + 1) / w, (row + 1) / h)
        return clip((x0, y0, x1, y1), self.width, self.height)


def clip(box: Box, width: float, height: float) -> Box:
    """The part of a box inside the image."""
    x0, y0, x1, y1 = box
    return (
        min(max(x0, 0.0), width),
        min(max(y0, 0.0), height),
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
    )


def area(box: Box) -> float:
    """Square pixels; 0 for an empty box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: Box, b: Box) -> float:
    """Shared square pixels of two boxes."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / union if union else 0.0


def cover(box: Box, target: Box) -> float:
    """Share of `target` that `box` covers, 0 to 1."""
    return intersection(box, target) / area(target) if area(target) else 0.0


def without_padding(attention: np.ndarray, view: View) -> np.ndarray:
    """Cuts and resamples a letterboxed view's attention to a grid of the same shape over the image alone.

    Args:
        attention: (h, w), a density over the view.

    Returns:
        (h, w), summing to 1, where token (r, c) covers the same share of the *image* as of the grid.
    """
    if not (view.left or view.top):
        return attention
    h, w = attention.shape
    rows = np.linspace(view.top, 1 - view.top, h + 1) * h
    columns = np.linspace(view.left, 1 - view.left, w + 1) * w
    total = cumulative(attention)
    steps_y, steps_x = np.arange(h + 1), np.arange(w + 1)
    by_row = np.stack([np.interp(rows, steps_y, column) for column in total.T], axis=1)
    corners = np.stack([np.interp(columns, steps_x, row) for row in by_row])
    inside = np.maximum(np.diff(np.diff(corners, axis=0), axis=1), 0.0)
    mass = inside.sum()
    return inside / mass if mass > 0 else np.full((h, w), 1 / (h * w))


def cell_edges(side: int, grid: int) -> list[int]:
    """The grid + 1 whole pixels at which cells begin and end, even if grid does not divide the side."""
    return [round(side * step / grid) for step in range(grid + 1)]


def cumulative(attention: np.ndarray) -> np.ndarray:
    """Integral of a piecewise-constant density: (..., h, w) -> (..., h + 1, w + 1), zeros first."""
    pad = [(0, 0)] * (attention.ndim - 2) + [(1, 0), (1, 0)]
    return np.pad(attention.cumsum(-2).cumsum(-1), pad)


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

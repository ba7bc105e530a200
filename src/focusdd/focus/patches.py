"""Key patches: the windows of an image that hold the most class attention.

Attention is taken as a density that is constant within a token. The share of it inside a window is then
piecewise linear in the window's position, with bends where an edge crosses a token's border, so its maximum
is found exactly by trying those positions alone. Of the windows that are as good, the best centred is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from focusdd.focus.geometry import cumulative
from focusdd.settings import PatchSettings

_BISECTIONS = 7  # of the window's side: to 1/128 of the range between the smallest and the whole image
_TIE = 0.01  # windows within this share of the best are equal
_NOTHING = 1e-12  # less attention than this is rounding


@dataclass(frozen=True)
class PatchOptions:
    """Which windows are key patches; see `ExtractSettings` for the meaning of each field."""

    window: Literal["object", "tile"]
    share: float
    tile: int
    max_upsample: float
    patches: int
    max_iou: float


def patch_options(settings: PatchSettings, tile: int) -> PatchOptions:
    """The options that settings stand for, with tiles of this side in pixels."""
    return PatchOptions(tile=tile, **{name: getattr(settings, name) for name in PatchSettings.model_fields})


def key_patches(
    attention: np.ndarray, sizes: np.ndarray, options: PatchOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the key patches of a batch of images.

    Args:
        attention: (B, h, w), each summing to 1, over the whole image.
        sizes: (B, 2) width and height of the originals in pixels.

    Returns:
        Boxes (B, patches, 4) float64 in original pixels, and the attention mass (B, patches) inside each.
        The n-th patch avoids the earlier ones: it is the window with the most of the attention that they
        left, among those overlapping each by at most `max_iou`. Where no such window or no attention is
        left its mass is 0 and its box equals the first.
    """
    attention = np.asarray(attention, dtype=np.float64)
    sizes = np.asarray(sizes, dtype=np.float64)
    least, most = _side_range(sizes, options)
    total = cumulative(attention)
    side = most if options.window == "tile" else _smallest_side(total, sizes, least, most, options.share)
    extent = side[:, None] / sizes
    share = options.share if options.window == "object" else 0.0
    boxes = np.empty((len(attention), options.patches, 4))
    mass = np.empty((len(attention), options.patches))
    left = attention
    for number in range(options.patches):
        found = _best_window(cumulative(left), extent, boxes[:, :number], options.max_iou, share)
        boxes[:, number] = found
        mass[:, number] = _mass(total, found[:, None, None, :])[:, 0, 0]
        if number:
            none = np.isnan(found[:, 0])
            boxes[none, number], mass[none, number] = boxes[none, 0], 0.0
        if number + 1 < options.patches:
            left = left * (1 - _token_cover(boxes[:, number], attention.shape[1:]))
    ends = np.concatenate([sizes, sizes], axis=1)[:, None]
    return np.clip(boxes * ends, 0.0, ends), np.clip(mass, 0.0, 1.0)


def _side_range(sizes: np.ndarray, options: PatchOptions) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest side (B,) of a square window in pixels. A tile is square, and so is its window."""
    shortest = sizes.min(1)
    most = np.minimum(options.tile, shortest) if options.window == "tile" else shortest
    return np.minimum(options.tile / options.max_upsample, most), most


def _smallest_side(
    total: np.ndarray, sizes: np.ndarray, least: np.ndarray, most: np.ndarray, share: float
) -> np.ndarray:
    """Smallest side (B,) whose best window holds `share` of the attention; the largest when none does."""

    def enough(side: np.ndarray) -> np.ndarray:
        return _windows(total, side[:, None] / sizes)[1].max((1, 2)) >= share

    low, high = least, most
    fits = enough(least)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        holds = enough(middle)
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    return np.where(fits, least, high)


def _windows(total: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows one of which is the best: boxes (B, R, C, 4) in shares of the image, and the mass in each.

    Args:
        total: cumulative attention (B, h + 1, w + 1).
        extent: (B, 2) width and height of the window in shares of the image.
    """
    x0 = _starts(total.shape[2] - 1, extent[:, 0])
    y0 = _starts(total.shape[1] - 1, extent[:, 1])
    boxes = np.empty((len(total), y0.shape[1], x0.shape[1], 4))
    boxes[..., 0], boxes[..., 1] = x0[:, None, :], y0[:, :, None]
    boxes[..., 2] = boxes[..., 0] + extent[:, 0, None, None]
    boxes[..., 3] = boxes[..., 1] + extent[:, 1, None, None]
    return boxes, _mass(total, boxes)


def _best_window(
    total: np.ndarray, extent: np.ndarray, taken: np.ndarray, max_iou: float, share: float
) -> np.ndarray:
    """Boxes (B, 4) in shares of the image; NaN where no window with any attention is left.

    Args:
        total, extent: see `_windows`.
        taken: (B, K, 4) boxes that may be overlapped by an intersection over union of at most `max_iou`.
        share: mass that is not given up for a better centred window.
    """

    def allowed(boxes: np.ndarray) -> np.ndarray:
        near = [_iou(boxes, box[:, None, None]) > max_iou + 1e-9 for box in np.moveaxis(taken, 1, 0)]
        return ~np.any(near, axis=0) if near else np.ones(boxes.shape[:3], bool)

    boxes, mass = _windows(total, extent)
    mass[~allowed(boxes)] = -1.0
    boxes, mass = boxes.reshape(len(mass), -1, 4), mass.reshape(len(mass), -1)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    best = mass.max(1)
    least = best - np.abs(best) * _TIE
    least = np.where(best >= share, np.maximum(least, share), least)
    tied = mass >= least[:, None]

    def around(point: np.ndarray) -> np.ndarray:
        """The window with its middle there when it is one of the equals, else the nearest that is."""
        start = np.clip(point - extent / 2, 0.0, np.maximum(1 - extent, 0.0))
        exact = np.concatenate([start, start + extent], axis=1)
        grid = exact[:, None, None]
        good = (_mass(total, grid) >= least[:, None, None]) & allowed(grid)
        far = np.where(tied, ((middle - point[:, None]) ** 2).sum(-1), np.inf)
        return np.where(good[:, 0], exact, boxes[np.arange(len(mass)), far.argmin(1)])

    # amid the equals first, for windows smaller than what they show; then on the attention in that window
    first = np.where(tied[..., None], middle, np.inf).min(1)
    last = np.where(tied[..., None], middle, -np.inf).max(1)
    found = around(_centroid(total, around((first + last) / 2)))
    found[best <= _NOTHING] = np.nan
    return found


def _starts(count: int, extent: np.ndarray) -> np.ndarray:
    """Left (or top) edges (B, 2 * count + 2) that put an edge of the window on a token's border."""
    borders = np.arange(count + 1) / count
    starts = np.concatenate(
        [np.broadcast_to(borders, (len(extent), count + 1)), borders - extent[:, None]], axis=1
    )
    return np.clip(starts, 0.0, np.maximum(1 - extent, 0.0)[:, None])


def _mass(total: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Attention inside boxes (B, R, C, 4) that form a grid: x depends on C alone, y on R alone."""
    h, w = total.shape[1] - 1, total.shape[2] - 1
    right = _integral(total, boxes[:, :, 0, 3] * h, boxes[:, 0, :, 2] * w)
    right -= _integral(total, boxes[:, :, 0, 1] * h, boxes[:, 0, :, 2] * w)
    left = _integral(total, boxes[:, :, 0, 3] * h, boxes[:, 0, :, 0] * w)
    left -= _integral(total, boxes[:, :, 0, 1] * h, boxes[:, 0, :, 0] * w)
    return right - left


def _integral(total: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Attention above and left of every (y, x): total (B, h+1, w+1), y (B, R), x (B, C) -> (B, R, C)."""
    rows = _interpolate(total, y)
    return np.swapaxes(_interpolate(np.swapaxes(rows, 1, 2), x), 1, 2)


def _interpolate(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear interpolation along axis 1 of values (B, n, m) at positions (B, k) -> (B, k, m)."""
    at = np.clip(np.nan_to_num(at), 0, values.shape[1] - 1)
    below = np.minimum(at.astype(np.int64), values.shape[1] - 2)
    share = (at - below)[..., None]
    low = np.take_along_axis(values, below[..., None], axis=1)
    high = np.take_along_axis(values, below[..., None] + 1, axis=1)
    return low * (1 - share) + high * share


def _centroid(total: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Centre of mass (B, 2), x before y, of the attention inside boxes (B, 4), in shares of the image."""
    h, w = total.shape[1] - 1, total.shape[2] - 1
    inside = np.diff(np.diff(total, axis=1), axis=2) * _token_cover(boxes, (h, w))
    mass = np.maximum(inside.sum((1, 2)), _NOTHING)

    def middles(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
        """Of the part of every token that is inside."""
        edges = np.arange(count)
        return (
            (np.maximum(start[:, None] * count, edges) + np.minimum(end[:, None] * count, edges + 1))
            / 2
            / count
        )

    x = (inside.sum(1) * middles(boxes[:, 0], boxes[:, 2], w)).sum(1) / mass
    y = (inside.sum(2) * middles(boxes[:, 1], boxes[:, 3], h)).sum(1) / mass
    return np.stack([x, y], axis=1)


def _token_cover(boxes: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Share (B, h, w) of every token that lies inside boxes (B, 4) given in shares of the image."""

    def along(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
        edges = np.arange(count)
        return np.clip(
            np.minimum(end[:, None] * count, edges + 1) - np.maximum(start[:, None] * count, edges), 0, 1
        )

    boxes = np.nan_to_num(boxes)
    return (
        along(boxes[:, 1], boxes[:, 3], grid[0])[:, :, None]
        * along(boxes[:, 0], boxes[:, 2], grid[1])[:, None]
    )


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    size = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    shared = size.prod(-1)
    return shared / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared)


def attention_area(attention: np.ndarray, share: float) -> np.ndarray:
    """Share (B,) of the image covered by the fewest tokens that together hold `share` of the attention."""
    flat = -np.sort(-attention.reshape(len(attention), -1), axis=1)
    return np.minimum((flat.cumsum(1) < share - 1e-9).sum(1) + 1.0, flat.shape[1]) / flat.shape[1]

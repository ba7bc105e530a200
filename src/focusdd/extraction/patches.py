"""Key patches: the windows of an image that its class attention points at.

Attention is taken as a density that is constant within a token. How large a window must be to hold a share of
it is found exactly: the mass inside is piecewise linear in the window's position, with bends where an edge
crosses a token's border, so trying those positions alone finds the most. Where it lies is another matter:
stray attention far from the object pulls the window with the most mass to its side, with the object at its
edge. So attention counts by how near it is to the window's middle.
"""

from __future__ import annotations

import numpy as np

from focusdd.extraction.geometry import axis_cover, token_cover
from focusdd.settings import PatchSettings

_BISECTIONS = 7  # of the window's side: to 1/128 of the range between the smallest and the whole image
_PLACES_PER_TOKEN = 4  # tried along each axis
_TIE = 1e-6  # windows within this share of the best are equal
_NOTHING = 1e-12  # less attention than this is rounding


def key_patches(
    attention: np.ndarray, sizes: np.ndarray, settings: PatchSettings, tile: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the key patches of a batch of images.

    Args:
        attention: (B, h, w), each summing to 1, over the whole image.
        sizes: (B, 2) width and height of the originals in pixels.
        tile: side in pixels of the tiles that the patches are for.

    Returns:
        Boxes (B, patches, 4) float64 in original pixels, and the attention mass (B, patches) inside each.
        Of the windows of its size a patch is the one with the most attention, counted fully at its middle
        and less towards its edges, down to nothing there. The n-th patch avoids the earlier ones: it counts
        the attention that they left, among windows overlapping each by at most `max_iou`. Where no such
        window or no attention is left its mass is 0 and its box equals the first.
    """
    attention = np.asarray(attention, dtype=np.float64)
    sizes = np.asarray(sizes, dtype=np.float64)
    least, most = _side_range(sizes, settings, tile)
    side = (
        most if settings.window == "tile" else _smallest_side(attention, sizes, least, most, settings.share)
    )
    extent = side[:, None] / sizes
    boxes = np.empty((len(attention), settings.patches, 4))
    mass = np.empty((len(attention), settings.patches))
    left = attention
    for number in range(settings.patches):
        found = _best_window(left, extent, boxes[:, :number], settings.max_iou)
        boxes[:, number] = found
        mass[:, number] = _mass(attention, found[:, :1], found[:, 1:2], extent)[:, 0, 0]
        if number:
            none = np.isnan(found[:, 0])
            boxes[none, number], mass[none, number] = boxes[none, 0], 0.0
        if number + 1 < settings.patches:
            left = left * (1 - token_cover(np.nan_to_num(boxes[:, number]), attention.shape[1:]))
    ends = np.concatenate([sizes, sizes], axis=1)[:, None]
    return np.clip(boxes * ends, 0.0, ends), np.clip(mass, 0.0, 1.0)


def _side_range(sizes: np.ndarray, settings: PatchSettings, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest side (B,) of a square window in pixels. A tile is square, and so is its window."""
    shortest = sizes.min(1)
    most = np.minimum(tile, shortest) if settings.window == "tile" else shortest
    return np.minimum(tile / settings.max_upsample, most), most


def _smallest_side(
    attention: np.ndarray, sizes: np.ndarray, least: np.ndarray, most: np.ndarray, share: float
) -> np.ndarray:
    """Smallest side (B,) whose best window holds `share` of the attention; the largest when none does."""

    def enough(side: np.ndarray) -> np.ndarray:
        return _most(attention, side[:, None] / sizes) >= share

    low, high = least, most
    fits = enough(least)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        holds = enough(middle)
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    return np.where(fits, least, high)


def _most(attention: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """The most attention (B,) in any window of a size.

    Args:
        attention: (B, h, w).
        extent: (B, 2) width and height of the window in shares of the image.
    """
    h, w = attention.shape[1:]
    return _mass(attention, _starts(w, extent[:, 0]), _starts(h, extent[:, 1]), extent).max((1, 2))


def _best_window(attention: np.ndarray, extent: np.ndarray, taken: np.ndarray, max_iou: float) -> np.ndarray:
    """Boxes (B, 4) in shares of the image; NaN where no window with any attention is left.

    Args:
        attention: (B, h, w).
        extent: (B, 2) width and height of the window in shares of the image.
        taken: (B, K, 4) boxes that may be overlapped by an intersection over union of at most `max_iou`.
    """
    h, w = attention.shape[1:]
    x0, y0 = _places(w, extent[:, 0]), _places(h, extent[:, 1])
    score = _nearness(y0, extent[:, 1], h) @ attention @ np.swapaxes(_nearness(x0, extent[:, 0], w), 1, 2)
    for box in np.moveaxis(taken, 1, 0):
        score[_overlap(x0, y0, extent, box) > max_iou + 1e-9] = -1.0
    best = score.max((1, 2))
    tied = score >= (best - np.abs(best) * _TIE)[:, None, None]
    row, column = _amid(tied)
    image = np.arange(len(score))
    start = np.stack([x0[image, column], y0[image, row]], axis=1)
    found = np.concatenate([start, start + extent], axis=1)
    found[best <= _NOTHING] = np.nan
    return found


def _places(tokens: int, extent: np.ndarray) -> np.ndarray:
    """Where windows begin (B, P) along an axis, evenly from one end to the other."""
    return np.linspace(0, 1, _PLACES_PER_TOKEN * tokens + 1) * np.maximum(1 - extent, 0)[:, None]


def _amid(tied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (B,) of the true entry nearest to the middle of the box around all that are true.

    Windows smaller than the token they show are all as good; the one amid them is wanted.
    """
    flat = tied.reshape(len(tied), -1)
    nearest = flat.argmax(1)
    several = np.flatnonzero(np.count_nonzero(flat, axis=1) > 1)  # few images: it takes long
    if len(several):
        nearest[several] = _amid_several(tied[several])
    return nearest // tied.shape[2], nearest % tied.shape[2]


def _amid_several(tied: np.ndarray) -> np.ndarray:
    """The same as a number (B,) in the flattened (R, C)."""

    def distance(along: np.ndarray) -> np.ndarray:
        """From the middle (B, P), of an axis where some are true."""
        first, last = along.argmax(1), along.shape[1] - 1 - along[:, ::-1].argmax(1)
        return np.abs(np.arange(along.shape[1]) - (first + last)[:, None] / 2)

    down, across = distance(np.any(tied, axis=2)), distance(np.any(tied, axis=1))
    far = down[:, :, None] ** 2 + across[:, None] ** 2
    return np.where(tied, far, np.inf).reshape(len(tied), -1).argmin(1)


def _overlap(x0: np.ndarray, y0: np.ndarray, extent: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Intersection over union (B, R, C) of windows of one size with one box (B, 4) of the same size."""

    def shared(start: np.ndarray, axis: int) -> np.ndarray:
        end = np.minimum(start + extent[:, axis, None], box[:, 2 + axis, None])
        return np.maximum(end - np.maximum(start, box[:, axis, None]), 0)

    both = shared(y0, 1)[:, :, None] * shared(x0, 0)[:, None]
    return both / (2 * extent.prod(1)[:, None, None] - both)


def _nearness(start: np.ndarray, extent: np.ndarray, tokens: int) -> np.ndarray:
    """Weight (B, P, tokens) of every token in windows along one axis, the mean over the token of a tent.

    The tent is 1 at the middle of the window and falls to 0 at its edges.

    Args:
        start: (B, P) where the windows begin, extent: (B,) their length, both in shares of the axis.
    """
    half = extent[:, None, None] / 2
    edges = np.arange(tokens + 1)[:, None] / (tokens * half)
    u = edges - (start[:, None] / half + 1)  # (B, tokens + 1, P): long rows, as in axis_cover
    np.clip(u, -1, 1, out=u)
    area = np.abs(u)
    area *= -0.5
    area += 1
    area *= u  # of the tent from its middle to u, in units of half
    weight = area[:, 1:] - area[:, :-1]
    weight *= half * tokens
    return np.swapaxes(weight, 1, 2)


def _starts(count: int, extent: np.ndarray) -> np.ndarray:
    """Left (or top) edges (B, 2 * count + 2) that put an edge of the window on a token's border."""
    borders = np.arange(count + 1) / count
    starts = np.concatenate(
        [np.broadcast_to(borders, (len(extent), count + 1)), borders - extent[:, None]], axis=1
    )
    return np.clip(starts, 0.0, np.maximum(1 - extent, 0.0)[:, None])


def _mass(attention: np.ndarray, x0: np.ndarray, y0: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Attention (B, R, C) inside windows with left edges at x0 (B, C) and top edges at y0 (B, R)."""
    h, w = attention.shape[1:]
    down = axis_cover(y0, y0 + extent[:, 1, None], h)
    return down @ attention @ np.swapaxes(axis_cover(x0, x0 + extent[:, 0, None], w), 1, 2)


def attention_area(attention: np.ndarray, share: float) -> np.ndarray:
    """Share (B,) of the image covered by the fewest tokens that together hold `share` of the attention."""
    flat = -np.sort(-attention.reshape(len(attention), -1), axis=1)
    return np.minimum((flat.cumsum(1) < share - 1e-9).sum(1) + 1.0, flat.shape[1]) / flat.shape[1]

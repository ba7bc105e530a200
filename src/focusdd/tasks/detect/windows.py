"""Windows around objects: where attention is, with whole objects in it. Pure geometry, original pixels."""

from __future__ import annotations

import numpy as np

from focusdd.core.images import Box
from focusdd.extraction.geometry import axis_cover
from focusdd.tasks.detect.scenes import areas, sides

_MOST_PLACES = 32  # tried along each axis
_EVEN = 9  # of them evenly spread
_CROWD = 256  # objects nearby; among more, only few places are tried
_CUT = 1e-6  # share of an object that is nothing


def object_window(
    boxes: np.ndarray,
    target: int,
    size: tuple[int, int],
    attention: np.ndarray,
    extents: np.ndarray,
    context: float,
    visible: float,
) -> Box:
    """The window that shows one object with its surroundings, cuts as few others as it can, and holds the
    most attention.

    The object keeps its surroundings on every side, less of them only where the window or the image leaves no
    room. The window moves, and takes a later extent where that helps, so as not to cut another object; of the
    windows that cut least, the first extent is taken, and of that the window with the most class attention.

    Args:
        boxes: (n, 4) all objects of the image.
        target: row of the object.
        size: width and height of the image.
        attention: (h, w) class attention over the image, summing to 1.
        extents: (m, 2) widths and heights that the window may have, none smaller than the object; it gets
            less where the image has less.
        context: surroundings on each side of the object, as a share of its longer side.
        visible: share of its box below which a cut object loses its label.
    """
    box = boxes[target]
    others = np.delete(boxes, target, axis=0)
    best: tuple[float, Box] | None = None
    for extent in np.minimum(extents, size):
        margin = np.minimum(context * sides(box).max(), np.maximum(extent - sides(box), 0) / 2)
        held = np.concatenate([np.maximum(box[:2] - margin, 0), np.minimum(box[2:] + margin, size)])
        near = others[_reachable(others, held, extent)]
        x0 = _places(held[0::2], near[:, 0::2], extent[0], size[0])
        y0 = _places(held[1::2], near[:, 1::2], extent[1], size[1])
        cost = _cost(near, x0, y0, extent, visible)
        least = float(cost.min())
        if best is None or least < best[0]:
            mass = _mass(attention, x0 / size[0], y0 / size[1], extent / size)
            mass = np.where(cost <= least + 1e-9, mass, -1.0)
            row, column = np.unravel_index(mass.argmax(), mass.shape)
            x, y = float(x0[column]), float(y0[row])
            best = least, (x, y, min(x + extent[0], size[0]), min(y + extent[1], size[1]))
        if least == 0:
            break
    assert best is not None
    return tuple(float(value) for value in best[1])  # type: ignore[return-value]


def _reachable(others: np.ndarray, held: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Which objects some window of this extent that holds a box could show."""
    low, high = held[2:] - extent, held[:2] + extent
    return ((others[:, 2:] > low) & (others[:, :2] < high)).all(1)


def _places(span: np.ndarray, others: np.ndarray, extent: float, length: int) -> np.ndarray:
    """Where windows may begin along an axis so as to hold the span (start, end).

    Evenly spread, and where an edge of the window meets one of another object: if any window cuts nothing,
    one of these does.
    """
    low, high = max(0.0, span[1] - extent), min(span[0], length - extent)
    low = min(low, high)
    middle = min(max(span.mean() - extent / 2, low), high)
    edges = others.ravel()
    if len(others) > _CROWD:
        edges = edges[:0]
    meeting = np.concatenate([edges, edges - extent])
    meeting = meeting[(meeting > low) & (meeting < high)]
    meeting = np.unique(meeting)
    if len(meeting) > _MOST_PLACES - _EVEN:
        meeting = np.sort(
            meeting[np.argsort(np.abs(meeting - middle), kind="stable")[: _MOST_PLACES - _EVEN]]
        )
    return np.unique(np.concatenate([[middle], np.linspace(low, high, _EVEN), meeting]))


def _cost(near: np.ndarray, x0: np.ndarray, y0: np.ndarray, extent: np.ndarray, visible: float) -> np.ndarray:
    """How much windows (R, C) damage: 1 for an object that loses its label, 0.1 for one merely clipped."""

    def along(start: np.ndarray, axis: int, extent: float) -> np.ndarray:
        """Share of every object's side inside (P, n)."""
        a, b = near[:, axis], near[:, axis + 2]
        return np.clip(
            (np.minimum(start[:, None] + extent, b) - np.maximum(start[:, None], a)) / (b - a), 0, 1
        )

    share = along(y0, 1, extent[1])[:, None] * along(x0, 0, extent[0])[None]
    lost = (share > _CUT) & (share < visible)
    clipped = (share >= visible) & (share < 1 - _CUT)
    return lost.sum(2) + 0.1 * clipped.sum(2)


def _mass(attention: np.ndarray, x0: np.ndarray, y0: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Attention (R, C) inside windows that begin at x0 (C,) and y0 (R,), in shares of the image."""
    h, w = attention.shape
    return axis_cover(y0, y0 + extent[1], h) @ attention @ axis_cover(x0, x0 + extent[0], w).T


def lattice_extents(extent: np.ndarray, unit: float, most: float, grow: float) -> np.ndarray:
    """Widths and heights (m, 2) in whole units that hold an extent, smallest first: what packs without gaps.

    Args:
        extent: (2,) as the unit.
        most: the largest.
        grow: how much larger than needed a side may become.
    """
    least = np.ceil(extent / unit - 1e-9)
    grown = np.maximum(least, np.floor(least * grow))
    return np.minimum(np.stack([least, grown]) * unit, most)


def whole(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How whole objects (n, 4) are: halved for every border of their image that a box is within a pixel of.

    Args:
        sizes: (n, 2) width and height of the image of each.
    """
    touching = (boxes[:, :2] < 1).sum(1) + (boxes[:, 2:] > sizes - 1).sum(1)
    return 0.5**touching


def relative_size(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Square root of the share of their image (n, 2) that objects (n, 4) take up."""
    return np.sqrt(areas(boxes) / sizes.prod(1))

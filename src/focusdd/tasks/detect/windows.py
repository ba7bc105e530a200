"""Windows around objects: where attention is, with whole objects in it. Pure geometry, original pixels."""

from __future__ import annotations

import numpy as np

from focusdd.core.images import Box
from focusdd.extraction.geometry import axis_cover
from focusdd.tasks.detect.scenes import areas

_MOST_PLACES = 32  # tried along each axis
_EVEN = 9  # of them evenly spread
_CROWD = 256  # objects nearby; among more, only few places are tried
_STEPS = 3  # from the smallest size that a window needs to the largest it may grow to
_LEAST_CONTEXT = 0.1  # that a large object keeps
_CUT = 1e-6  # share of an object that is nothing


def object_window(
    boxes: np.ndarray,
    target: int,
    size: tuple[int, int],
    attention: np.ndarray,
    least: float,
    room: float,
    context: float,
    grow: float,
    visible: float,
) -> Box:
    """The window that shows one object whole, cuts as few others as it can, and holds the most attention.

    It is a square of at least `least` pixels that leaves the object its surroundings: less of them where it
    would have to be shrunk into its room, and none beyond the image. It moves, and grows where that helps, so
    as not to cut another object; of the windows that cut least, the smallest size is taken, and of that size
    the window with the most class attention.

    Args:
        boxes: (n, 4) all objects of the image.
        target: row of the object.
        size: width and height of the image.
        attention: (h, w) class attention over the image, summing to 1.
        room: side in pixels up to which a window is shown at full resolution.
        context: surroundings on each side of the object, as a share of its longer side.
        grow: how much larger than needed the window may become.
        visible: share of its box below which a cut object loses its label.
    """
    box = boxes[target]
    longer = (box[2:] - box[:2]).max()
    need = max(longer * (1 + 2 * context), least)
    if need > room:
        need = max(longer * (1 + 2 * min(context, _LEAST_CONTEXT)), room, least)
    others = np.delete(boxes, target, axis=0)
    best: tuple[tuple[float, float, float], Box] | None = None
    for side in need * np.geomspace(1, grow, _STEPS if grow > 1 else 1):
        extent = np.minimum(side, size)
        near = others[_reachable(others, box, extent)]
        x0 = _places(box[0::2], near[:, 0::2], extent[0], size[0])
        y0 = _places(box[1::2], near[:, 1::2], extent[1], size[1])
        cost = _cost(near, x0, y0, extent, visible)
        mass = _mass(attention, x0 / size[0], y0 / size[1], extent / size)
        least_cost = cost.min()
        mass = np.where(cost <= least_cost + 1e-9, mass, -1.0)
        row, column = np.unravel_index(mass.argmax(), mass.shape)
        rank = (float(least_cost), float(extent.prod()), -float(mass[row, column]))
        if best is None or rank < best[0]:
            x, y = float(x0[column]), float(y0[row])
            best = rank, (x, y, min(x + extent[0], size[0]), min(y + extent[1], size[1]))
        if least_cost == 0:
            break
    assert best is not None
    return tuple(float(value) for value in best[1])  # type: ignore[return-value]


def _reachable(others: np.ndarray, box: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Which objects some window of this extent around the box could show."""
    low, high = box[2:] - extent, box[:2] + extent
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

"""Places on a canvas: for windows of any size, side by side without overlap.

Maximal rectangles by best short side fit: J. Jylänki, A Thousand Ways to Pack the Bin, 2010.
"""

from __future__ import annotations

import numpy as np

from focusdd.tasks.detect.scenes import Place


class Canvas:
    """A square canvas and what is free of it: the largest free rectangles, which overlap."""

    def __init__(self, size: int) -> None:
        self.free: list[Place] = [(0, 0, size, size)]

    def find(self, extent: np.ndarray, least: float = 1.0) -> Place | None:
        """A free place for a rectangle, or for what it is when it is shrunk as little as needed.

        Where the whole rectangle fits, it is the place where that leaves the narrowest strip.

        Args:
            extent: (2,) width and height.
            least: smallest factor that it may be shrunk by.

        Returns:
            None without room.
        """
        width, height = extent.tolist()
        best: tuple[float, ...] = (-least + 1e-9,)
        for left, top, right, bottom in self.free:
            scale = min(1.0, (right - left) / width, (bottom - top) / height)
            strip = min(right - left - width, bottom - top - height) if scale == 1 else 0
            best = min(best, (-scale, strip, top, left))
        if len(best) == 1:
            return None
        scale, _, top, left = -best[0], *map(int, best[1:])
        return left, top, left + max(1, round(width * scale)), top + max(1, round(height * scale))

    def take(self, place: Place) -> None:
        """Replaces every free rectangle that a place touches by what is left of it on each side."""
        left, top, right, bottom = place
        parts: dict[Place, None] = {}
        for x0, y0, x1, y1 in self.free:
            if x0 >= right or x1 <= left or y0 >= bottom or y1 <= top:
                parts[x0, y0, x1, y1] = None
                continue
            sides = ((x0, y0, left, y1), (right, y0, x1, y1), (x0, y0, x1, top), (x0, bottom, x1, y1))
            parts |= dict.fromkeys(side for side in sides if side[0] < side[2] and side[1] < side[3])
        self.free = [part for part in parts if not any(_holds(o, part) for o in parts if o != part)]


def _holds(outer: Place, inner: Place) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]

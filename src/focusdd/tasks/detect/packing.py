"""Places on a canvas: for windows of any size, side by side without overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

from focusdd.tasks.detect.scenes import Place


@dataclass
class Shelves:
    """A square canvas that is filled shelf by shelf, each as high as what was put on it first."""

    size: int
    _shelves: list[list[int]] = field(default_factory=list)
    """[top, height, used width] of every shelf."""

    def put(self, width: int, height: int) -> Place | None:
        """The place of a rectangle, on the shelf where it wastes the least height; None without room."""
        fits = [s for s in self._shelves if s[1] >= height and s[2] + width <= self.size]
        if fits:
            shelf = min(fits, key=lambda s: s[1])
        else:
            top = sum(s[1] for s in self._shelves)
            if top + height > self.size or width > self.size:
                return None
            self._shelves.append(shelf := [top, height, 0])
        left = shelf[2]
        shelf[2] += width
        return left, shelf[0], left + width, shelf[0] + height

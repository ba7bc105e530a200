"""Boxes one by one, slowly: what the package computes for many at once."""

from __future__ import annotations

from typing import Literal

from focusdd.core.images import Box

Resize = Literal["squash", "letterbox"]


def area(box: Box) -> float:
    """Square pixels; 0 for a box turned inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: Box, b: Box) -> float:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    shared = intersection(a, b)
    return shared / union if (union := area(a) + area(b) - shared) else 0.0


def cover(box: Box, target: Box) -> float:
    """Share of `target` that `box` covers."""
    return intersection(box, target) / area(target) if area(target) else 0.0


def to_view(x: float, y: float, width: int, height: int, resize: Resize) -> tuple[float, float]:
    """From pixels of an image to shares of the square view that it is shown in, centred."""
    across = width if resize == "squash" else max(width, height)
    down = height if resize == "squash" else max(width, height)
    return (x + (across - width) / 2) / across, (y + (down - height) / 2) / down


def token_box(row: int, column: int, width: int, height: int, resize: Resize, grid: tuple[int, int]) -> Box:
    """What of an image a token of its view covers; empty where that is all padding."""
    across = width if resize == "squash" else max(width, height)
    down = height if resize == "squash" else max(width, height)
    left, top = (across - width) / 2, (down - height) / 2
    x0, x1 = (min(max(n * across / grid[1] - left, 0.0), width) for n in (column, column + 1))
    y0, y1 = (min(max(n * down / grid[0] - top, 0.0), height) for n in (row, row + 1))
    return x0, y0, x1, y1

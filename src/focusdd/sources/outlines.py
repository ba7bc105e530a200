"""Boxes around the outlines that COCO files hold: polygons, and run-length encoded masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from focusdd.core.images import MAX_PIXELS


def box_around(outline: Any) -> list[float] | None:
    """[x, y, w, h] around a `segmentation`; None where it is none, or empty."""
    return _around_mask(outline) if isinstance(outline, dict) else _around_polygons(outline)


def _around_polygons(polygons: Any) -> list[float] | None:
    """The box around [[x, y, x, y, ...], ...]."""
    rings = polygons if isinstance(polygons, list) else []
    if not all(isinstance(ring, list) and len(ring) % 2 == 0 for ring in rings):
        return None
    numbers = [number for ring in rings for number in ring]
    if not numbers or not all(type(number) in (int, float) for number in numbers):
        return None
    x, y = numbers[::2], numbers[1::2]
    if not all(abs(number) < 1e300 for number in numbers):  # not a number, or too large for one
        return [math.nan] * 4
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _around_mask(mask: dict[str, Any]) -> list[float] | None:
    """The box around {"size": [height, width], "counts": ...}: runs of 0 and 1 by turns, column by column."""
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        return None
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return None
    if sum(runs) != (area := math.prod(size)) or area > MAX_PIXELS:
        return None
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0])
    x, y = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    if not len(x):
        return None
    return [float(x[0]), float(y[0]), float(x[-1] - x[0] + 1), float(y[-1] - y[0] + 1)]


def _decompressed(text: str) -> list[int] | None:
    """Runs from COCO's text form (`rleFrString` of cocoapi): five bits a character, differences of runs."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs

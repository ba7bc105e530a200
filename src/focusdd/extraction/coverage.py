"""How well key patches find objects whose boxes are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from focusdd.core.images import Box
from focusdd.extraction.index import Index
from focusdd.sources.base import BoxedSource

ENOUGH = 0.8  # of the object's box


@dataclass(frozen=True)
class Coverage:
    """Share of images whose window covers at least 80 % of the object's box, 0 to 1."""

    patch: float
    """With the first key patch as the window."""
    random: float
    """With a window of the same size at a random place."""
    images: int


def object_coverage(index: Index, source: BoxedSource, limit: int | None = None) -> Coverage:
    """Compares first key patches with the true boxes of a source that knows them.

    Args:
        limit: look at this many images, evenly spread over the index; default: all.
    """
    rows = index.table(["key", "width", "height", "patches"])
    step = math.ceil(len(rows) / limit) if limit else 1
    rng = np.random.default_rng([0, 17])
    hits = random_hits = images = 0
    for row in rows.take(list(range(0, len(rows), step))).to_pylist():
        patch, target = row["patches"][0], source.box(row["key"])
        width, height = patch["x1"] - patch["x0"], patch["y1"] - patch["y0"]
        x, y = rng.random(2) * (row["width"] - width, row["height"] - height)
        elsewhere: Box = (x, y, x + width, y + height)
        hits += _cover((patch["x0"], patch["y0"], patch["x1"], patch["y1"]), target) >= ENOUGH
        random_hits += _cover(elsewhere, target) >= ENOUGH
        images += 1
    return Coverage(hits / images, random_hits / images, images)


def _cover(box: Box, target: Box) -> float:
    """Share of `target` that `box` covers, 0 to 1."""
    width, height = (min(box[n + 2], target[n + 2]) - max(box[n], target[n]) for n in (0, 1))
    whole = (target[2] - target[0]) * (target[3] - target[1])
    return max(width, 0.0) * max(height, 0.0) / whole if whole > 0 else 0.0

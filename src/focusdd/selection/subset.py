"""A subset of original images: how many of every class, and which."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index
from focusdd.extraction.realism import realism
from focusdd.selection.coresets import herd
from focusdd.selection.coresets import spread as k_center
from focusdd.selection.focus import distinct, drawn, spread
from focusdd.settings.subset import SubsetSettings
from focusdd.sources.base import Source


class Subset(NamedTuple):
    """Keys of the chosen images, and of those that were left out as near-duplicates, class by class."""

    chosen: list[list[str]]
    duplicates: list[list[str]]


def choose(source: Source, index: Index | None, settings: SubsetSettings) -> Subset:
    """Chooses images within every class.

    Args:
        index: of the source; None for method random alone.

    Raises:
        FocusError: fewer images are asked for than the classes are to have at least.
    """
    if index is None:
        keys = [record.key for record in source.records]
        labels = np.array([record.label for record in source.records])
        score, features = np.zeros(len(keys)), None
    else:
        rows = index.table(["key", "label", "confidence", "mass", "area"])
        keys, labels = rows["key"].to_pylist(), rows["label"].to_numpy()
        confidence, mass, area = (rows[name].to_numpy() for name in ("confidence", "mass", "area"))
        score = realism(confidence, mass, area, (1, 1, 0))
        features = index.features()
    candidates, duplicates = [], []
    for label in range(len(source.classes)):
        order = drawn(np.flatnonzero(labels == label), score, 0, 0, np.random.default_rng(0))
        kept = np.arange(len(order))
        if features is not None and settings.max_similarity < 1:
            kept = np.array(distinct(features[order], settings.max_similarity, len(order)), int)
        candidates.append(order[kept])
        duplicates.append(np.delete(order, kept))
    counts = shares([len(rows) for rows in candidates], len(keys), settings)
    chosen = [
        _within(label, rows, count, features, settings)
        for label, (rows, count) in enumerate(zip(candidates, counts, strict=True))
    ]
    return Subset(*([[keys[row] for row in rows] for rows in lists] for lists in (chosen, duplicates)))


def _within(
    label: int, rows: np.ndarray, count: int, features: np.ndarray | None, settings: SubsetSettings
) -> np.ndarray:
    """The chosen rows of one class, in source order.

    Args:
        rows: the most realistic first.
    """
    rng = np.random.default_rng([settings.seed, 21, label])
    if not count:
        return rows[:0]
    if settings.method == "random" or features is None:
        rows = rng.permutation(np.sort(rows))
    elif settings.method == "clusters":
        rows = spread(rows, features[rows], 1.0, count, rng)
    elif settings.method in ("herding", "k-center"):
        coreset = herd if settings.method == "herding" else k_center
        rows = np.sort(rows)
        rows = rows[coreset(features[rows].astype(np.float64), count)[0]]
    return np.sort(rows[:count])


def shares(counts: Sequence[int], images: int, settings: SubsetSettings) -> list[int]:
    """How many images of every class are chosen.

    Args:
        counts: candidates of every class.
        images: of the source in all, of which `ratio` is a share.

    Raises:
        FocusError: `least` images of every class are more than all together.
    """
    if settings.per_class is not None:
        return [min(settings.per_class, count) for count in counts]
    total = settings.number if settings.number is not None else round((settings.ratio or 0.0) * images)
    total = min(total, sum(counts))
    given = [min(settings.least, count) for count in counts]
    if sum(given) > total:
        raise FocusError(
            f"{total} images are fewer than --least {settings.least} of {len(counts)} classes: ask for more"
        )
    # one by one to the class that is farthest below its part
    part = [total * count / sum(counts) for count in counts]
    below = [(have - wanted, label) for label, (have, wanted) in enumerate(zip(given, part, strict=True))]
    heapq.heapify(below)
    for _ in range(total - sum(given)):
        while given[below[0][1]] == counts[below[0][1]]:
            heapq.heappop(below)
        missing, label = below[0]
        given[label] += 1
        heapq.heapreplace(below, (missing + 1, label))
    return given

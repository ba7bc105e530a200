"""A subset of original images: how many of every class, and which."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.core.spelling import number_of
from focusdd.selection.coresets import herd, k_center
from focusdd.selection.focus import clusters_first, distinct
from focusdd.settings.distill import SubsetSettings


class Candidates(NamedTuple):
    """The images (n,) that a subset is chosen from."""

    keys: list[str]
    shown: list[np.ndarray]
    """Rows of the images that show each class."""
    groups: np.ndarray
    """int (n,): the class that an image is counted with: the rarest that it shows, or one more for none."""
    score: np.ndarray
    """(n,): of images that look alike the one with the highest is kept."""
    features: np.ndarray | None
    """(n, d); None for method random alone."""
    several: bool
    """Whether an image may show several classes, or none."""

    def labels(self) -> list[list[int]]:
        """The classes that each image shows."""
        found: list[list[int]] = [[] for _ in self.keys]
        for label, rows in enumerate(self.shown):
            for row in rows:
                found[row].append(label)
        return found


class Subset(NamedTuple):
    """Rows of the chosen images, and of those that were left out as near-duplicates, in source order."""

    chosen: np.ndarray
    duplicates: np.ndarray


def choose(images: Candidates, settings: SubsetSettings, usable: np.ndarray | None = None) -> Subset:
    """Chooses among the images that are counted with each class, so many of each as `shares` says.

    Where images show several classes, first as many are chosen for every class, the rarest first, as it is to
    have at least; what `shares` shares out is the rest.

    Args:
        usable: bool (n,), rows that can be chosen; default: all.

    Raises:
        FocusError: fewer images are asked for than the classes are to have at least.
    """
    order = np.argsort(-images.score, kind="stable")
    rank, kept = np.argsort(order), np.ones(len(order), bool) if usable is None else usable.copy()
    shown = [rows[kept[rows]] for rows in images.shown]
    order = order[kept[order]]
    groups = [order[images.groups[order] == group] for group in range(images.groups.max(initial=0) + 1)]
    alike = np.zeros(len(kept), bool)
    if images.features is not None and settings.max_similarity < 1:
        for rows in groups:
            first = distinct(images.features[rows], settings.max_similarity, len(rows))
            alike[np.delete(rows, first)] = True
    taken = np.zeros(len(kept), bool)
    least = settings.per_class or settings.least
    total = settings.number if settings.number is not None else round((settings.ratio or 0.0) * len(kept))
    if images.several:
        for label in sorted(range(len(shown)), key=lambda label: len(shown[label])):
            rows = shown[label][~alike[shown[label]]]
            rows = rows if len(rows) else shown[label]
            need = min(least, len(rows)) - int(taken[rows].sum())
            free = rows[~taken[rows]]
            taken[_within(free[np.argsort(rank[free])], need, images.features, settings, (22, label))] = True
        least = 0
    free_groups = [rows[~alike[rows] & ~taken[rows]] for rows in groups]
    counts = [len(rows) for rows in free_groups]
    if settings.per_class is not None:
        wanted = [min(least, count) for count in counts]
    else:
        if (done := int(taken.sum())) > total:
            raise _too_few(total, done, settings)
        wanted = shares(counts, min(total - done, sum(counts)), least, settings)
    for group, (rows, count) in enumerate(zip(free_groups, wanted, strict=True)):
        taken[_within(rows, count, images.features, settings, (21, group))] = True
    return Subset(np.flatnonzero(taken), np.flatnonzero(alike & ~taken))


def _within(
    rows: np.ndarray,
    count: int,
    features: np.ndarray | None,
    settings: SubsetSettings,
    purpose: tuple[int, int],
) -> np.ndarray:
    """The rows that the method chooses of some that count alike.

    Args:
        rows: the most realistic first.
        purpose: what the random choice is for.
    """
    if count <= 0 or not len(rows):
        return rows[:0]
    rng = np.random.default_rng([settings.seed, *purpose])
    if settings.method == "random" or features is None:
        rows = rng.permutation(np.sort(rows))
    elif settings.method == "clusters":
        rows = clusters_first(rows, features[rows], 1.0, count, rng)
    elif settings.method in ("herding", "k-center"):
        coreset = herd if settings.method == "herding" else k_center
        rows = np.sort(rows)
        rows = rows[coreset(features[rows].astype(np.float64), count)[0]]
    return rows[:count]


def shares(counts: Sequence[int], total: int, least: int, settings: SubsetSettings) -> list[int]:
    """How many images of every class are chosen, `total` in all, in proportion to its candidates.

    Args:
        counts: candidates of every class, no fewer than `total` in all.
        least: images of every class, or all that it has.

    Raises:
        FocusError: `least` images of every class are more than `total`.
    """
    given = [min(least, count) for count in counts]
    if sum(given) > total:
        raise _too_few(total, sum(given), settings)
    # one by one to the class that is farthest below its part
    part = [total * count / max(1, sum(counts)) for count in counts]
    below = [(have - wanted, label) for label, (have, wanted) in enumerate(zip(given, part, strict=True))]
    heapq.heapify(below)
    for _ in range(total - sum(given)):
        while given[below[0][1]] == counts[below[0][1]]:
            heapq.heappop(below)
        missing, label = below[0]
        given[label] += 1
        heapq.heapreplace(below, (missing + 1, label))
    return given


def _too_few(total: int, needed: int, settings: SubsetSettings) -> FocusError:
    return FocusError(
        f"{number_of(total, 'image is', 'images are')} fewer than the {needed} that --least {settings.least} "
        "of every class takes: "
        f"ask for {needed} or more"
    )

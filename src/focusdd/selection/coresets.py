"""Herding and k-center: whole images that stand for their class among the extractor's features."""

from __future__ import annotations

import numpy as np

from focusdd.extraction.index import Index
from focusdd.selection.baselines import fill
from focusdd.selection.plan import Piece, Plan
from focusdd.settings import DistillSettings
from focusdd.sources.base import Source

Choice = tuple[list[int], list[float]]
"""Rows in the order they were chosen, and for each what it was chosen by (less is better)."""


def coreset_plan(source: Source, index: Index, settings: DistillSettings) -> Plan:
    """One whole image per distilled image, chosen within each class on the index's features (Euclidean).

    Raises:
        FocusError: a class without a readable image.
    """
    choose = herd if settings.method == "herding" else k_center
    rows = index.table(["key", "label", "width", "height"])
    labels, features = rows["label"].to_numpy(), index.features()
    pieces = []
    for label in range(len(index.classes)):
        mine = np.flatnonzero(labels == label)
        chosen, distances = choose(features[mine].astype(np.float64), settings.ipc) if len(mine) else ([], [])
        found = []
        for row, distance in zip(rows.take(mine[chosen]).to_pylist(), distances, strict=True):
            box = (0.0, 0.0, float(row["width"]), float(row["height"]))
            found.append(Piece("whole", row["key"], box, row["width"], row["height"], -distance))
        pieces.append(found)
    return fill(source, pieces, settings.ipc, 1)


def herd(features: np.ndarray, count: int) -> Choice:
    """Herding (Welling, ICML 2009) as iCaRL does it: the mean of what is chosen follows the mean of all.

    Args:
        features: (n, d) float64, n at least 1.
        count: how many rows, at most n.

    Returns:
        The rows, and after each how far the mean of the chosen ones is from the mean of all.
    """
    mean, total = features.mean(0), np.zeros(features.shape[1])
    free, rows, distances = np.ones(len(features), bool), [], []
    for number in range(1, min(count, len(features)) + 1):
        away = np.where(free, np.linalg.norm(mean - (total + features) / number, axis=1), np.inf)
        best = int(away.argmin())
        free[best] = False
        total += features[best]
        rows.append(best)
        distances.append(float(away[best]))
    return rows, distances


def k_center(features: np.ndarray, count: int) -> Choice:
    """Greedy k-center (Gonzalez 1985; Sener and Savarese, ICLR 2018): every next row is the farthest from all
    before it; the first is the one nearest to the mean, so that nothing is random.

    Args:
        features: (n, d) float64, n at least 1.
        count: how many rows, at most n.

    Returns:
        The rows, and after each how far the farthest row is from the chosen ones.
    """
    rows = [int(np.linalg.norm(features - features.mean(0), axis=1).argmin())]
    nearest = np.linalg.norm(features - features[rows[0]], axis=1)
    radii = [float(nearest.max())]
    while len(rows) < min(count, len(features)):
        nearest[rows] = -1.0  # also where features are equal, no row is taken twice
        rows.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[rows[-1]], axis=1))
        radii.append(float(max(nearest.max(), 0.0)))
    return rows, radii

"""A probe on the extractor's features: confidence for any backbone, without training it.

Shrinkage linear discriminant analysis, closed form and cross-fitted: the probabilities of a row come from a
probe that has not seen it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

FOLDS = 5
MOST_FITTED = (
    20_000  # rows that a probe is fitted on, or 50 of every class: its memory does not grow with the data
)


class Judged(NamedTuple):
    """What the probe says of the rows of one part."""

    confidence: np.ndarray
    """float32 (rows,): probability of the own label; 1 / classes where nobody judged."""
    predicted: np.ndarray
    """int32 (rows,): the most probable label; -1 where nobody judged."""


def judge_parts(
    labels: np.ndarray, num_classes: int, counts: Sequence[int], features: Callable[[int], np.ndarray]
) -> Iterator[Judged]:
    """Fits probes on a sample of the rows, then judges all rows part by part.

    A row that is alone in its class is not judged, and none is where there is only one class to tell, or
    where nothing but one row of each class is left to fit on.

    Args:
        labels: (n,) class indices, -1 for rows that take no part.
        counts: rows of every part; they sum to n.
        features: number of a part -> its rows' features (rows, d), of any precision. It is called twice for
            every part, one after the other.
    """
    known = np.bincount(labels[labels >= 0], minlength=num_classes)
    labels = np.where((labels >= 0) & (known >= 2)[labels], labels, -1)
    if (known >= 2).sum() < 2:
        labels = np.full_like(labels, -1)
    fitted = rows_to_fit(labels, num_classes)
    folds = _folds_of(labels)
    folds[fitted] = _folds_of(labels[fitted])
    ends = np.cumsum(counts)
    probes: list[Any] = []
    if len(fitted):
        pieces = np.split(fitted, np.searchsorted(fitted, ends[:-1]))
        taken = [
            features(part)[rows - (end - count)].astype(np.float32)
            for part, (rows, end, count) in enumerate(zip(pieces, ends, counts, strict=True))
            if len(rows)
        ]
        probes = _fit_probes(np.concatenate(taken), labels[fitted], folds[fitted])
    for part, (end, count) in enumerate(zip(ends, counts, strict=True)):
        mine = slice(end - count, end)
        judged = Judged(np.full(count, 1 / num_classes, np.float32), np.full(count, -1, np.int32))
        if (labels[mine] >= 0).any():
            _judge(probes, features(part), labels[mine], folds[mine], judged)
        yield judged


def _fit_probes(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> list[Any]:
    """For every fold, a probe fitted on all others: features (n, d) float32, labels and folds (n,)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    probes = []
    for fold in range(FOLDS):
        others = folds != fold
        probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        with warnings.catch_warnings():  # of classes with one row, whose covariance is 0
            warnings.filterwarnings("ignore", "Only one sample available")
            enough = not others.all() and others.sum() > len(np.unique(labels[others]))
            probes.append(probe.fit(features[others], labels[others]) if enough else None)
    return probes


def _judge(
    probes: list[Any], features: np.ndarray, labels: np.ndarray, folds: np.ndarray, judged: Judged
) -> None:
    """Fills in the rows with a label, each by the probe that has not seen its fold."""
    for fold, probe in enumerate(probes):
        rows = np.flatnonzero((folds == fold) & (labels >= 0))
        if probe is None or not len(rows):
            continue
        probabilities = probe.predict_proba(features[rows].astype(np.float32, copy=False))
        columns = np.searchsorted(probe.classes_, labels[rows])
        judged.confidence[rows] = probabilities[np.arange(len(rows)), columns]
        judged.predicted[rows] = probe.classes_[probabilities.argmax(1)]


def rows_to_fit(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Rows that probes are fitted on, sorted: of every class as many, spread evenly over the source.

    Args:
        labels: (n,), -1 for rows that are not to be used.
    """
    most = max(50, MOST_FITTED // num_classes)
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        mine = np.flatnonzero(labels == label)
        chosen.append(mine[np.linspace(0, len(mine) - 1, min(most, len(mine))).astype(int)])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def _folds_of(labels: np.ndarray) -> np.ndarray:
    """Fold of every row: the rows of a class take turns, so every class is in every other fold."""
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        folds[mine] = np.arange(len(mine)) % min(FOLDS, len(mine))
    return folds

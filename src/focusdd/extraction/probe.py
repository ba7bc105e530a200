"""A probe on class-token features: confidence for any backbone, without training it.

Shrinkage linear discriminant analysis, closed form and cross-fitted: the probabilities of an image come from
a probe that has not seen it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from focusdd.core.errors import FocusError

FOLDS = 5
MOST_FITTED = (
    20_000  # rows that a probe is fitted on, or 50 of every class: its memory does not grow with the data
)


def cross_fitted_probabilities(
    features: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the own label and the most probable label for every image.

    Args:
        features: (n, d), of any precision.
        labels: (n,) class indices.

    Returns:
        confidence (n,) float32 and predicted (n,) int32.

    Raises:
        FocusError: a class has fewer than two images, so that no fold can be left out.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() < 2:
        raise FocusError(
            f"a probe needs two images of every class, class {int(counts.argmin())} has {counts.min()}: "
            "use an extractor whose head knows the classes"
        )
    fitted = rows_to_fit(labels, num_classes)
    folds = folds_of(labels)
    folds[fitted] = folds_of(labels[fitted])
    probes = fit_probes(features[fitted].astype(np.float32), labels[fitted], folds[fitted])
    return judge(probes, features, labels, folds)


def fit_probes(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> list[Any]:
    """For every fold, a probe fitted on all others: features (n, d) float32, labels and folds (n,)."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    probes = []
    for fold in range(FOLDS):
        others = folds != fold
        probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        probes.append(probe.fit(features[others], labels[others]) if not others.all() else None)
    return probes


def judge(
    probes: list[Any], features: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (n,) float32 and prediction (n,) int32, each by the probe that has not seen the fold."""
    confidence = np.empty(len(labels), np.float32)
    predicted = np.empty(len(labels), np.int32)
    for fold in np.unique(folds):
        held = np.flatnonzero(folds == fold)
        probe = probes[fold]
        for rows in np.array_split(held, max(1, len(held) // 8192)):
            probabilities = probe.predict_proba(features[rows].astype(np.float32, copy=False))
            columns = np.searchsorted(probe.classes_, labels[rows])
            confidence[rows] = probabilities[np.arange(len(rows)), columns]
            predicted[rows] = probe.classes_[probabilities.argmax(1)]
    return confidence, predicted


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


def folds_of(labels: np.ndarray) -> np.ndarray:
    """Fold of every image: the images of a class take turns, so every class is in every other fold."""
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        folds[mine] = np.arange(len(mine)) % min(FOLDS, len(mine))
    return folds

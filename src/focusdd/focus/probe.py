"""A probe on class-token features: confidence for any backbone, without training it.

Shrinkage linear discriminant analysis, closed form and cross-fitted: the probabilities of an image come from
a probe that has not seen it.
"""

from __future__ import annotations

import numpy as np

from focusdd.errors import FocusError

FOLDS = 5


def cross_fitted_probabilities(
    features: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the own label and the most probable label for every image.

    Args:
        features: (n, d).
        labels: (n,) class indices.

    Returns:
        confidence (n,) float32 and predicted (n,) int32.

    Raises:
        FocusError: a class has fewer than two images, so that no fold can be left out.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() < 2:
        raise FocusError(
            f"a probe needs two images of every class, class {int(counts.argmin())} has {counts.min()}: "
            "use an extractor whose head knows the classes"
        )
    folds = _folds(labels)
    confidence = np.empty(len(labels), np.float32)
    predicted = np.empty(len(labels), np.int32)
    features = features.astype(np.float32)
    for fold in range(FOLDS):
        held = np.flatnonzero(folds == fold)
        if not len(held):
            continue
        probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        probe.fit(features[folds != fold], labels[folds != fold])
        for rows in np.array_split(held, max(1, len(held) // 8192)):
            probabilities = probe.predict_proba(features[rows])
            columns = np.searchsorted(probe.classes_, labels[rows])
            confidence[rows] = probabilities[np.arange(len(rows)), columns]
            predicted[rows] = probe.classes_[probabilities.argmax(1)]
    return confidence, predicted


def _folds(labels: np.ndarray) -> np.ndarray:
    """Fold of every image: the images of a class take turns, so every class is in every other fold."""
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        folds[mine] = np.arange(len(mine)) % min(FOLDS, len(mine))
    return folds

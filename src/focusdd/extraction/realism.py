"""The score that ranks images within a class."""

from __future__ import annotations

import numpy as np


def realism(
    confidence: np.ndarray, mass: np.ndarray, area: np.ndarray, powers: tuple[float, float, float]
) -> np.ndarray:
    """realism = confidence^a * mass^b * (1 - area)^c, between 0 and 1.

    The paper combines the predicted class probability with the attention scores of the patches; how much of
    the attention, over how large an area. Its formula is not public: the exponents are settings.

    Args:
        confidence: (n,) probability of the image's own label.
        mass: (n,) share of the class attention inside the key patches.
        area: (n,) share of the image that holds a given share of the attention.
        powers: the exponents (a, b, c); 0 leaves a factor out.
    """
    a, b, c = powers
    return confidence**a * mass**b * (1 - area) ** c

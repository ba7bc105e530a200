"""What a student's optimiser is set to when the user does not say: by the family of its architecture.

Everything else of the recipe is the same for every student. A student nobody listed trains too.
"""

from __future__ import annotations

from typing import NamedTuple

from focusdd.settings import TrainSettings


class Recipe(NamedTuple):
    """Settings of AdamW."""

    lr: float
    """Peak learning rate."""
    weight_decay: float


DEFAULT = Recipe(1e-3, 0.01)  # ConvNet-5 and whatever is not listed
FAMILIES = {
    "resnet": Recipe(2e-3, 0.01),
    **dict.fromkeys(("mobilenet", "efficientnet"), Recipe(5e-3, 0.01)),
    **dict.fromkeys(("vit", "deit", "beit", "eva", "swin", "convnext"), Recipe(5e-4, 0.05)),
}


def recipe(settings: TrainSettings) -> Recipe:
    """What the settings say and, where they say nothing, what suits the student, by the start of its name."""
    own = next((own for name, own in FAMILIES.items() if settings.student.startswith(name)), DEFAULT)
    return Recipe(
        own.lr if settings.lr is None else settings.lr,
        own.weight_decay if settings.weight_decay is None else settings.weight_decay,
    )

"""The learning rate and weight decay of a student."""

from __future__ import annotations

from timm.models import model_entrypoint

from focusdd.models.names import origin
from focusdd.settings import TrainSettings
from focusdd.settings.recipes import Recipe, recipe_of


def recipe(settings: TrainSettings) -> Recipe:
    """What the settings say and, where they say nothing, what suits the student's family.

    timm defines the models of a family in one module, whatever their names begin with: seresnet50 is a
    ResNet, tf_efficientnet_b0 an EfficientNet.

    Raises:
        FocusError: there is no such student.
    """
    architecture = origin(settings.student, weights=False).architecture.partition(".")[0]
    own = recipe_of(model_entrypoint(architecture).__module__.rpartition(".")[2])
    return Recipe(
        own.lr if settings.lr is None else settings.lr,
        own.weight_decay if settings.weight_decay is None else settings.weight_decay,
    )

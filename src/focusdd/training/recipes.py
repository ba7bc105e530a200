"""What suits a student: its learning rate and weight decay, and the family of its teacher."""

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
    own = recipe_of(_module(settings.student))
    return Recipe(
        own.lr if settings.lr is None else settings.lr,
        own.weight_decay if settings.weight_decay is None else settings.weight_decay,
    )


def other_family(teacher: str, student: str) -> str:
    """What it may cost that a teacher is of another family than its student, in words; nothing if it is not.

    Measured with a ResNet-18 as student: results/sweep.csv.
    """
    if _module(teacher) == _module(student):
        return ""
    architecture = origin(teacher, weights=False).architecture
    return (
        f"the teacher, a {architecture}, is of another family than the student, a {student}. An EfficientNet "
        "of 99 % taught a ResNet-18 27 points less than a ResNet-18 of 85 % did: `focusdd fit SOURCE --model "
        f"{student} --out TEACHER` makes such a teacher"
    )


def _module(model: str) -> str:
    """The module of timm that defines a model."""
    architecture = origin(model, weights=False).architecture.partition(".")[0]
    return model_entrypoint(architecture).__module__.rpartition(".")[2]

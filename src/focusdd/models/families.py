"""What the family of a model decides: the recipe of a student, and whether a teacher suits it."""

from __future__ import annotations

from timm.models import model_entrypoint

from focusdd.models.names import origin
from focusdd.settings.recipes import Recipe, recipe_of


def family(model: str) -> str:
    """The module of timm that defines a model: for seresnet50 "resnet", whatever its name begins with."""
    return model_entrypoint(_architecture(model).partition(".")[0]).__module__.rpartition(".")[2]


def recipe(student: str) -> Recipe:
    """The optimiser of the student's family. Raises FocusError when there is no such student."""
    return recipe_of(family(student))


def other_family(teacher: str, student: str) -> str:
    """What it may cost that a teacher is of another family than its student; nothing if it is not.

    Measured: results/sweep.csv.
    """
    if family(teacher) == family(student):
        return ""
    words = f"the teacher, a {_architecture(teacher)}, is of another family than the student, a {student}"
    return (
        f"{words}, and teaches it less than a weaker teacher of the student's family does: "
        f"`focusdd fit SOURCE --model {student} --out TEACHER` makes one"
    )


def other_sizes(distilled: int, fitted: int, size: int) -> str:
    """What is odd about sizes in pixels, in words; nothing where images are larger than what crops show.

    Args:
        fitted: input that the teacher was fitted at.
        size: input of teacher and student now.
    """
    if fitted == size <= distilled:
        return ""
    return (
        f"sizes differ: distilled images have {distilled} px, the teacher was fitted at {fitted} px, and "
        f"teacher and student see {size} px"
    )


def _architecture(model: str) -> str:
    return origin(model, weights=False).architecture

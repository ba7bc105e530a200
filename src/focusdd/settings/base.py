"""What all settings have in common: frozen, without unknown names, and with conditions beside the fields."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

Share = Annotated[float, Field(gt=0, le=1)]
Exponent = Annotated[float, Field(ge=0, le=8)]
Count = Annotated[int, Field(ge=1)]

UNSET: Any = None
"""Default of a field that `resolve` derives from other settings."""


class Only:
    """Condition of a field: it has an effect only where other settings, or facts, have one of these values.

    Args:
        where: by the name of a setting or a fact its allowed values, or a test of the value. A name that is
            no setting of the model and no given fact is not a condition, nor is a setting without effect.
    """

    def __init__(self, **where: tuple[Any, ...] | Callable[[Any], bool]) -> None:
        self.where = where


class OnlyRanked(Only):
    """Condition of a field that says which images come first: one of the settings has to have such a value.

    Where none has, all images are drawn alike. The field then changes the draw as another seed would, so it
    stays in the key.
    """


class Derived:
    """Default of a field, computed from the values of the other settings and of the facts; without a function
    it is the fact of the same name. None stands for it until then."""

    def __init__(self, by: Callable[[Mapping[str, Any]], Any] = lambda _: None) -> None:
        self.by = by

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.nullable_schema(handler(source))


class NotInKey:
    """Marks a field that does not change results, or whose content stands in the key by its hash."""


# fields that many settings have, with their help
Seed = Annotated[int, Field(ge=0, lt=2**63, description="Seed of every random choice.")]
Flip = Annotated[
    bool,
    Field(
        description="Mirror half of the images. Switch it off for digits, letters and whatever else has a "
        "left and a right."
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    NotInKey,
    Field(description="Device of the models. auto: a GPU if there is one."),
]
Anyway = Annotated[bool, NotInKey]


def positive(value: float) -> bool:
    """Whether a value switches something on."""
    return value > 0


class Settings(BaseModel):
    """Base of all settings. A value of None is as good as none given."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
    )
    renamed: ClassVar[dict[str, str]] = {}
    """Old names of fields, for the message."""
    own: ClassVar[dict[str, dict[str, str]]] = {}
    """By the name of a group: fields of it that are set here, and the setting that does it."""
    panel: ClassVar[str] = ""
    """Where `--help` shows the fields that a class adds: `class FitSettings(Settings, panel="Training")`."""

    def __init_subclass__(cls, panel: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.panel = panel

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if unknown := [name for name in data if name not in cls.model_fields]:
            raise ValueError("; ".join(unknown_name(name, cls.model_fields, cls.renamed) for name in unknown))
        return {name: value for name, value in data.items() if value is not None}


def unknown_name(
    name: str, known: Iterable[str], renamed: Mapping[str, str] | None = None, noun: str = "setting"
) -> str:
    """What is wrong with a name that nothing has: its new or its nearest name."""
    if renamed and name in renamed:
        return f"the {noun} {name!r} is called {renamed[name]!r} now"
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.0)
    return f"there is no {noun} {name!r}" + (f": did you mean {near[0]!r}?" if near else "")

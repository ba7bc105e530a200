"""How a source is read where its look does not say it: settings that are a part of its name."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlencode

from pydantic import Field, ValidationError, model_validator

from focusdd.core.errors import FocusError, plain_settings_error
from focusdd.settings.base import Settings


class HoldoutSettings(Settings, panel="Source"):
    """How a source without validation images is divided."""

    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of each class that is kept out of training and is the validation set, for a source without
    one. Use the same value in every command."""
    holdout_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw of --holdout."""

    @model_validator(mode="after")
    def _seed_of_something(self) -> Self:
        if self.holdout is None and "holdout_seed" in self.model_fields_set:
            raise ValueError("--holdout-seed has no effect without --holdout: give both, or neither")
        return self


class SourceSettings(HoldoutSettings, panel="Source"):
    """How a source is read. They travel in its name: `photos?holdout=0.1&holdout_seed=1`."""

    classes: Literal["top", "deep"] | None = None
    """Class folders of an image folder. top: the folders directly in it. deep: those that hold the images."""
    image_column: str | None = None
    """Column of a table that holds the images."""
    label_column: str | None = None
    """Column of a table that holds the labels."""


_PART = rf"(?:{'|'.join(SourceSettings.model_fields)})=[^&?]*"
_NAMED = re.compile(rf"(.+)\?({_PART}(?:&{_PART})*)", re.DOTALL)


def with_options(name: str, settings: HoldoutSettings | None) -> str:
    """The name with what a user set beside it, instead of what it says itself."""
    given = settings.model_dump(exclude_unset=True, exclude_none=True) if settings else {}
    if not given:
        return name
    bare, own = split_options(name)
    return f"{bare}?{urlencode(own.model_dump(exclude_unset=True, exclude_none=True) | given)}"


def validation_name(val: str | None, source: str, settings: HoldoutSettings | None) -> str | None:
    """The name of validation images with what a user set beside the source; other ones are not divided."""
    if val is None or val == source or settings is None:
        return val and with_options(val, settings)
    undivided = settings.model_dump(exclude=set(HoldoutSettings.model_fields), exclude_unset=True)
    return with_options(val, SourceSettings(**undivided))


def split_options(name: str) -> tuple[str, SourceSettings]:
    """A name without its settings, and these. Raises FocusError where one has no such value."""
    match = _NAMED.fullmatch(name)
    if match is None:
        return name, SourceSettings()
    try:
        return match[1], SourceSettings(**dict(parse_qsl(match[2], keep_blank_values=True)))
    except ValidationError as error:
        raise FocusError(f"{name}: {plain_settings_error(error, flags=False)}") from error

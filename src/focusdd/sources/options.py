"""Settings of a source as a part of its name, so that whoever opens the name again reads it alike."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode

from pydantic import ValidationError

from focusdd.core.errors import FocusError, plain_settings_error
from focusdd.settings.source import SourceSettings

_PART = rf"(?:{'|'.join(SourceSettings.model_fields)})=[^&?]*"
_NAMED = re.compile(rf"(.+)\?({_PART}(?:&{_PART})*)", re.DOTALL)


def with_options(name: str, settings: SourceSettings | None) -> str:
    """The name with what a user set beside it."""
    given = settings.model_dump(exclude_unset=True, exclude_none=True) if settings else {}
    return f"{name}?{urlencode(given)}" if given else name


def validation_name(val: str | None, source: str, settings: SourceSettings | None) -> str:
    """The name of the validation images: of `val`, which is whole, or of the source's own."""
    if val is None or val == source or settings is None:
        return with_options(source, settings)
    whole = settings.model_fields_set - {"holdout", "holdout_seed"}
    return with_options(val, SourceSettings(**settings.model_dump(include=whole)))


def split_options(name: str) -> tuple[str, SourceSettings]:
    """A name without its settings, and these. Raises FocusError where one has no such value."""
    match = _NAMED.fullmatch(name)
    if match is None:
        return name, SourceSettings()
    try:
        return match[1], SourceSettings(**dict(parse_qsl(match[2])))
    except ValidationError as error:
        raise FocusError(f"{name}: {plain_settings_error(error)}") from error


def refuse_options(name: str, settings: SourceSettings, kind: str, *used: str) -> None:
    """Raises FocusError where a setting that the user gave means nothing to this kind of source."""
    for option in sorted(settings.model_fields_set - {"holdout", "holdout_seed", *used}):
        raise FocusError(f"--{option.replace('_', '-')} means nothing for {name}, {kind}: leave it out")

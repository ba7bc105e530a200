"""Settings that mean nothing to a kind of source."""

from __future__ import annotations

from focusdd.core.errors import FocusError
from focusdd.settings.source import SourceSettings


def refuse_options(name: str, settings: SourceSettings, kind: str, *used: str) -> None:
    """Raises FocusError where a setting that the user gave means nothing to this kind of source."""
    for option in sorted(settings.model_fields_set - {"holdout", "holdout_seed", *used}):
        raise FocusError(
            f"--{option.replace('_', '-')} means nothing for {name}, {kind}: leave it out, or say it in the "
            f"name of the source that it is for, as in 'SOURCE?{option}={getattr(settings, option)}'"
        )

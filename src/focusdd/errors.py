"""What a user did wrong, in one sentence with the remedy."""

from __future__ import annotations

from pydantic import ValidationError


class FocusError(ValueError):
    """A mistake in the input, the settings or the surroundings: one sentence, no traceback, exit code 2."""


class InUse(FocusError):
    """Another process works on the folder."""


def plain_settings_error(error: ValidationError) -> FocusError:
    """Turns pydantic's report into one line that names each setting, its value and what is allowed."""
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "settings"
        given = "" if item["type"] == "missing" else f", got {item['input']!r}"
        lines.append(f"{name}: {item['msg'][0].lower()}{item['msg'][1:]}{given}")
    return FocusError("; ".join(lines))

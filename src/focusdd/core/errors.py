"""What a user did wrong, in one sentence with the remedy."""

from __future__ import annotations

import errno
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from focusdd.core.spelling import spelled

if TYPE_CHECKING:
    from pydantic import ValidationError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class FocusError(ValueError):
    """A mistake in the input, the settings or the surroundings: one sentence, no traceback, exit code 2."""

    def __init__(self, sentence: str) -> None:
        super().__init__(spelled(sentence))


class InUse(FocusError):
    """Another process works on the folder."""


class OtherOutput(FocusError):
    """The folder holds what was made with other settings, from other inputs or by another command."""


def plain_settings_error(error: ValidationError, flags: bool = True) -> FocusError:
    """Turns pydantic's report into one line that names each setting, its value and what is allowed.

    Args:
        flags: settings are named as flags, else by their own names.
    """
    lines = []
    for item in error.errors():
        # of a list, the setting and not the place in it
        name = ".".join(map(str, takewhile(lambda part: isinstance(part, str), item["loc"])))
        shown = f"--{name.replace('_', '-')}" if flags else name
        where = f"{shown}: " if name else ""
        if item["type"] == "value_error":  # in our own words
            lines.append(f"{where}{item['ctx']['error']}")
            continue
        given = "" if item["type"] == "missing" else f", got {item['input']!r}"
        lines.append(f"{where}{item['msg'][0].lower()}{item['msg'][1:]}{given}")
    return FocusError("; ".join(dict.fromkeys(lines)))


def write_error(path: Path | str, error: OSError, what: str = "") -> FocusError:
    """What keeps a file or a folder from being written, with the remedy; `what`: it cannot be, in words."""
    said = f"{what or f'{path} cannot be written'} ({error.strerror or error})"
    folder = Path(path).parent
    if error.errno in _FULL:
        said += (
            f": free some space on the disk of {folder} and run the same command again, or use another disk"
        )
    elif error.errno in _FORBIDDEN:
        said += f": make {folder} writable and run the same command again, or use another folder"
    elif error.errno in _IN_THE_WAY:
        said += ": move away what is in its place, or use another folder"
    return FocusError(said)


def no_room(error: OSError) -> bool:
    """Whether a disk is full or takes nothing."""
    return error.errno in (*_FULL, errno.EROFS)


def plain_os_error(error: OSError) -> FocusError:
    """Turns what the system says of a file, or of standard output where it names none, into a sentence."""
    if no_room(error):
        return write_error(error.filename or "standard output", error)
    return FocusError(f"{error.filename or 'a file'}: {error.strerror or error}")

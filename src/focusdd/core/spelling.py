"""How messages name settings. They are written with flags, --ratio 0.1; Python's callers read ratio=0.1."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_FLAG = re.compile(r"(?<![\w-])--([a-z][\w.-]*\w)(:| [a-z][\w-]*| [A-Z]{2,}\b| \d+(?:\.\d+)?| \.\.\.)?")
_spellings: list[Callable[[str, str], str]] = []


@contextmanager
def spelling(of: Callable[[str, str], str]) -> Iterator[None]:
    """Names settings in the messages of the block by `of`, unless an outer block has its own way.

    Args:
        of: (name without dashes, the word or the colon after it) -> both, as the reader writes them.
    """
    _spellings.append(of)
    try:
        yield
    finally:
        _spellings.remove(of)


def spelled(message: str) -> str:
    """A message for its reader. Between backticks stand whole commands, which stay as they are."""
    if not _spellings or "--" not in message:
        return message
    parts = message.split("`")
    parts[::2] = [
        _FLAG.sub(lambda found: _spellings[0](found[1], found[2] or ""), text) for text in parts[::2]
    ]
    return "`".join(parts)


def place(name: str, known: Iterable[str]) -> str | None:
    """What a caller has for a setting of this name: in a group, as distill.grid, or in none."""
    last = name.rpartition(".")[2]
    found = [one for one in known if one.rpartition(".")[2] == last]
    return next((one for one in (name, last, *found) if one in found), None)

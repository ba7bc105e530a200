"""How messages name settings and count things.

Settings are written with flags, --ratio 0.1; Python's callers read ratio=0.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

# a word of its own: "photos/--size" and "--size/a.jpg" are names of files
_FLAG = re.compile(
    r"(?<![^\s(])--([a-z][\w.-]*\w)(?![.-]*[\w/\\])"
    r"(:| [a-z][\w-]*| [A-Z]{2,}\b| \d+(?:\.\d+)?| \.\.\.)?"
)
_GIVEN = re.compile(r"""(`[^`]*`|(?<!\w)'[^']*'(?!\w)|"[^"]*")""")
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
    """A message for its reader. Whole commands, in backticks, and what is quoted stay as they are."""
    if not _spellings or "--" not in message:
        return message
    parts = _GIVEN.split(message)
    parts[::2] = [
        _FLAG.sub(lambda found: _spellings[0](found[1], found[2] or ""), text) for text in parts[::2]
    ]
    return "".join(parts)


def number_of(count: int, one: str, more: str = "") -> str:
    """A count with its noun; `more`: the plural, where it has no plain s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def place(name: str, known: Collection[str]) -> str | None:
    """What a caller has for a setting of this name: in a group, as distill.grid, in none, or as a list."""
    last = name.removeprefix(f"{owner(name)}.")
    found = [one for one in known if one.rpartition(".")[2] == last]
    return next((one for one in (name, last, *found, f"{last}s") if one in known), None)


def owner(name: str) -> str:
    """The command that has a setting, where a name such as train.lr says so; else nothing."""
    group = name.partition(".")[0]
    return group if group in ("extract", "distill", "fit", "train") else ""

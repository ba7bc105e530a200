"""Flags that have another name now: the old one works, and a sentence says the new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import isclass
from typing import Any, get_args, get_type_hints

from cyclopts import App

from focusdd.core.console import warn


def renamed_flags(command: App) -> dict[str, str]:
    """Old flags of a command and what they are called now, as `renamed` of its settings tells."""
    from focusdd.settings import Settings  # late: help of the whole program needs none

    def of(tree: Any, prefix: str) -> Iterator[tuple[str, str]]:
        if isclass(tree) and issubclass(tree, Settings):
            for old, new in tree.renamed.items():
                yield prefix + old.replace("_", "-"), prefix + new.replace("_", "-")
            for name, field in tree.model_fields.items():
                yield from of(field.annotation, f"{prefix}{name}.")

    hints = get_type_hints(command.default_command).values() if command.default_command else ()
    return {old: new for hint in hints for tree in (hint, *get_args(hint)) for old, new in of(tree, "--")}


def with_new_names(app: App, words: Sequence[str]) -> list[str]:
    """A command line whose renamed flags have their new names; says each of them."""
    command = command_in(app, words)
    names = renamed_flags(command) if command is not app else {}
    return [_new(word, names) for word in words]


def command_in(app: App, words: Sequence[str]) -> App:
    """The command that a command line begins with; the program itself where it begins with none."""
    for word in words:
        if word.startswith("-") or word not in list(app):
            break
        app = app[word]
    return app


def _new(word: str, names: dict[str, str]) -> str:
    flag, equals, value = word.partition("=")
    new = flag
    for old in names:  # --views.fit was --extract.fit before it was --extract.resize
        if new == old or new.startswith(f"{old}."):
            new = names[old] + new[len(old) :]
    if new == flag:
        return word
    warn(f"{flag} is called {new} now: the old name will go away")
    return new + equals + value

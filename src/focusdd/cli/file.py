"""The settings file: every name in it is a command or a flag of one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

from cyclopts import App

from focusdd.cli.renamed import renamed_flags
from focusdd.core.errors import FocusError

FILE = "focusdd.toml"  # in the current folder


def check_file(app: App, path: Path | None = None) -> None:
    """Raises FocusError where the file cannot be read, or holds a name that nothing has."""
    path = path or Path(FILE)
    if not path.exists():
        return
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FocusError(f"{path} is no TOML file: {error}") from error
    _check(app, tables, (), path)


def _check(app: App, table: dict[str, Any], above: tuple[str, ...], path: Path) -> None:
    from focusdd.settings.base import unknown_name

    commands = [name for name in app if not name.startswith("-")]
    if not commands:
        arguments = [one for one in app.assemble_argument_collection() if one.name.startswith("--")]
        groups = tuple(one.name.rpartition(".")[0] for one in arguments)
        known = {_plain(one.name): one for one in arguments if one.name not in groups}
        hints = {name: one.field_info.hint for name, one in known.items()}
        dicts = [
            name for name, hint in hints.items() if get_origin(getattr(hint, "__origin__", hint)) is dict
        ]
        open_ended = tuple(f"{name}." for name in dicts) or ("\0",)
        for name in _flat(table):
            if _plain(name) not in known and not _plain(name).startswith(open_ended):
                renamed = {_plain(old): _plain(new) for old, new in renamed_flags(app).items()}
                sentence = unknown_name(_plain(name), known, renamed)
                raise FocusError(f"{path}, [{'.'.join(above)}]: {sentence}")
        return
    for name, value in table.items():
        if not isinstance(value, dict):
            raise FocusError(f"{path}: {name} is in no command's table: put it below [distill] or another")
        if name not in commands:
            where = f"{path}, [{'.'.join(above)}]" if above else f"{path}"
            raise FocusError(f"{where}: {unknown_name(name, commands, noun='command')}")
        _check(app[name], value, (*above, name), path)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Names of the values, with those of the tables that they stand in."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _plain(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")

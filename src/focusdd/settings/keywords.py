"""Settings as keywords: `distill("photos", "tiny", ipc=10)` instead of `DistillSettings(ipc=10)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial, wraps
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from focusdd.core.errors import FocusError, plain_settings_error
from focusdd.core.spelling import owner, place, spelling
from focusdd.settings.base import Settings, unknown_name
from focusdd.settings.source import SourceSettings

R = TypeVar("R")


def with_keywords(**trees: type[Settings]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Lets a function take the fields of its settings as keywords, beside or instead of settings objects.

    Args:
        trees: the type of each parameter that holds settings. The first of them is built where it is not
            given.

    Raises:
        FocusError: on the call: an unknown keyword, or a value that a setting does not take.
    """

    def wrap(function: Callable[..., R]) -> Callable[..., R]:
        signature = inspect.signature(function)
        own = signature.parameters
        fields = {name: key for key, tree in reversed(trees.items()) for name in tree.model_fields}

        kinds = {name: one.annotation for name, one in own.items()}
        kinds |= {name: kind for tree in reversed(trees.values()) for name, kind in _kinds(tree)}

        @wraps(function)
        @spelling(partial(_keyword, kinds))
        def call(*args: Any, **given: Any) -> R:
            keywords: dict[str, dict[str, Any]] = {key: {} for key in trees}
            for name in [name for name in given if name not in own]:
                if name not in fields:
                    renamed = {old: new for tree in trees.values() for old, new in tree.renamed.items()}
                    raise FocusError(unknown_name(name, fields | dict(own), renamed))
                keywords[fields[name]][name] = given.pop(name)
            try:
                bound = signature.bind_partial(*args, **given).arguments
            except TypeError as error:
                raise FocusError(f"{function.__name__}: {error}") from error
            for number, (key, tree) in enumerate(trees.items()):
                value = bound.get(key)
                if value is not None and not isinstance(value, Settings):  # engine="ray"
                    keywords[key][key], value = value, None
                if keywords[key] or (value is None and not number):
                    bound[key] = _built(tree, value, keywords[key])
            missing = [name for name, one in own.items() if one.default is one.empty and name not in bound]
            if missing:
                raise FocusError(f"{function.__name__} needs {' and '.join(missing)}")
            return function(**bound)

        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=field.annotation)
            for name in fields
            if name not in own
            for field in [trees[fields[name]].model_fields[name]]
        ]
        call.__signature__ = signature.replace(parameters=[*own.values(), *more])  # type: ignore[attr-defined]
        return call

    return wrap


def _kinds(tree: type[Settings], group: str = "", others: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """The types of settings by name, of those in a group with its name before theirs; not of `others`."""
    for name, field in tree.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from _kinds(field.annotation, f"{name}.", tree.own.get(name, ()))
        elif name not in others:
            yield group + name, field.annotation


def _keyword(kinds: Mapping[str, Any], flag: str, after: str) -> str:
    """A flag and the word after it as a keyword of a function whose parameters have these types."""
    plain, word = flag.replace("-", "_"), after.strip()
    name = place(plain, kinds)
    off = name is None and plain.rpartition(".")[2].startswith("no_")
    if off:
        name = place(plain.replace("no_", "", 1), kinds)
    if name is None and plain in SourceSettings.model_fields and not word.islower():
        return f"'?{plain}={word or '...'}' at the end of its name"
    if name is None and (other := owner(plain)):
        return f"{plain.removeprefix(f'{other}.')}{after} of focusdd.{other}"
    if name is None or after == ":":
        return f"{name or '--' + flag}{after}"
    kind, value = kinds[name], word
    if kind in (bool, "bool"):
        value, rest = str(not off), after
    elif word in _choices(kind):
        value, rest = f"[{word!r}]" if get_origin(kind) is tuple else repr(word), ""
    elif word.islower():
        value, rest = "", after
    else:
        rest = ""
    group, _, last = name.rpartition(".")
    return (f"{group}={{{last!r}: {value or '...'}}}" if group else f"{last}={value}") + rest


def _choices(kind: Any) -> tuple[Any, ...]:
    """The words that a type allows."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(word for part in get_args(kind) for word in _choices(part))


def _built(tree: type[Settings], base: Settings | None, keywords: dict[str, Any]) -> Settings:
    given = {} if base is None else {name: getattr(base, name) for name in base.model_fields_set}
    try:
        return tree(**given | keywords)
    except ValidationError as error:
        raise plain_settings_error(error) from error

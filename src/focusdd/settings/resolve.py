"""Settings, resolved once: derived defaults filled in, and what has no effect known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from focusdd.core.console import warn
from focusdd.settings.base import Derived, NotInKey, Only, OnlyRanked, Settings

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Resolved(Generic[S]):
    """Settings as loops, keys and results take them."""

    settings: S
    """With every derived default; a value that is None has no effect."""
    key: dict[str, Any]
    """By name, the values that the result depends on."""
    idle: dict[str, str]
    """By name, why a setting has no effect, such as "method view"."""

    @property
    def remarks(self) -> list[str]:
        """A sentence for every setting that the user gave and that has no effect."""
        return idle_in_all(self.settings, [self])


def resolve(settings: S, /, **facts: Any) -> Resolved[S]:
    """Fills in what the user did not say, and finds what has no effect.

    Args:
        facts: what settings depend on beside each other, as Only and Derived name it. A fact called like a
            setting is its default. In remarks the value of a fact stands as it is.
    """
    fields = type(settings).model_fields
    values = {name: getattr(settings, name) for name in fields}
    for name, field in fields.items():
        if values[name] is None:
            marks = [mark for mark in field.metadata if isinstance(mark, Derived)]
            values[name] = facts[name] if name in facts else marks[0].by(facts | values) if marks else None
    reasons = {name: _reason(name, settings, values, facts) for name in fields}
    idle = {name: reason for name, reason in reasons.items() if reason}
    filled = settings.model_construct(_fields_set=set(settings.model_fields_set), **values)
    absent = {name for name in idle if _reason(name, settings, values, facts, keyed=True)}
    dumped = filled.model_dump(exclude=absent | _hidden(settings), exclude_none=True)
    return Resolved(filled, dumped, idle)


def resolve_and_warn(settings: S, /, **facts: Any) -> Resolved[S]:
    """`resolve`, and says which of the user's settings have no effect."""
    resolved = resolve(settings, **facts)
    for remark in resolved.remarks:
        warn(remark)
    return resolved


def idle_in_all(given: Settings, runs: Sequence[Resolved[Any]], group: str = "") -> list[str]:
    """A sentence for every setting that the user gave and that has no effect in any of several runs.

    Args:
        group: what stands before the names on the command line, such as "train.".
    """
    names = given.model_fields_set.intersection(*(run.idle for run in runs)) if runs else set()
    flags = [(flag(name, getattr(given, name)), runs[0].idle[name]) for name in sorted(names)]
    sentences = [f"--{group}{one[2:]} has no effect with {reason}" for one, reason in flags]
    return [sentence.replace("with no --", "without --") for sentence in sentences]


def not_given(settings: S) -> S:
    """The same values, none of which counts as given by the user: nothing is remarked on them again."""
    return settings.model_construct(_fields_set=set(), **dict(settings))


def record(settings: Settings) -> dict[str, Any]:
    """All values that a result file tells, with or without effect: not devices, and no names of models."""
    return settings.model_dump(exclude=_hidden(settings))


def _hidden(settings: Settings) -> set[str]:
    return {name for name, field in type(settings).model_fields.items() if NotInKey in field.metadata}


def flag(name: str, value: Any = None) -> str:
    """How a setting is called on the command line, where it has this value."""
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def _reason(
    name: str, settings: Settings, values: Mapping[str, Any], facts: Mapping[str, Any], keyed: bool = False
) -> str:
    """Why a setting has no effect, or with `keyed` is in no key; nothing if it has, or is."""
    for mark in type(settings).model_fields[name].metadata:
        ranked = isinstance(mark, OnlyRanked)
        if not isinstance(mark, Only) or (ranked and keyed):
            continue
        failed, held = [], False
        for other, allowed in mark.where.items():
            if other in values:
                if _reason(other, settings, values, facts):
                    continue
                value, words = values[other], _shown(other, values[other])
            elif other in facts:
                value, words = facts[other], str(facts[other])
            else:
                continue
            if allowed(value) if callable(allowed) else value in allowed:
                held = True
            else:
                failed.append(words)
        if failed and not (ranked and held):
            return " and ".join(failed) if ranked else failed[0]
    return ""


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag(name, value)
    if value in (None, ""):
        return f"no {flag(name)}"
    words = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"{name.replace('_', ' ')} {words:g}" if isinstance(value, float) else f"{name} {words}"

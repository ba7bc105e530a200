"""Flags that have another name now: the old one works, and a sentence says the new one."""

from __future__ import annotations

from collections.abc import Sequence

from focusdd.core.console import warn

_READING = {
    "--views.": "--extract.",
    "--views.fit": "--extract.resize",
    "--extract.fit": "--extract.resize",
}
# command: old flag (or the start of one, with a dot) -> new one
RENAMED = {
    "extract": {"--fit": "--resize"},
    "distill": {"--fit": "--resize"},
    "label": {
        "--labels": "--kind",
        "--mixup": "--mix-prob",
        "--places": "--dense",
        "--views": "--num-crops",
    },
    "fit": {"--mixup": "--mix-prob"},
    "train": {"--mixup": "--mix-prob", "--regions": "--dense-weight"},
    "compare": {
        **_READING,
        "--train.mixup": "--train.mix-prob",
        "--train.regions": "--train.dense-weight",
    },
    "detect distill": {"--fit": "--resize"},
    "detect compare": _READING,
}


def with_new_names(words: Sequence[str]) -> list[str]:
    """A command line whose renamed flags have their new names; says each of them."""
    command = " ".join(words[: 2 if words[:1] == ["detect"] else 1])
    return [_new(word, RENAMED.get(command, {})) for word in words]


def _new(word: str, names: dict[str, str]) -> str:
    flag, equals, value = word.partition("=")
    old = (
        flag
        if flag in names
        else next((name for name in names if name[-1] == "." and flag.startswith(name)), "")
    )
    if not old:
        return word
    new = names[old] + flag[len(old) :]
    warn(f"{flag} is called {new} now: the old name will go away")
    return new + equals + value

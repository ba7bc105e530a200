"""What a finished stage is made of: name, size and hash of each of its files, in its `done.json`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.core.expected import command_of
from focusdd.core.files import digest_of, known_in, read_json, write_json

CARD = "README.md"  # people edit it, and labels add to it: it has to be there, whatever it says

_IN_PYTHON = (
    *("extract", "distill", "subset", "fit", "label", "train"),
    *("detect distill", "detect subset", "detect train"),
)
"""Stages that have a public function of their name."""


def manifest_of(out: Path, names: Iterable[str]) -> dict[str, Any]:
    """The manifest of files of a folder. Raises FocusError when one of them is missing."""
    return {name: _entry(out, name) for name in sorted(names)}


def _entry(out: Path, name: str) -> dict[str, Any]:
    path = out / name
    if not path.is_file():
        raise FocusError(f"{path} has gone while it was being made: run the same command again")
    return {} if name == CARD else {"bytes": path.stat().st_size, "sha256": digest_of(path)}


def damaged(out: Path, manifest: dict[str, Any], hashes: bool = False) -> list[str]:
    """The files of a manifest that are missing or changed, by size or, with `hashes`, by content."""

    def whole(name: str, known: dict[str, Any]) -> bool:
        path = out / name
        if not known or not path.is_file():
            return path.is_file()
        return path.stat().st_size == known["bytes"] and (not hashes or digest_of(path) == known["sha256"])

    return [name for name, known in manifest.items() if not whole(name, known)]


def require_finished(out: Path, stages: tuple[str, ...], what: str, command: str) -> None:
    """Checks that a folder is the finished output of a stage.

    Args:
        stages: its possible names, where "*" stands for any task.
        what: the output, in words.
        command: what makes one.

    Raises:
        FocusError: it is not, or it is unfinished or damaged; with a command that helps.
    """
    known = known_in(out / "done.json") or known_in(out / "stage.json")
    if not known:
        raise FocusError(f"{out} is not {what}: make one with `{command}`")
    if not any(fnmatchcase(str(known.get("stage")), stage) for stage in stages):
        made = f"is made by `focusdd {known.get('stage')}`"
        raise FocusError(f"{out} {made} and is not {what}: make one with `{command}`")
    require_whole(out)


def require_whole(out: Path, hashes: bool = False) -> None:
    """Raises FocusError, with the command that helps, for a stage that is unfinished, or whose files are
    missing or changed.
    """
    if not (done := known_in(out / "done.json")):
        raise FocusError(f"{out} is unfinished: {remedy_for(out)}")
    # those of earlier versions and of other programs hold no manifest
    odd = damaged(out, done.get("files", {}), hashes)
    if odd:
        state = "changed or cut short" if (out / odd[0]).is_file() else "missing"
        raise FocusError(f"{out / odd[0]} is {state}: {remedy_for(out)}")


def remedy_for(out: Path) -> str:
    """What makes the missing part of a stage, in words: the very command where it is known."""
    command = known_in(out / "run.json").get("command") or command_of(out)
    stage = str(known_in(out / "stage.json").get("stage", ""))
    if command:
        return f"run `{_moved(command, stage, out)}` again"
    call = f": {_call(stage, out)}" if stage in _IN_PYTHON else ""
    return f"run the command that made it again{call}"


def _call(stage: str, out: Path) -> str:
    """The function that fills the folder of a stage, as called in Python."""
    if stage == "label":
        return f"focusdd.label({str(out.resolve().parents[1])!r}, ...)"
    return f"focusdd.{stage.replace(' ', '.')}(..., out={str(out)!r})"


def _moved(command: str, stage: str, out: Path) -> str:
    """A command, with the folder that its output is in now in place of the one that it was made in."""
    words = shlex.split(command)
    labels = words[1:2] == ["label"]  # which fills a folder of the dataset that it is given
    if labels:
        at, prefix = 2, ""
    else:
        at = next((n for n, word in enumerate(words) if word.partition("=")[0] == "--out"), len(words))
        prefix = "--out=" if at < len(words) and "=" in words[at] else ""
        at += not prefix
    if at >= len(words) or (words[at].startswith("-") and not prefix):
        return command
    old, here = Path(words[at].removeprefix(prefix)), out.resolve()
    if old.resolve() in (here, *here.parents):
        return command
    if labels:
        now = here.parents[1]
    elif " ".join(words[1:]).startswith(f"{stage} "):
        now = out
    else:  # a part of what `run` or `compare` made
        now = next((folder for folder in out.parents if folder.name == old.name), old)
    return shlex.join([*words[:at], f"{prefix}{now}", *words[at + 1 :]])


def update_manifest(out: Path, name: str) -> None:
    """Notes in `done.json` what a file of a finished stage is now."""
    done = read_json(out / "done.json")
    if name in done.get("files", {}):
        done["files"][name] = _entry(out, name)
        write_json(out / "done.json", done)

"""Stages: files are the protocol.

A stage fills a folder. `stage.json` is written first and says what is being made: the stage's name and
version, its settings, the keys of its inputs, the key made of all these, and the files that will be there.
`done.json` is written last and closes the stage with the manifest of these files; what only an unfinished
stage needs goes after it. So a killed stage resumes, a changed setting is noticed and named instead of
silently mixed in, and what is missing or changed is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from focusdd.core.console import say, warn
from focusdd.core.distributed import world_size
from focusdd.core.errors import FocusError, OtherOutput
from focusdd.core.files import hash_of, known_in, read_json, remove, remove_empty, sweep, write_json
from focusdd.core.lock import LOCK, locked
from focusdd.core.manifest import damaged, manifest_of
from focusdd.core.run_record import RunRecord
from focusdd.core.spelling import number_of
from focusdd.core.version import __version__

_TOGETHER = ("train", "fit")  # stages that the processes of a torchrun work on as one
_INSIDE = ("label",)  # stages whose command has no --out: they fill a folder of another output
_INPUTS = {
    "source": "the source's images (or --holdout)",
    "val": "the validation images",
    "distilled": "the distilled dataset",
}
"""What inputs are called where they differ."""
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Stage:
    """What a command makes, by everything that the result depends on."""

    name: str
    version: int
    settings: dict[str, Any]
    """What changes the result, and nothing else: not the device, the batch of an inference, the workers."""
    inputs: dict[str, str]
    """Name -> key or fingerprint of what is read."""
    scratch: tuple[str, ...] = ()
    """Files and folders that only an unfinished stage needs."""

    @property
    def about(self) -> dict[str, Any]:
        names = {"stage": self.name, "version": self.version}
        return names | {"settings": self.settings, "inputs": self.inputs}

    @property
    def key(self) -> str:
        return hash_of(self.about)


@dataclass(frozen=True)
class Workspace:
    """The folder of a stage while it is being filled."""

    out: Path
    key: str
    record: RunRecord

    def declare(self, files: Iterable[str]) -> None:
        """Says which files the finished stage will hold, by their names below `out`, before they are made."""
        write_json(self.out / "stage.json", read_json(self.out / "stage.json") | {"files": sorted(files)})


Make = Callable[[Workspace], dict[str, Any]]
"""make(workspace): declares the files of the stage, makes those that are missing, and returns figures that
depend on the inputs alone."""


def run_stage(
    stage: Stage, out: Path | str, make: Make, overwrite: bool = False, record: RunRecord | None = None
) -> Path:
    """Fills the folder `out`, unless it is complete; goes on where an earlier run was interrupted.

    Files of a complete stage that are missing or changed are made again, and only they. When `make` fails
    before it has made anything, nothing is left behind.

    Args:
        overwrite: make a complete stage anew, and throw away what another run of focusdd left in `out`.
        record: of a run that has begun already.

    Returns:
        `out`.

    Raises:
        FocusError: `out` holds something else, was made with other settings, is in use or cannot be written;
            or several processes of a torchrun make a stage that they cannot share; and what `make` raises.
    """
    if world_size() > 1 and stage.name not in _TOGETHER:
        raise FocusError(f"focusdd {stage.name} runs in one process: start it without torchrun")
    out, record = Path(out), record or RunRecord()
    with locked(out):
        _prepare(stage, out, overwrite)
        sweep(out)
        known, repair = read_json(out / "stage.json"), (out / "done.json").exists()
        if repair:
            if _is_whole(out):
                _remove_scratch(stage, out)
                say(f"{out} is complete already: nothing to do")
                return out
            (out / "done.json").unlink()
        elif any((out / name).exists() for name in (*known.get("files", ()), *stage.scratch)):
            record.note(resumed=True)
        try:
            counts = make(Workspace(out, stage.key, record))
        except BaseException:
            if not _has_begun(out):
                discard(out)
            raise
        if not (repair and (out / "run.json").exists()):  # it tells what all of it cost
            record.write(out)
        description = read_json(out / "stage.json")
        write_json(
            out / "done.json",
            description | {"counts": counts, "files": manifest_of(out, description["files"])},
        )
        _remove_scratch(stage, out)
        sweep(out)  # a worker that died as it wrote leaves what it had
    return out


def overwrite_if_other(make: Callable[..., _Made], overwrite: bool) -> _Made:
    """make(), and with `overwrite` make(overwrite=True) where that finds the output of other settings.

    For a stage that is part of a larger whole: what fits of it is kept.
    """
    try:
        return make()
    except OtherOutput:
        if not overwrite:
            raise
        return make(overwrite=True)


def stage_in(out: Path) -> dict[str, Any] | None:
    """What stage.json says; None without one, or when it is another program's."""
    stage = known_in(out / "stage.json")
    return stage if {"focusdd", "stage", "key"} <= stage.keys() else None


def discard(out: Path) -> None:
    """Removes what focusdd has made in a folder, and nothing else.

    Whenever it is killed, the rest is still known as an unfinished stage.

    Raises:
        FocusError: it was made by a version that kept no list of its files.
    """
    known, begun = stage_in(out) or {}, _has_begun(out)
    if begun and "files" not in known:
        raise FocusError(
            f"{out} was made by focusdd {known.get('focusdd')}, which kept no list of its files: remove the "
            "folder yourself, or use another --out"
        )
    (out / "done.json").unlink(missing_ok=True)
    files = _inside(out, [*known.get("files", ()), "run.json"])
    for path in files:
        if not path.is_dir():
            path.unlink(missing_ok=True)
    for path in _inside(out, known.get("scratch", ())):
        remove(path)
    folders = {path.parent for path in files} if begun else {path for path in out.rglob("*") if path.is_dir()}
    for folder in folders:
        remove_empty(folder, out)
    (out / "stage.json").unlink(missing_ok=True)


def _inside(out: Path, names: Iterable[str]) -> list[Path]:
    """Files by their names below a folder, without names that lead out of it: a list may be anybody's."""
    root, found = out.resolve(), []
    for path in (out / name for name in names if ".." not in Path(name).parts):
        folder = path.parent.resolve()
        if path != out and root in (folder, *folder.parents):
            found.append(path)
    return found


def _prepare(stage: Stage, out: Path, overwrite: bool) -> None:
    """Makes a folder that of a stage, where it is empty, this stage's already, or may be replaced."""
    made_by = {"focusdd": __version__, "key": stage.key}
    description = stage.about | made_by | {"scratch": list(stage.scratch), "files": []}
    if before := stage_in(out):
        if before["key"] == stage.key:
            if not (overwrite and (out / "done.json").exists()):
                return
        elif _has_begun(out) and not overwrite:
            remedy = "use --overwrite" if stage.name in _INSIDE else "use another --out, or --overwrite"
            raise OtherOutput(f"{out} {_difference(before, description)}: {remedy}")
        discard(out)
    elif foreign := sorted(path.name for path in out.iterdir() if path.name != LOCK):
        remedy = "move it elsewhere" if stage.name in _INSIDE else "use another --out"
        raise FocusError(
            f"{out} is not empty and was not made by focusdd {stage.name} (it holds {foreign[0]!r}): {remedy}"
        )
    write_json(out / "stage.json", description)


def _has_begun(out: Path) -> bool:
    """Whether a stage has made anything."""
    return any(path.name not in ("stage.json", LOCK) for path in out.rglob("*") if not path.is_dir())


def _is_whole(out: Path) -> bool:
    """Checks the files of a complete stage; removes those that have changed, so that they are made again."""
    if not (done := known_in(out / "done.json")):
        warn(f"{out / 'done.json'} cannot be read: it is made again, with what is missing")
        return False
    odd = damaged(out, done.get("files", {}), hashes=True)
    for path in _inside(out, odd):
        if not path.is_dir():
            path.unlink(missing_ok=True)
    run = out / "run.json"
    if run.exists() and not known_in(run):
        warn(f"{run} cannot be read and is removed: nothing else tells what {out} cost")
        run.unlink()
    if odd:
        are = "is" if len(odd) == 1 else "are"
        files = f"{number_of(len(odd), 'file')} of {out} {are} missing or changed and {are} made again"
        warn(f"{files}, the first: {odd[0]}")
    return not odd


def _remove_scratch(stage: Stage, out: Path) -> None:
    """Removes what only an unfinished stage needs: after `done.json`, lest a kill in between lose it."""
    for name in stage.scratch:
        remove(out / name)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What tells two descriptions of a stage apart, in words."""
    if before.get("stage") != now["stage"]:
        return f"holds the output of another command, {before.get('stage')!r}"
    for part in ("settings", "inputs"):
        old, new = before.get(part, {}), now[part]
        changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        if changed:
            if part == "inputs":  # fingerprints mean nothing to people
                words = [_INPUTS.get(name, f"the {name}") for name in changed]
                return f"was made with other inputs: {', '.join(words)}"
            words = [f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in changed[:3]]
            return f"was made with other {part} ({', '.join(words)})"
    return f"was made by version {before.get('version')} of this stage, now {now['version']}"

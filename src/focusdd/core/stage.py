"""Stage folders: files are the protocol.

A stage is a folder. `stage.json` is written first and says what is being made: the stage's name and version,
its settings, the keys of its inputs, and the key made of all these. Results are written whole (temporary
name, fsync, rename). `done.json` is written last and closes the stage; what only an unfinished stage needs
goes after it. So a killed stage resumes, and a changed setting is noticed and named instead of silently mixed
in.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from focusdd.core.distributed import world_size
from focusdd.core.errors import FocusError, InUse, write_error
from focusdd.core.version import __version__

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes on one folder are then not noticed
    fcntl = None  # type: ignore[assignment]

_TOGETHER = ("train", "fit")  # stages that the processes of a torchrun work on as one
_LOCK = ".focusdd.lock"  # in a folder while a process works on it
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # what write_whole calls a file that is not whole yet


def hash_of(value: Any) -> str:
    """16 hex digits that depend on a JSON-able value alone."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def write_whole(path: Path, data: bytes | str | Iterator[bytes]) -> None:
    """Writes a file so that it is either there in full or not at all.

    Args:
        data: all of it, or one piece after another where all would be too much for memory.

    Raises:
        FocusError: the disk is full, or the place cannot be written to.
    """
    data = data.encode() if isinstance(data, str) else data
    # a name of its own: two processes may write the same file, each whole
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            for piece in [data] if isinstance(data, bytes) else data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def make_folder(path: Path) -> None:
    """Makes a folder and those above it. Raises FocusError when that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error, f"the folder {path} cannot be made") from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole, with a fixed layout."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def csv_text(names: list[str], rows: Iterable[dict[str, Any]]) -> str:
    """A table as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises FocusError with the file's name when that fails."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FocusError(f"there is no {path}") from error
    except (OSError, ValueError) as error:
        raise FocusError(f"{path} cannot be read as JSON ({error})") from error


@dataclass(frozen=True)
class Stage:
    """An output folder being filled, or already complete."""

    out: Path
    name: str
    key: str
    complete: bool
    scratch: tuple[str, ...] = ()

    def finish(self, counts: dict[str, Any]) -> None:
        """Closes the stage with figures that depend on the inputs alone."""
        description = read_json(self.out / "stage.json")
        write_json(self.out / "done.json", {**description, "counts": counts})
        self.clear()
        _sweep(self.out)  # a worker that died as it wrote leaves what it had

    def clear(self) -> None:
        """Removes what only an unfinished stage needs: after `done.json`, lest a kill in between lose it."""
        for name in self.scratch:
            _remove(self.out / name)


@contextlib.contextmanager
def open_stage(
    out: Path,
    name: str,
    version: int,
    settings: dict[str, Any],
    inputs: dict[str, str],
    overwrite: bool,
    scratch: tuple[str, ...] = (),
) -> Iterator[Stage]:
    """Opens `out` for a stage, and holds a lock on it while the block runs.

    Args:
        settings: what changes the result, and nothing else (not the device, not the number of workers).
        inputs: name -> key or fingerprint of what the stage reads.
        overwrite: throw away what another run of focusdd left in `out`.
        scratch: files and folders in `out` that only an unfinished stage needs.

    Raises:
        FocusError: `out` holds something else, was made with other settings, is in use or cannot be written;
            or several processes of a torchrun open a stage that they cannot share.
    """
    if world_size() > 1 and name not in _TOGETHER:
        raise FocusError(f"focusdd {name} runs in one process: start it without torchrun")
    description = {
        "stage": name,
        "version": version,
        "settings": settings,
        "inputs": inputs,
        "focusdd": __version__,
    }
    key = hash_of({part: description[part] for part in ("stage", "version", "settings", "inputs")})
    description["key"] = key
    out = Path(out)
    with locked(out):
        known = out / "stage.json"
        if before := _stage_in(out):
            if before["key"] != key:
                if not overwrite:
                    raise FocusError(
                        f"{out} {_difference(before, description)}: use another --out, or --overwrite"
                    )
                empty(out)
        elif foreign := sorted(path.name for path in out.iterdir() if path.name != _LOCK):
            raise FocusError(
                f"{out} is not empty and was not made by focusdd {name} (it holds {foreign[0]!r}): "
                "use another --out"
            )
        _sweep(out)
        if not known.exists():
            write_json(known, description)
        stage = Stage(out, name, key, (out / "done.json").exists(), scratch)
        if stage.complete:
            stage.clear()
        yield stage


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What tells two descriptions of a stage apart, in words."""
    if before.get("stage") != now["stage"]:
        return f"holds the output of another command, {before.get('stage')!r}"
    for part in ("settings", "inputs"):
        old, new = before.get(part, {}), now[part]
        changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        if changed:
            words = [f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in changed[:3]]
            return f"was made with other {part} ({', '.join(words)})"
    return f"was made by version {before.get('version')} of this stage, now {now['version']}"


def _stage_in(out: Path) -> dict[str, Any] | None:
    """What stage.json says; None without one, or when it is another program's."""
    if not (out / "stage.json").exists():
        return None
    stage = read_json(out / "stage.json")
    return stage if isinstance(stage, dict) and {"focusdd", "stage", "key"} <= stage.keys() else None


def empty(out: Path) -> None:
    """Removes everything; whenever it is killed, the rest is still known as an unfinished stage."""
    (out / "done.json").unlink(missing_ok=True)
    for path in out.iterdir():
        if path.name not in (_LOCK, "stage.json"):
            _remove(path)
    (out / "stage.json").unlink(missing_ok=True)


def _sweep(out: Path) -> None:
    """Removes files that were being written when their process died."""
    for leftover in out.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes a folder and keeps every other process out of it while the block runs.

    Raises:
        FocusError: another process is in it, or it cannot be written to.
    """
    make_folder(out)
    path = out / _LOCK
    try:
        file = _lock(path)
    except BlockingIOError as error:
        raise InUse(f"{out} is in use by another focusdd process: wait for it to end") from error
    except OSError as error:
        raise write_error(path, error, f"the folder {out} cannot be written to") from error
    with file:
        try:
            for leftover in out.iterdir():  # of a run that was killed as it wrote
                if _TEMPORARY.fullmatch(leftover.name):
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            with contextlib.suppress(PermissionError):  # Windows does not remove an open file
                path.unlink(missing_ok=True)


def _lock(path: Path) -> IO[str]:
    """Opens and locks a file; BlockingIOError when another process holds it."""
    while True:
        file = path.open("w")
        try:
            if fcntl is None:
                return file
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:  # a file system without locks
                return file
            # the one who held it may have removed the file since it was opened: then it locks nobody out
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


@dataclass(frozen=True)
class StageStatus:
    """One line of `focusdd status`."""

    path: Path
    stage: str
    state: str
    detail: str


def status(folder: Path | str) -> list[StageStatus]:
    """The stages in a folder and below it, and how far each is, read from files alone."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FocusError(f"there is no folder {folder}")
    found = []
    for description in sorted(folder.rglob("stage.json")):
        out = description.parent
        if (known := _stage_in(out)) is None:
            continue
        stage = known["stage"]
        if (out / "done.json").exists():
            counts = read_json(out / "done.json")["counts"]
            detail = ", ".join(f"{name} {value}" for name, value in counts.items())
            found.append(StageStatus(out, stage, "done", detail))
        else:
            files = len([path for path in out.rglob("*") if path.is_file() and path.name[0] != "."])
            found.append(StageStatus(out, stage, "unfinished", f"{files} files so far"))
    if not found:
        raise FocusError(f"{folder} holds no output of focusdd")
    return found

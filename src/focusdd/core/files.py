"""Files that are there in full or not at all, and the formats that every stage writes."""

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
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError, write_error

# what write_whole calls a file that is not whole yet
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.DOTALL)


def hash_of(value: Any) -> str:
    """16 hex digits that depend on a JSON-able value alone."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes | str | Iterator[bytes]) -> None:
    """Writes a file so that it is either there in full or not at all.

    Args:
        data: all of it, or one piece after another where all would be too much for memory.

    Raises:
        FocusError: the disk is full, or the place cannot be written to.
    """
    data = data.encode() if isinstance(data, str) else data
    # a name of its own: two processes may write the same file, each whole; 255 bytes are the most
    temporary = path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex[:8]}.tmp")
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


def make_folder(path: Path) -> Path:
    """Makes a folder and those above it, or raises FocusError; returns the nearest that was there before."""
    try:
        before = next(one for one in (path, *path.parents) if one.exists())
        path.mkdir(parents=True, exist_ok=True)
        return before
    except OSError as error:
        raise write_error(path, error, f"the folder {path} cannot be made") from error


def json_text(value: Any) -> str:
    """JSON with a fixed layout."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole, with a fixed layout."""
    write_whole(path, json_text(value))


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises FocusError with the file's name when that fails."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FocusError(f"there is no {path}") from error
    except (OSError, ValueError) as error:
        raise FocusError(f"{path} cannot be read as JSON ({error})") from error


def known_in(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty without one, or where it cannot be read."""
    try:
        known = read_json(path)
    except FocusError:
        return {}
    return known if isinstance(known, dict) else {}


def csv_text(names: list[str], rows: Iterable[dict[str, Any]]) -> str:
    """A table as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sweep(folder: Path, deep: bool = True) -> None:
    """Removes files that were being written when their process died; `deep`: in all folders below, too."""
    for leftover in folder.rglob(".*.tmp") if deep else folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty(folder: Path, root: Path) -> None:
    """Removes a folder and those above it, below `root`, as long as they are empty."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty
            return
        folder = folder.parent

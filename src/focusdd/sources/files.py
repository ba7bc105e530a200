"""Files of tables and tars, here or in a store: found by folder, glob or brace range, read by ranges."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import fsspec

from focusdd.core.errors import FocusError
from focusdd.sources.base import SPLITS, is_hidden

SUFFIXES = (".tar", ".parquet")
_COMPRESSED = re.compile(r"\.(tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst|lz4))$", re.IGNORECASE)
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MAGIC = re.compile(r"[*?\[{]")
_MOST = 1_000_000  # files that a pattern may name
_STAMPS = ("ETag", "etag", "blob_id", "md5Hash", "mtime", "LastModified", "last_modified", "created")


class File(NamedTuple):
    """One file; `key` is its path below the folder it was found in, with forward slashes."""

    key: str
    path: str
    size: int
    stamp: str
    """Changes when the file is rewritten: a store's checksum or the time of the last change."""


class Files(NamedTuple):
    """The files of one split, sorted by key, and where they are."""

    fs: Any
    folder: str
    files: tuple[File, ...]


def is_compressed(name: str) -> bool:
    """Whether a name means a compressed tar."""
    return _COMPRESSED.search(name) is not None


def suffix_in(name: str) -> str | None:
    """The suffix of the tables that a folder holds directly, in split folders or in data/; None without.

    A folder that holds folders beside tables is none of tables: a distilled dataset has its plan there.
    """
    fs, folder = _open(name)
    with said(name):
        inside = _below(fs, folder)
        places = [place for names in SPLITS.values() for place in names if inside.get(place) == "directory"]
        places = [f"{folder}/{place}" for place in places] or [folder, f"{folder}/data"]
        for place in places:
            there = inside if place == folder else _below(fs, place)
            found = {kind for file in there for kind in SUFFIXES if file.endswith(kind)}
            if found and "directory" not in there.values():
                return min(found)
    return None


def find_files(name: str, suffix: str, split: str) -> Files:
    """The files that a folder, a glob or a brace range means, of the split where names tell them apart.

    A split is the first word of a file's name or of a folder's below the fixed part of the name, as in
    `train-000.tar` or `validation/0.parquet`. Files that name no split are taken as whichever is asked for.

    Raises:
        FocusError: there are none, one of a range is missing, the store cannot be reached, or the split is
            not among them.
    """
    if is_compressed(name):
        raise FocusError(f"{name} is compressed, so no image in it can be read by itself: unpack it to .tar")
    fs, path = _open(name)
    with said(name):
        in_folder = fs.isdir(path)
        if in_folder:
            folder, infos = path, fs.find(path, maxdepth=2, detail=True)
        elif fs.exists(path):
            folder, infos = path.rpartition("/")[0], {path: fs.info(path)}
        else:
            fixed = _MAGIC.split(path, maxsplit=1)[0]
            folder, infos = fixed.rpartition("/")[0], _matches(fs, path, name)
        files = [_file(path, folder, info) for path, info in infos.items() if path.lower().endswith(suffix)]
    files = [file for file in files if not any(map(is_hidden, file.key.split("/")))]
    if not files:
        raise FocusError(f"there are no {suffix} files at {name}: check the path")
    return Files(fs, folder, tuple(_of_split(sorted(files), split, name, strict=in_folder)))


def places_of(files: Sequence[File]) -> str:
    """The files of a split, for people."""
    return files[0].path if len(files) == 1 else f"{len(files):,} files, {files[0].path} to {files[-1].key}"


def read_range(fs: Any, path: str, start: int, size: int) -> bytes:
    """`size` bytes of a file from `start` on; safe from many threads.

    Raises:
        FocusError: it cannot be read, or is shorter than that.
    """
    if not size:
        return b""
    with said(path):
        data: bytes = fs.cat_file(path, start=start, end=start + size)
    if len(data) != size:
        raise FocusError(f"{path} is shorter than it was when it was listed")
    return data


def read_names(files: Files) -> list[str] | None:
    """The classes that numbers stand for: a line each of classes.txt, or a list (or a table from number to
    name) in classes.json, in the folder of the tables.

    Raises:
        FocusError: such a file is there but not of this form.
    """
    for name in ("classes.txt", "classes.json"):
        path = f"{files.folder}/{name}"
        with said(path):
            if not files.fs.exists(path):
                continue
            data = files.fs.cat_file(path)
        try:
            if name.endswith(".txt"):
                return [line.strip() for line in data.decode("utf-8-sig").rstrip().splitlines()]
            value = json.loads(data)
            if isinstance(value, dict):
                value = [value[str(number)] for number in range(len(value))]
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return value
        except (ValueError, KeyError):
            pass
        raise FocusError(f"{path} does not list class names: put one on a line, or a JSON list of them")
    return None


@contextlib.contextmanager
def said(name: str) -> Iterator[None]:
    """Turns what a file system raises into one sentence; stores raise whatever their client makes them."""
    try:
        yield
    except FocusError:
        raise
    except FileNotFoundError as error:
        raise FocusError(f"there is no {name}: check the path") from error
    except ImportError as error:
        raise FocusError(f"{name} needs a package that is not installed ({error})") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {str(error)[:120]}"
        raise FocusError(f"{name} cannot be read ({reason})") from error


def _open(name: str) -> tuple[Any, str]:
    """The file system of a name and the path in it."""
    if name.startswith("hf://"):
        try:
            import huggingface_hub  # noqa: F401
        except ImportError as error:
            raise FocusError(f'{name} needs the extra hub: pip install "focusdd[hub]"') from error
    with said(name):
        fs, path = fsspec.core.url_to_fs(name)
    return fs, str(path).rstrip("/") or "/"


def _below(fs: Any, folder: str) -> dict[str, str]:
    """Names in a folder -> "file" or "directory"; empty without the folder, hidden ones left out."""
    if not fs.isdir(folder):
        return {}
    entries = [
        (info["name"].rstrip("/").rpartition("/")[2], info["type"]) for info in fs.ls(folder, detail=True)
    ]
    return {name: kind for name, kind in entries if name and not is_hidden(name)}


def _matches(fs: Any, path: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in expand(path):
        if not _MAGIC.search(one):
            if not fs.exists(one):
                raise FocusError(f"there is no {one}: check {name}")
            found[one] = fs.info(one)
        else:
            found |= fs.glob(one, detail=True)
    return found


def expand(pattern: str) -> list[str]:
    """Every name that braces stand for: {000..146} with its zeros, {a,b}; several multiply.

    Raises:
        FocusError: a range that runs backwards, or more than a million names.
    """
    parts, last, total = [], 0, 1
    for match in _BRACES.finditer(pattern):
        parts.append([pattern[last : match.start()]])
        last = match.end()
        first, end, words = match.groups()
        if words is not None:
            parts.append(words.split(","))
        else:
            count = int(end) - int(first) + 1
            if count < 1:
                raise FocusError(f"the range {match[0]} in {pattern} runs backwards")
            if count > _MOST:
                raise FocusError(f"the range {match[0]} in {pattern} names more than {_MOST:,} files")
            width = len(first) if first[0] == "0" or len(first) == len(end) else 0
            parts.append([f"{number:0{width}d}" for number in range(int(first), int(end) + 1)])
    parts.append([pattern[last:]])
    total = math.prod(len(part) for part in parts)
    if total > _MOST:
        raise FocusError(f"{pattern} names more than {_MOST:,} files")
    return ["".join(choice) for choice in itertools.product(*parts)]


def _file(path: str, folder: str, info: dict[str, Any]) -> File:
    key = path[len(folder) :].lstrip("/")
    stamp = next((str(info[name]) for name in _STAMPS if info.get(name) is not None), "")
    return File(key, path, int(info["size"]), stamp)


def _of_split(files: list[File], split: str, name: str, strict: bool) -> list[File]:
    """Those of the split. Where `strict`, files that are all of one split are of no other."""
    told: dict[str, list[File]] = {}
    for file in files:
        words = (re.split(r"[^a-z]", part.lower(), maxsplit=1)[0] for part in file.key.split("/"))
        word = next((word for word in words if any(word in names for names in SPLITS.values())), "")
        told.setdefault(word, []).append(file)
    if list(told) == [""] or (not strict and len(told) == 1):
        return files
    for word in SPLITS[split]:
        if word in told:
            return told[word]
    there = ", ".join(sorted(word for word in told if word))
    raise FocusError(f"{name} has files of {there} but none of {split}: name the {split} files by a pattern")

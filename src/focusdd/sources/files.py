"""Files of tables and tars, here or in a store: found by folder, glob or brace range, read by ranges."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from focusdd.core.errors import FocusError
from focusdd.sources.names import has_val, is_hidden, of_split, split_word

_SUFFIXES = (".tar", ".parquet")
_ARCHIVE = re.compile(r"\.(zip|rar|7z|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst|lz4))$", re.IGNORECASE)
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
    files: Sequence[File]
    has_val: bool

    @property
    def place(self) -> str:
        """The files, for people."""
        first, *more = self.files
        return f"{len(self.files):,} files, {first.path} to {more[-1].key}" if more else first.path


def suffix_of(name: str) -> str | None:
    """What a name means by its suffix, or a folder by what it holds: ".tar", ".parquet", or None.

    Raises FocusError for archives, whose images cannot be read by themselves, and for a folder in a store
    that holds neither.
    """
    is_folder = Path(name).is_dir()
    if _ARCHIVE.search(name) and not is_folder:
        raise FocusError(
            f"{name} is compressed, so no image in it can be read by itself: unpack it to a folder or a .tar"
        )
    named = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), None)
    if not is_folder and (named or "://" not in name):
        return named
    held = _suffix_in(name)
    if held is None and not is_folder:
        raise FocusError(f"{name} holds no .tar or .parquet files: only these are read from a store")
    return held


def _suffix_in(name: str) -> str | None:
    """The suffix of the tables that a folder holds directly, in split folders or in data/; None without.

    A folder that holds folders beside tables is not one of tables: a distilled dataset has its plan there.
    """
    fs, folder = _open(name)
    with said(name):
        inside = _below(fs, folder)
        places = [place for place, kind in inside.items() if kind == "directory" and split_word(place)]
        for place in [f"{folder}/{place}" for place in places] or [folder, f"{folder}/data"]:
            there = _below(fs, place)
            found = {kind for file in there for kind in _SUFFIXES if file.lower().endswith(kind)}
            if found and "directory" not in there.values():
                return min(found)
    return None


def find_files(name: str, suffix: str, split: str) -> Files:
    """The files that a folder, a glob or a brace range means, of the split where names tell them apart.

    A split is the first word of a file's name or of a folder's below the fixed part of the name, as in
    `train-000.tar` or `validation/0.parquet`. Files that name no split are taken as whichever is asked for,
    and so are those that a pattern names if all are of one split. Raises FocusError where there are none, one
    of a range is missing, the store cannot be reached, or the split is not among them.
    """
    fs, path = _open(name)
    with said(name):
        in_folder = fs.isdir(path)
        if in_folder:
            folder, infos = path, fs.find(path, maxdepth=2, detail=True)
        elif fs.exists(path):
            folder, infos = path.rpartition("/")[0], {path: fs.info(path)}
        else:
            folder = _MAGIC.split(path, maxsplit=1)[0].rpartition("/")[0]
            infos = _matches(fs, path, name)
    told: dict[str, list[File]] = {}
    for file in sorted(_file(path, folder, info) for path, info in infos.items()):
        if file.path.lower().endswith(suffix) and not any(map(is_hidden, file.key.split("/"))):
            told.setdefault(split_word(file.key), []).append(file)
    if not told:
        raise FocusError(f"there are no {suffix} files at {name}: check the path")
    if len(told) == 1 and not in_folder:
        told = {"": next(iter(told.values()))}
    return Files(fs, folder, of_split(told, split, name), has_val(told))


def read_range(fs: Any, path: str, start: int, size: int) -> bytes:
    """`size` bytes of a file from `start` on; safe from many threads. Raises FocusError without."""
    if not size:
        return b""
    with said(path):
        data: bytes = fs.cat_file(path, start=start, end=start + size)
    if len(data) != size:
        raise FocusError(f"{path} is shorter than it was when it was listed")
    return data


def read_names(files: Files) -> list[str] | None:
    """The classes that numbers stand for: a line each of classes.txt, or a list (or a table from number to
    name) in classes.json, in the folder of the tables. Raises FocusError for files of another form.
    """
    for name in ("classes.txt", "classes.json"):
        path = f"{files.folder}/{name}"
        with said(path):
            if not files.fs.exists(path):
                continue
            data = files.fs.cat_file(path)
        try:
            if name.endswith(".txt"):
                value: Any = data.decode("utf-8-sig").rstrip().split("\n")
            else:
                value = json.loads(data)
            if isinstance(value, dict):
                value = [value[str(number)] for number in range(len(value))]
            if isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value):
                return [item.strip() for item in value]
        except (ValueError, KeyError, RecursionError):
            pass
        raise FocusError(f"{path} does not list class names: put one on a line, or a JSON list of them")
    return None


@contextlib.contextmanager
def said(name: str, kind: str = "file", *damage: type[Exception]) -> Iterator[None]:
    """Turns what a file system raises into one sentence; stores raise whatever their client makes them.

    Args:
        kind: what the file is.
        damage: what its reader raises where it is none, or cut short.
    """
    try:
        yield
    except FocusError:
        raise
    except damage as error:
        raise FocusError(
            f"{name} is no whole {kind}, it is damaged, compressed or cut short ({str(error)[:120]}): copy "
            "it again, or unpack it"
        ) from error
    except FileNotFoundError as error:
        raise FocusError(f"there is no {name}: check the path") from error
    except ImportError as error:
        raise FocusError(f"{name} needs a package that is not installed ({error})") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {str(error)[:120]}"
        raise FocusError(
            f"{name} cannot be read ({reason}): check the path, and that you have access to it"
        ) from error


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
    entries = fs.ls(folder, detail=True) if fs.isdir(folder) else []
    kinds = {info["name"].rstrip("/").rpartition("/")[2]: info["type"] for info in entries}
    return {name: kind for name, kind in kinds.items() if name and not is_hidden(name)}


def _matches(fs: Any, path: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in expand(path):
        if _MAGIC.search(one):
            found |= fs.glob(one, detail=True)
        elif fs.exists(one):
            found[one] = fs.info(one)
        else:
            raise FocusError(f"there is no {one}: check {name}")
    return found


def expand(pattern: str) -> list[str]:
    """Every name that braces stand for: {000..146} with its zeros, {a,b}; several multiply.

    Raises FocusError for a range that runs backwards, or more than a million names.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    first, end, words = match.groups()
    if words is not None:
        choices: Sequence[str] = words.split(",")
    else:
        numbers = range(int(first), int(end) + 1)
        if not numbers:
            raise FocusError(f"the range {match[0]} in {pattern} runs backwards")
        width = len(first) if first[0] == "0" or len(first) == len(end) else 0
        choices = [] if len(numbers) > _MOST else [f"{number:0{width}d}" for number in numbers]
    rest = expand(pattern[match.end() :])
    if not choices or len(choices) * len(rest) > _MOST:
        raise FocusError(f"{pattern} names more than {_MOST:,} files")
    return [f"{pattern[: match.start()]}{choice}{end}" for choice in choices for end in rest]


def _file(path: str, folder: str, info: dict[str, Any]) -> File:
    key = path[len(folder) :].lstrip("/")
    stamp = next((str(info[name]) for name in _STAMPS if info.get(name) is not None), "")
    return File(key, path, int(info["size"]), stamp)

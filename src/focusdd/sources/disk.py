"""Files on this machine: what lies in a folder, and how it is read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.settings.source import split_options
from focusdd.sources.names import few, has_image_suffix, is_hidden, is_unicode, not_an_image, path_name

_PROBES = 1000  # listed files that are tried to find their folder

Notes = list[tuple[str, str]]
"""What was left out or mended: (where, what)."""


def read_file(path: Path | str) -> bytes:
    """All of a file. Raises FocusError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FocusError(f"{path} cannot be read ({error.strerror}): check that it is there") from error


def text_of(data: bytes, where: object) -> str:
    """UTF-8 text, with or without a byte order mark. Raises FocusError where it is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FocusError(f"{where} is not UTF-8 text: save it as such") from error


def lines_of(text: str) -> list[str]:
    """Its lines without white space around, but for empty ones. Nothing but a line's end parts them: a name
    may hold U+2028.
    """
    return [line.strip() for line in re.split("[\r\n]", text) if line.strip()]


def file_size(path: str) -> int | str:
    """Bytes of a file, or why it cannot be read as one."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - path objects would take most of the time
    except OSError as error:
        return error.strerror or "cannot be read"
    return stat.st_size if S_ISREG(stat.st_mode) else "not a file"


def visible(folder: Path | str) -> list[os.DirEntry[str]]:
    """What lies in a folder and is not hidden, in sorted order. Raises FocusError when it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise FocusError(f"{folder} cannot be read ({error.strerror}): check that it is there") from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is none, and no error."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, in sorted order; empty where that is none."""
    return [entry.name for entry in visible(folder) if is_folder(entry)] if folder.is_dir() else []


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files in a folder with one of some suffixes in upper or lower case, sorted; none without it."""
    entries = visible(folder) if folder.is_dir() else []
    paths = [folder / entry.name for entry in entries if entry.name.lower().endswith(suffixes)]
    return [path for path in paths if path.is_file()]


def folder_with(folders: Iterable[Path], keys: Sequence[str]) -> Path | None:
    """The first of some folders that holds the first listed file that is in any; None without."""
    folders = list(folders)
    for key in keys[:_PROBES]:
        for folder in folders if key else []:
            if os.path.isfile(folder / key):  # noqa: PTH113 - false, not an error, for impossible names
                return folder
    return None


def contents(folder: Path) -> str:
    """What a folder holds, for a sentence: sub-folders with their files by suffix, and files."""
    parts = []
    for entry in visible(folder):
        if is_folder(entry):
            kinds = Counter(path.suffix for path in files_in(Path(entry.path), ""))
            held = ", ".join(f"{count:,} {suffix}" for suffix, count in kinds.most_common(2))
            parts.append(f"{entry.name}/" + (f" ({held})" if held else ""))
        else:
            parts.append(entry.name)
    return few(parts) or "no files"


def walk(root: Path, folder: str, skipped: Notes) -> Iterator[tuple[str, int]]:
    """Files below root/folder in sorted order: (path from the root, bytes). `folder` may be empty.

    Links to folders are followed, each folder once; a link to a folder that holds this one is not: it would
    bring in what is beside it. What is left out is added to `skipped` with the reason, but for hidden files.
    Raises FocusError where the folder cannot be listed.
    """

    def identity(path: Path | str) -> tuple[int, int]:
        stat = os.stat(path)  # noqa: PTH116
        return stat.st_dev, stat.st_ino

    def visit(path: str, inside: str) -> Iterator[tuple[str, int]]:
        if (known := identity(path)) in seen:
            skipped.append((inside, "a link back to a folder already read"))
            return
        seen.add(known)
        for entry in visible(path):
            if not is_unicode(entry.name):
                skipped.append((ascii(entry.name), "its name is not valid unicode"))
                continue
            key = f"{inside}/{entry.name}" if inside else entry.name
            size: int | str
            try:
                if is_folder(entry):
                    yield from visit(entry.path, key)
                    continue
                size = file_size(entry.path)
            except (OSError, FocusError) as error:
                size = str(error)
            if isinstance(size, int):
                yield key, size
            else:
                skipped.append((key, size))

    seen = {identity(parent) for parent in (root.resolve() / folder).parents}
    yield from visit(str(root / folder), folder)


def images_below(
    root: Path, folder: str, skipped: Notes, suffixes: tuple[str, ...] = (), beside: list[str] | None = None
) -> Iterator[tuple[str, int]]:
    """The image files that `walk` finds; those with one of `suffixes` go to `beside`, others to `skipped`."""
    for key, size in walk(root, folder, skipped):
        if has_image_suffix(key):
            yield key, size
        elif beside is not None and key.lower().endswith(suffixes):
            beside.append(key)
        else:
            skipped.append((key, not_an_image(key)))


def require_apart(out: Path, *sources: Any) -> None:
    """Raises FocusError where an output folder and the folders of sources lie in one another.

    The next listing of the source would take outputs for images.
    """
    place = out.absolute().resolve()
    for source in filter(None, sources):
        name = split_options(source.name)[0]
        # the demo is drawn: a folder called demo is another thing
        named = Path(name) if path_name(name) == name else None
        for folder in (named, getattr(source, "root", None)):
            if folder is None or not folder.is_dir():
                continue
            inside = folder.resolve()
            if inside == place or inside in place.parents:
                raise FocusError(
                    f"--out {out} lies in the source {source.name}, among its images: use one outside of it"
                )
            if place in inside.parents:
                raise FocusError(
                    f"the source {source.name} lies in --out {out}: use another folder beside it"
                )

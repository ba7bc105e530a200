"""Image folders: one folder per class, with or without `train/` and `val/` around them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG

from focusdd.core.console import counting
from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.settings.source import SourceSettings
from focusdd.sources.base import SPLITS, Record, has_image_suffix, is_hidden, not_an_image, path_name
from focusdd.sources.classes import folder_names
from focusdd.sources.identity import listing_hash
from focusdd.sources.imagenet import class_name


class FolderSource:
    """An image folder; classes are its sub-folders in sorted order, images are found at any depth."""

    def __init__(self, root: Path, split: str = "train", settings: SourceSettings | None = None) -> None:
        if not root.exists():
            raise FocusError(f"there is no folder {root}: check the path")
        if not root.is_dir():
            raise FocusError(f"{root} is a file: a source is a folder with one sub-folder per class")
        self.name = path_name(root)
        self.split = split
        try:
            self.root = _split_folder(root, split)
            folders = sorted(entry.name for entry in _visible(self.root) if entry.is_dir())
        except OSError as error:
            raise FocusError(f"{root} cannot be read ({error.strerror})") from error
        self.place = str(self.root)
        for folder in folders:
            if not _is_unicode(folder):
                raise FocusError(
                    f"{self.root} has a class folder whose name is not valid unicode, {folder!a}: rename it"
                )
        skipped: list[tuple[str, str]] = []
        found: dict[str, list[tuple[str, int]]] = {folder: [] for folder in folders}
        with counting(f"list {self.root}", "images") as advance:
            for folder in folders:
                for key, stat in walk(self.root, folder, skipped):
                    if has_image_suffix(key):
                        found[folder].append((key, stat.st_size))
                        advance(1)
                    else:
                        skipped.append((key, not_an_image(key)))
        deep = settings.classes if settings else None
        if deep is None:
            _require_plain(self.root, found)
        elif deep == "deep":
            found = _by_deepest(found)
        _require_classes(self.root, found)
        self.classes = tuple(found)
        self.class_names = tuple(class_name(folder) for folder in found)
        files = [(label, *file) for label, folder in enumerate(found) for file in found[folder]]
        self.records = tuple(Record(key, label) for label, key, _ in files)
        self.skipped = tuple(skipped)
        facts = "" if deep != "deep" else hash_of([self.classes, [label for label, *_ in files]])
        self.fingerprint = listing_hash(((key, size) for _, key, size in files), facts)

    def read(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            raise FocusError(f"{self.root / key} cannot be read ({error.strerror})") from error


def _visible(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not is_hidden(entry.name)]


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_classes(root: Path, found: dict[str, list[tuple[str, int]]]) -> None:
    """Raises FocusError where there are no two classes with images."""
    if not found:
        raise FocusError(f"{root} has no class folders: expected {root}/<class>/<image>.jpg")
    for folder, files in found.items():
        if not files:
            raise FocusError(f"class folder {root / folder} holds no images: remove it or put images there")
    if len(found) == 1:
        (only,) = found
        below = root / only
        inside = [entry for entry in _visible(below) if entry.is_dir()] if below.is_dir() else []
        remedy = f"give {below}, which holds {len(inside)} folders" if len(inside) > 1 else "add another"
        raise FocusError(
            f"{root} has one class folder only, {only!r}, and telling classes apart needs two: {remedy}"
        )


def _require_plain(root: Path, found: dict[str, list[tuple[str, int]]]) -> None:
    """Raises FocusError where classes may as well be a level deeper: each folder holds folders of its own."""
    inner = {
        folder: sorted({key.split("/")[1] for key, _ in files if key.count("/") > 1})
        for folder, files in found.items()
    }
    names = [name for inside in inner.values() for name in inside]
    flat = any(key.count("/") == 1 for files in found.values() for key, _ in files)
    if flat or len(set(names)) < len(names) or not all(inner.values()) or len(found) < 2:
        return
    deeper = _few(f"{folder}/{inside[0]}" for folder, inside in inner.items())
    raise FocusError(
        f"{root} holds its images in folders of folders, such as {deeper}: give --classes top for "
        f"{_few(inner)}, or --classes deep for {_few(names)}"
    )


def _by_deepest(found: dict[str, list[tuple[str, int]]]) -> dict[str, list[tuple[str, int]]]:
    """The same files by the folders that hold them; their last names are the classes where all differ."""
    files = sorted(file for of_folder in found.values() for file in of_folder)
    parents = sorted({key.rpartition("/")[0] for key, _ in files})
    last = [parent.rpartition("/")[2] for parent in parents]
    names = last if len(set(last)) == len(last) else [parent.replace("/", "-") for parent in parents]
    name_of = dict(zip(parents, folder_names(names), strict=True))
    deepest: dict[str, list[tuple[str, int]]] = {name: [] for name in sorted(name_of.values())}
    for key, size in files:
        deepest[name_of[key.rpartition("/")[0]]].append((key, size))
    return deepest


def _few(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:3])


def _split_folder(root: Path, split: str) -> Path:
    inside = [entry.name for entry in _visible(root) if entry.is_dir()]
    every = [word for words in SPLITS.values() for word in words]
    # train/ and test/, and training_set/ and test_set/ where all folders are called so
    called = {name: re.split(r"[^a-z]", name.lower(), maxsplit=1)[0] for name in inside}
    only_splits = bool(inside) and all(word in every for word in called.values())
    if not only_splits:
        called = {name: name.lower() for name in inside}
    splits = {word: name for name, word in sorted(called.items(), reverse=True) if word in every}
    found = {word: splits[word] for word in every if word in splits and _is_split(root / splits[word])}
    for word in SPLITS[split]:
        if word in found:
            return root / found[word]
    if found:
        images = "training" if split == "train" else "validation"
        raise FocusError(
            f"{root} has {next(iter(found.values()))}/ but no {split}/: give the folder of {images} images"
        )
    if only_splits:
        held = " and ".join(f"{name}/" for name in sorted(inside))
        raise FocusError(
            f"{root} holds {held}, by their names splits, but these hold images without class folders: "
            f"expected {root / min(inside)}/<class>/<image>.jpg; rename the folders if they are classes"
        )
    return root


def _is_split(folder: Path) -> bool:
    """Whether it holds classes: a folder named "train" or "test" may be one itself, full of images."""
    if not folder.is_dir():
        return False
    entries = _visible(folder)
    return any(entry.is_dir() for entry in entries) or not any(
        has_image_suffix(entry.name) for entry in entries
    )


def walk(root: Path, folder: str, skipped: list[tuple[str, str]]) -> Iterator[tuple[str, os.stat_result]]:
    """Files below root/folder in sorted order, named from the root; links to folders are followed once each.

    A link to a folder that holds this one is not followed: it would bring in what is beside it. What is left
    out is added to `skipped` with the reason; hidden files are not there. `folder` may be empty.

    Raises:
        OSError: the folder cannot be listed.
    """
    above = (root.resolve() / folder).parents
    seen = {(stat.st_dev, stat.st_ino) for stat in (path.stat() for path in above)}

    def visit(path: str, inside: str) -> Iterator[tuple[str, os.stat_result]]:
        stat = os.stat(path)  # noqa: PTH116
        if (stat.st_dev, stat.st_ino) in seen:
            skipped.append((inside, "a link back to a folder already read"))
            return
        seen.add((stat.st_dev, stat.st_ino))
        # plain strings and the entries' own stat: path objects took most of the time
        for entry in sorted(_visible(path), key=lambda entry: entry.name):
            if not _is_unicode(entry.name):
                skipped.append((ascii(entry.name), "its name is not valid unicode"))
                continue
            key = f"{inside}/{entry.name}" if inside else entry.name
            try:
                if entry.is_dir():
                    yield from visit(entry.path, key)
                    continue
                stat = entry.stat()
            except OSError as error:
                skipped.append((key, error.strerror or "cannot be read"))
                continue
            if not S_ISREG(stat.st_mode):
                skipped.append((key, "not a file"))
            else:
                yield key, stat

    yield from visit(str(root / folder), folder)

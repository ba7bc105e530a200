"""Image folders: one folder per class, with or without `train/` and `val/` around them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from focusdd.core.console import counting
from focusdd.core.errors import FocusError
from focusdd.sources.base import SPLITS, Record, has_image_suffix, is_hidden, path_name
from focusdd.sources.identity import listing_hash
from focusdd.sources.imagenet import class_name


class FolderSource:
    """An image folder; classes are its sub-folders in sorted order, images are found at any depth."""

    def __init__(self, root: Path, split: str = "train") -> None:
        if not root.exists():
            raise FocusError(f"there is no folder {root}: check the path")
        if not root.is_dir():
            raise FocusError(f"{root} is a file: a source is a folder with one sub-folder per class")
        self.name = path_name(root)
        self.split = split
        self.root = _split_folder(root, split)
        try:
            folders = sorted(entry.name for entry in _visible(self.root) if entry.is_dir())
        except OSError as error:
            raise FocusError(f"{self.root} cannot be read ({error.strerror})") from error
        if not folders:
            raise FocusError(f"{self.root} has no class folders: expected {self.root}/<class>/<image>.jpg")
        if len(folders) == 1:
            raise FocusError(
                f"{self.root} has one class folder only, {folders[0]!r}: telling classes apart needs two"
            )
        for folder in folders:
            if not _is_unicode(folder):
                raise FocusError(
                    f"{self.root} has a class folder whose name is not valid unicode, {folder!a}: rename it"
                )
        self.classes = tuple(folders)
        self.class_names = tuple(class_name(folder) for folder in folders)
        skipped: list[tuple[str, str]] = []
        records: list[Record] = []
        sizes: list[int] = []
        with counting(f"list {self.root}", "images") as advance:
            for label, folder in enumerate(folders):
                before = len(records)
                for key, stat in walk(self.root, folder, skipped):
                    if not has_image_suffix(key):
                        skipped.append((key, f"not an image by its suffix {Path(key).suffix!r}"))
                        continue
                    records.append(Record(key, label))
                    sizes.append(stat.st_size)
                    advance(1)
                if len(records) == before:
                    raise FocusError(
                        f"class folder {self.root / folder} holds no images: remove it or put images there"
                    )
        self.records = tuple(records)
        self.skipped = tuple(skipped)
        self.fingerprint = listing_hash(zip((record.key for record in records), sizes, strict=True))

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


def _split_folder(root: Path, split: str) -> Path:
    for name in SPLITS[split]:
        if _is_split(root / name):
            return root / name
    others = [name for names in SPLITS.values() for name in names if _is_split(root / name)]
    if others:
        images = "training" if split == "train" else "validation"
        raise FocusError(f"{root} has {others[0]}/ but no {split}/: give the folder of {images} images")
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

"""Which names mean images, splits, class folders and paths, in sources of every kind."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from focusdd.core.errors import FocusError

Found = TypeVar("Found")

_IMAGES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
}
_UNREADABLE = {
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf"),
}
_LEFT_THERE = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "$recycle.bin", "recycler"),
    *("lost+found", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
SPLITS = {"train": ("train", "training"), "val": ("val", "validation", "valid", "test", "testing")}
"""What the splits are called in folders, files and datasets; of several, the first in this order counts."""
_WORDS = {word for words in SPLITS.values() for word in words}


def has_image_suffix(name: str) -> bool:
    """Whether a file is an image by its name."""
    return os.path.splitext(name)[1].lower() in _IMAGES  # noqa: PTH122 - much faster than a path


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or left there by an operating system or a storage device."""
    return name[0] == "." or name.lower() in _LEFT_THERE


def is_unicode(name: str) -> bool:
    """Whether a name can be written to a file as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_an_image(name: str) -> str:
    """Why a file without an image's suffix is left out: a loss only where it is a photograph after all."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in _UNREADABLE:
        return f"Pillow reads no {suffix} files: convert them to JPEG or PNG"
    return f"not an image by its suffix {suffix or '(none)'!r}"


def path_name(path: Path | str) -> str:
    """A path as `open_source` takes it: "demo" and "hf:..." alone are not folders."""
    text = str(path)
    return f"./{text}" if text.partition(":")[0] in ("demo", "hf") and "://" not in text else text


def few(words: Sequence[object], most: int = 8) -> str:
    """A list for a sentence, cut after `most` items."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more


def split_word(path: str) -> str:
    """What a relative path calls its split: the first word of the first part that is such; "" without."""
    firsts = (re.split(r"[^a-z]", part.lower(), maxsplit=1)[0] for part in path.split("/"))
    return next((word for word in firsts if word in _WORDS), "")


def of_split(found: Mapping[str, Found], split: str, name: object) -> Found:
    """The part of a dataset that belongs to a split, from its parts by `split_word`.

    Where all of it is under "", the dataset has no splits and is taken as whichever is asked for.
    Raises FocusError where there are other splits only.
    """
    for word in SPLITS[split] if set(found) != {""} else ("",):
        if word in found:
            return found[word]
    there = ", ".join(sorted(word for word in found if word)) or "none"
    remedy = "give a folder, files or a dataset of training images"
    if split == "val":
        remedy = "give others as --val, or divide the training images with --holdout 0.1"
    raise FocusError(f"{name} has no images for {split}, its splits are {there}: {remedy}")


def has_val(found: Mapping[str, object]) -> bool:
    """Whether a dataset has a split for validation, from its parts by `split_word`."""
    return any(word in found for word in SPLITS["val"])


def split_folders(root: Path, folders: Sequence[str]) -> dict[str, Path]:
    """Those of a folder's folders that are called as splits are, by `split_word`.

    They are called train or Test; train-2 and test_set count where every folder is called so.
    Raises FocusError where several are called the same.
    """
    named = [(split_word(folder), folder) for folder in folders]
    if not all(word for word, _ in named):
        named = [(word, folder) for word, folder in named if word == folder.lower()]
    found: dict[str, Path] = {}
    for word, folder in named:
        if word in found:
            raise FocusError(
                f"{root} has several folders for {word}, {found[word].name} and {folder}: put them into one"
            )
        found[word] = root / folder
    return found

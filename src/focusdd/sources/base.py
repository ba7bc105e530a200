"""What a source of images is, and which names mean images, splits and paths in all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from focusdd.core.images import Box

_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".avif",
    ]
)
_UNREADABLE = (
    ".heic",
    ".heif",
    ".jxl",
    ".svg",
    ".psd",
    ".raw",
    ".dng",
    ".nef",
    ".cr2",
    ".cr3",
    ".arw",
    ".orf",
)
_LEFT_THERE = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "$recycle.bin", "recycler"),
    *("lost+found", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
SPLITS = {"train": ("train", "training"), "val": ("val", "validation", "valid", "test")}
"""What the splits are called in folders, files and datasets, the first that is there counts."""


def has_image_suffix(name: str) -> bool:
    """Whether a file is an image by its name."""
    return os.path.splitext(name)[1].lower() in _SUFFIXES  # noqa: PTH122 - much faster than a path


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: hidden, or left there by a system or a storage box."""
    return name[0] == "." or name.lower() in _LEFT_THERE


def not_an_image(name: str) -> str:
    """Why a file without an image's suffix is left out: a loss only where it is a photograph after all."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in _UNREADABLE:
        return f"Pillow reads no {suffix} files: convert them to JPEG or PNG"
    return f"not an image by its suffix {suffix!r}"


def path_name(path: Path | str) -> str:
    """A path as `open_source` takes it: "demo" and "hf:..." alone mean no folder."""
    return (
        f"./{path}" if str(path).partition(":")[0] in ("demo", "hf") and "://" not in str(path) else str(path)
    )


class Record(NamedTuple):
    """One image of a source."""

    key: str
    """Name of the image, unique in the source: a relative path with forward slashes."""
    label: int
    """Index into the source's classes."""


class Classes(Protocol):
    """What has classes and a name: a source, or a distilled dataset."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...


class Source(Protocol):
    """Where original images come from. Records are in a fixed order that depends on the data alone."""

    name: str
    """What opens the source again: `open_source(name)`."""
    split: str
    classes: tuple[str, ...]
    """Folder-safe class names in label order, e.g. WordNet ids."""
    class_names: tuple[str, ...]
    """The same for people, e.g. "English springer"."""
    records: tuple[Record, ...]
    skipped: tuple[tuple[str, str], ...]
    """What the listing left out: (name, reason)."""

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes and labels, whatever the times: a copy has the same. It changes when images
        are added, removed, renamed or resized; other bytes of the same size show when they are read."""

    def read(self, key: str) -> bytes:
        """The encoded file. Raises FocusError when it is gone or cannot be read."""


class BoxedSource(Source, Protocol):
    """A source that knows where its objects are."""

    def box(self, key: str) -> Box:
        """The object's box, half-open, in original pixels."""


class Objects(NamedTuple):
    """The annotated objects of one image, in the order of the annotation file."""

    boxes: np.ndarray
    """float64 (n, 4): half-open, in pixels of the original upright image, inside it, never empty."""
    labels: np.ndarray
    """int32 (n,): indices into the source's classes."""
    ignored: np.ndarray
    """bool (n,): crowds and objects marked difficult: neither to be learned nor counted as background."""
    ids: np.ndarray
    """int64 (n,): what the annotation file calls them, or their place in it; unique within the image."""


class DetectionSource(Source, Protocol):
    """A source whose images hold objects with boxes. The label of its records is -1: images have none."""

    class_counts: tuple[int, ...]
    """Objects of every class that are not to be ignored."""

    problems: tuple[tuple[str, str], ...]
    """Annotations that were left out or mended when the listing was read: (where, what)."""

    def labels_of(self, key: str) -> np.ndarray:
        """Labels (n,) of the objects of an image that are not to be ignored; it is not opened."""

    def objects(self, key: str, width: int, height: int) -> Objects:
        """The objects of an image whose upright size in pixels is width x height.

        Raises:
            UnreadableImage: the annotation was made for an image of another size.
        """

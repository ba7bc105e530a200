"""What a source of images is."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from focusdd.core.images import Box


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
    has_val: bool
    """Whether the same name holds other images for validation."""

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes and labels, whatever the times: a copy has the same. It changes when images
        are added, removed, renamed or resized; other bytes of the same size show when they are read."""

    def read(self, key: str) -> bytes:
        """The encoded file. Raises FocusError when it is gone or cannot be read."""


class SourceProxy:
    """A source of which subclasses change a part."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # not there yet, when it is copied
        return getattr(self._source, name)


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

    def __hash__(self) -> int: ...

    def labels_of(self, key: str) -> np.ndarray:
        """Labels (n,) of the objects of an image that are not to be ignored; it is not opened."""

    def objects(self, key: str, width: int, height: int) -> Objects:
        """The objects of an image whose upright size in pixels is width x height.

        Raises UnreadableImage where the annotation was made for an image of another size.
        """

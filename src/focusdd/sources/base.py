"""What a source of images is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from focusdd.images import Box


class Record(NamedTuple):
    """One image of a source."""

    key: str
    """Name of the image, unique in the source: a relative path with forward slashes."""
    label: int
    """Index into the source's classes."""


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
        """Hash of the listing: it changes when images are added, removed, renamed or rewritten."""

    def read(self, key: str) -> bytes:
        """The encoded file. Raises FocusError when it is gone or cannot be read."""


class BoxedSource(Source, Protocol):
    """A source that knows where its objects are."""

    def box(self, key: str) -> Box:
        """The object's box, half-open, in original pixels."""

"""A source read from annotation files, whatever their format: objects in columns, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.sources.base import Objects, Record, path_name
from focusdd.sources.boxes import (
    CLIPPED,
    EMPTY,
    OUTSIDE,
    VERDICTS,
    Notes,
    check_size,
    clip,
    ordered,
    read_file,
)
from focusdd.sources.classes import folder_names
from focusdd.sources.identity import listing_hash
from focusdd.sources.imagenet import class_name
from focusdd.sources.understood import objects_in_words


class Listed(NamedTuple):
    """One image of a listing."""

    key: str
    size: int
    """Bytes of the file."""
    width: int = 0
    """What the annotations say of it, 0 where they say nothing."""
    height: int = 0


class Rows(NamedTuple):
    """Objects of many images, one row each."""

    image: np.ndarray
    """int64 (n,): place of the image in its listing."""
    boxes: np.ndarray
    """float64 (n, 4): half-open (x0, y0, x1, y1), finite, not clipped yet."""
    labels: np.ndarray
    """int32 (n,)."""
    ignored: np.ndarray
    """bool (n,)."""
    ids: np.ndarray
    """int64 (n,): unique within the image."""


class Listing(NamedTuple):
    """What the reader of a format hands over."""

    root: Path
    """The keys of the images start here."""
    names: Sequence[str]
    """Class names in label order."""
    images: Sequence[Listed]
    rows: Rows
    skipped: Notes
    problems: Notes
    place: str
    """The files of the split, for people."""
    digest: str
    """Hash of the annotations."""


class AnnotatedSource:
    """Images and their objects, read from annotation files once, when it is opened."""

    _relative = False
    """Whether boxes are kept as fractions of the image's sides."""

    def __init__(self, path: Path, split: str, listing: Listing) -> None:
        self.name = path_name(path)
        self.split = split
        self.root = listing.root
        self.place = listing.place
        self.classes = folder_names(listing.names)
        self.class_names = tuple(class_name(name) for name in listing.names)
        order = sorted(range(len(listing.images)), key=lambda index: listing.images[index].key)
        images = [listing.images[index] for index in order]
        rows = _grouped(listing.rows, np.argsort(order))
        rows, mended, unknown = _mended(rows, images, self._relative)
        if unknown:  # something would be visible without a label
            kept = np.array([image.key not in unknown for image in images])
            rows = _of(rows._replace(image=(np.cumsum(kept) - 1)[rows.image]), kept[rows.image])
            images = [image for image in images if image.key not in unknown]
        skipped, problems = [*listing.skipped, *unknown.items()], listing.problems + mended
        if not images:
            raise FocusError(f"{path} has no images with annotations: {_first(skipped)}")
        if not len(rows.image):
            raise FocusError(f"{path} has no annotations: {_first(problems or skipped)}")
        self.records = tuple(Record(image.key, -1) for image in images)
        self._place = {image.key: place for place, image in enumerate(images)}
        self._sizes = np.array([(image.width, image.height) for image in images], np.int64)
        self._rows = rows
        self.class_counts = self.counts_of(np.arange(len(images)))
        self._starts = np.searchsorted(rows.image, np.arange(len(images) + 1))
        self.skipped = tuple(skipped)
        self.problems = tuple(problems)
        self.fingerprint = listing_hash(((image.key, image.size) for image in images), listing.digest)

    def counts_of(self, images: np.ndarray) -> tuple[int, ...]:
        """Objects of every class, but for ignored ones, in some images (n,) by their place."""
        mine = np.isin(self._rows.image, images) & ~self._rows.ignored
        return tuple(np.bincount(self._rows.labels[mine], minlength=len(self.classes)).tolist())

    @property
    def object_facts(self) -> str:
        """Number and sizes of the objects, in words."""
        sizes = np.ones_like(self._sizes) if self._relative else self._sizes
        return objects_in_words(self._rows.boxes, sizes[self._rows.image], self._rows.ignored)

    def read(self, key: str) -> bytes:
        return read_file(self.root / key)

    def labels_of(self, key: str) -> np.ndarray:
        """Labels (n,) of the objects of an image that are not to be ignored; it is not opened."""
        place = self._place[key]
        rows = slice(self._starts[place], self._starts[place + 1])
        return self._rows.labels[rows][~self._rows.ignored[rows]]

    def objects(self, key: str, width: int, height: int) -> Objects:
        """The objects of an image whose upright size in pixels is width x height.

        Boxes are clipped to this size where the annotations do not say how large the image is.

        Raises:
            UnreadableImage: the annotation was made for an image of another size.
        """
        place = self._place[key]
        check_size(self._sizes[place].tolist(), width, height)
        rows = slice(self._starts[place], self._starts[place + 1])
        size = np.array([[width, height]], np.float64)
        boxes = self._rows.boxes[rows] * (np.tile(size, 2) if self._relative else 1.0)
        boxes, verdict = clip(boxes, size)
        kept = verdict <= CLIPPED
        _, _, labels, ignored, ids = self._rows
        return Objects(boxes[kept], labels[rows][kept], ignored[rows][kept], ids[rows][kept])


def _mended(rows: Rows, images: Sequence[Listed], relative: bool) -> tuple[Rows, Notes, dict[str, str]]:
    """Rows with each box once, its corners in order, inside its image as far as that has a known size.

    Returns:
        The rows, what was done to them, and the images with a box that says nothing -> why.
    """

    def notes(which: np.ndarray, what: str) -> Notes:
        at = np.flatnonzero(which)
        return [(images[rows.image[row]].key, f"object {rows.ids[row]} {what}") for row in at]

    boxes = ordered(rows.boxes)
    done = notes((boxes != rows.boxes).any(1), "has its corners in another order: put in order")
    table = np.column_stack([rows.image, rows.labels, rows.ignored, boxes])
    order = np.lexsort(table.T)
    again = np.zeros(len(table), bool)
    again[order[1:]] = (table[order[1:]] == table[order[:-1]]).all(1)
    done += notes(again, "is there twice: taken once")
    rows = _of(rows._replace(boxes=boxes), ~again)
    sizes = np.array([(image.width, image.height) for image in images], np.float64).reshape(-1, 2)
    sizes = np.ones_like(sizes) if relative else np.where(sizes > 0, sizes, np.inf)
    # rounded decimals are no problem worth a line
    boxes, verdict = clip(rows.boxes, sizes[rows.image], 1e-5 if relative else 0.01)
    for kind in (CLIPPED, OUTSIDE):
        done += notes(verdict == kind, VERDICTS[kind])
    unknown = dict(notes(verdict == EMPTY, VERDICTS[EMPTY]))
    return _of(rows._replace(boxes=boxes), verdict <= CLIPPED), done, unknown


def _of(rows: Rows, kept: np.ndarray) -> Rows:
    return Rows(*(column[kept] for column in rows))


def rows_of(
    boxes: Sequence[np.ndarray], labels: Sequence[np.ndarray], ignored: Sequence[np.ndarray] | None = None
) -> Rows:
    """Rows from one array per image, numbered by their place in it."""
    counts = [len(part) for part in boxes]
    return Rows(
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.empty((0, 4)), *boxes]),
        np.concatenate([np.empty(0, np.int32), *labels]),
        np.zeros(sum(counts), bool) if ignored is None else np.concatenate([np.empty(0, bool), *ignored]),
        np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)]),
    )


def _grouped(rows: Rows, rank: np.ndarray) -> Rows:
    """Rows of an image together and otherwise in their order, images numbered anew by `rank`."""
    image = rank[rows.image]
    order = np.argsort(image, kind="stable")
    return Rows(*(column[order] for column in rows._replace(image=image)))


def _first(notes: Notes) -> str:
    if not notes:
        return "check that it is the right path"
    return f"{notes[0][0]}: {notes[0][1]}" + (f", and {len(notes) - 1} more" if len(notes) > 1 else "")

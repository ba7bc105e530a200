"""A source read from annotation files, whatever their format: objects in a table, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.sources.base import Objects, Record
from focusdd.sources.boxes import CLIPPED, EMPTY, OUTSIDE, VERDICTS, check_size, clip, ordered
from focusdd.sources.classes import folder_names
from focusdd.sources.disk import Notes, read_file
from focusdd.sources.identity import listing_hash
from focusdd.sources.imagenet import class_name
from focusdd.sources.names import path_name
from focusdd.sources.understood import objects_in_words

_PIXELS, _FRACTION = 0.01, 1e-5  # what rounded decimals leave: of a pixel, and of the side of an image

ROW = np.dtype(
    [
        ("image", np.int64),  # place of the image in its listing
        ("box", np.float64, 4),  # half-open (x0, y0, x1, y1), finite; in fractions of the image if `relative`
        ("label", np.int32),
        ("ignored", np.bool_),
        ("id", np.int64),  # unique within the image
    ]
)
"""An object, as a reader hands it over: neither clipped nor in order yet."""


class Listed(NamedTuple):
    """One image of a listing."""

    key: str
    size: int
    """Bytes of the file."""
    width: int = 0
    """What the annotations say of it, 0 where they say nothing."""
    height: int = 0


class Listing(NamedTuple):
    """What the reader of a format hands over."""

    root: Path
    """The keys of the images start here."""
    names: Sequence[str]
    """Class names in label order."""
    images: Sequence[Listed]
    rows: np.ndarray
    """ROW (n,)."""
    skipped: Notes
    problems: Notes
    place: str
    """Format and files of the split, for people."""
    digest: str
    """Hash of the annotations."""
    relative: bool = False
    """Whether boxes are fractions of the image's sides."""
    has_val: bool = False
    """Whether there are other images for validation."""


def renumbered(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """ROW (n,) with the rows of an image together, images numbered anew by `places`; -1 drops one."""
    images = places[rows["image"]]
    rows = rows[images >= 0]
    rows["image"] = images[images >= 0]
    return rows[np.argsort(rows["image"], kind="stable")]


def rows_of(
    image: int, boxes: np.ndarray, labels: Sequence[int] | np.ndarray, ignored: np.ndarray | bool = False
) -> np.ndarray:
    """ROW (n,) of the objects of an image, numbered by their place in it."""
    rows = np.empty(len(boxes), ROW)
    rows["image"], rows["box"], rows["label"], rows["ignored"] = image, boxes, labels, ignored
    rows["id"] = np.arange(len(rows))
    return rows


class AnnotatedSource:
    """Images and their objects, read from annotation files once, when it is opened."""

    def __init__(self, path: Path, split: str, listing: Listing) -> None:
        self.name = path_name(path)
        self.split, self.has_val = split, listing.has_val
        self.root, self.place, self._relative = listing.root, listing.place, listing.relative
        self.classes = folder_names(listing.names)
        self.class_names = tuple(class_name(name) for name in listing.names)
        order = sorted(range(len(listing.images)), key=lambda index: listing.images[index].key)
        images = [listing.images[index] for index in order]
        rows = renumbered(listing.rows, np.argsort(order))
        rows, mended, unknown = _mended(rows, images, self._relative)
        # something would be visible without a label in an unknown one
        known = np.array([image.key not in unknown for image in images], bool)
        rows = renumbered(rows, np.where(known, np.cumsum(known) - 1, -1))
        images = [image for image in images if image.key not in unknown]
        skipped, problems = [*listing.skipped, *unknown.items()], listing.problems + mended
        for what, there, notes in (("images with ", images, skipped), ("", rows, problems or skipped)):
            if not len(there):
                first = ": ".join(notes[0]) if notes else "check that it is the right path"
                raise FocusError(f"{path} has no {what}annotations: {first}")
        self.records = tuple(Record(image.key, -1) for image in images)
        self.skipped, self.problems = tuple(skipped), tuple(problems)
        self._place = {image.key: place for place, image in enumerate(images)}
        self._sizes = np.array([(image.width, image.height) for image in images], np.int64)
        self._rows = rows
        self._starts = np.searchsorted(rows["image"], np.arange(len(images) + 1))
        self.class_counts, self.object_facts = self.facts_of(np.arange(len(images)))
        self.fingerprint = listing_hash(((image.key, image.size) for image in images), listing.digest)

    def facts_of(self, images: np.ndarray) -> tuple[tuple[int, ...], str]:
        """Of some images (n,) by their place: objects of every class, but for ignored ones; all in words."""
        rows = self._rows[np.isin(self._rows["image"], images)]
        sizes = np.ones_like(self._sizes) if self._relative else self._sizes
        counts = np.bincount(rows["label"][~rows["ignored"]], minlength=len(self.classes))
        empty = len(images) - len(np.unique(rows["image"]))
        words = objects_in_words(rows["box"], sizes[rows["image"]], rows["ignored"], empty)
        return tuple(counts.tolist()), words

    def read(self, key: str) -> bytes:
        return read_file(self.root / key)

    def labels_of(self, key: str) -> np.ndarray:
        rows = self._rows_of(self._place[key])
        return rows["label"][~rows["ignored"]]

    def objects(self, key: str, width: int, height: int) -> Objects:
        # clipped here where the annotations do not say how large the image is
        place = self._place[key]
        check_size(self._sizes[place].tolist(), width, height)
        rows = self._rows_of(place)
        size = np.array([[width, height]], np.float64)
        boxes, verdict = clip(rows["box"] * (np.tile(size, 2) if self._relative else 1.0), size, _PIXELS)
        kept = verdict <= CLIPPED
        return Objects(boxes[kept], *(rows[name][kept] for name in ("label", "ignored", "id")))

    def _rows_of(self, place: int) -> np.ndarray:
        return self._rows[self._starts[place] : self._starts[place + 1]]


def _mended(
    rows: np.ndarray, images: Sequence[Listed], relative: bool
) -> tuple[np.ndarray, Notes, dict[str, str]]:
    """Rows with each box once, its corners in order, inside its image as far as that has a known size.

    Returns:
        The rows, what was done to them, and the images with a box that says nothing -> why.
    """

    def notes(which: np.ndarray, what: str) -> Notes:
        return [(images[row["image"]].key, f"object {row['id']} {what}") for row in rows[which]]

    boxes = ordered(rows["box"])
    done = notes((boxes != rows["box"]).any(1), "has its corners in another order: put in order")
    rows["box"] = boxes
    table = np.column_stack([rows["image"], rows["label"], rows["ignored"], boxes])
    order = np.lexsort(table.T)
    again = np.zeros(len(table), bool)
    again[order[1:]] = (table[order[1:]] == table[order[:-1]]).all(1)
    done += notes(again, "is there twice: taken once")
    rows = rows[~again]
    sizes = np.array([(image.width, image.height) for image in images], np.float64).reshape(-1, 2)
    sizes = np.ones_like(sizes) if relative else np.where(sizes > 0, sizes, np.inf)
    rows["box"], verdict = clip(rows["box"], sizes[rows["image"]], _FRACTION if relative else _PIXELS)
    for kind in (CLIPPED, OUTSIDE):
        done += notes(verdict == kind, VERDICTS[kind])
    unknown = dict(notes(verdict == EMPTY, VERDICTS[EMPTY]))
    return rows[verdict <= CLIPPED], done, unknown

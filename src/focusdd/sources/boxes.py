"""What annotations of any format have to be: boxes inside images, names of files inside folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage
from focusdd.sources.names import is_unicode

FINE, CLIPPED, OUTSIDE, EMPTY = range(4)
VERDICTS = (
    "",
    "reaches out of its image: clipped",
    "lies outside its image: dropped",
    "has a box without width or height",
)


def clip(boxes: np.ndarray, sizes: np.ndarray, nothing: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) cut to images of sizes (n or 1, 2), width first, and a verdict for each.

    Args:
        nothing: a length that is too short to be anything but rounding. Thinner boxes would vanish in the
            float32 of an index.

    Returns:
        The boxes, and int8 (n,): FINE, CLIPPED where a side is out by more than `nothing`, OUTSIDE or EMPTY.
        The boxes of the last two mean nothing.
    """
    inside = np.clip(boxes, 0.0, np.tile(sizes, 2))
    verdict = np.zeros(len(boxes), np.int8)
    verdict[(np.abs(inside - boxes) > nothing).any(1)] = CLIPPED
    verdict[(inside[:, 2:] - inside[:, :2] <= nothing).any(1)] = OUTSIDE
    verdict[(boxes[:, 2:] - boxes[:, :2] <= nothing).any(1)] = EMPTY
    return inside, verdict


def ordered(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) from any two opposite corners."""
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)


def around_turned(boxes: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) around boxes that are turned about their middles by angles (n,); as they are for 0."""
    angles = np.deg2rad(degrees)[:, None]
    middles, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    halves = halves * np.abs(np.cos(angles)) + halves[:, ::-1] * np.abs(np.sin(angles))
    return np.where(degrees[:, None] == 0, boxes, np.concatenate([middles - halves, middles + halves], 1))


def check_size(stated: Sequence[int], width: int, height: int) -> None:
    """Raises UnreadableImage where an image is not as large as its annotation says; 0 says nothing."""
    if all(stated) and tuple(stated) != (width, height):
        turned = tuple(stated) == (height, width)
        why = " once its EXIF orientation is applied: annotate it upright, or remove that" if turned else ""
        raise UnreadableImage(
            f"annotated as {stated[0]} x {stated[1]} pixels, it has {width} x {height}{why}"
        )


def stated_side(value: Any, where: str) -> int:
    """Pixels of an image's side; 0 where its annotation does not say. Raises FocusError for odd values."""
    if value is None:
        return 0
    if type(value) not in (int, float) or not 0 <= value < 2**31 or value != int(value):
        raise FocusError(f"{where} has an image {shown(value)} pixels wide or high: give whole numbers")
    return int(value)


def check_finite(boxes: np.ndarray, where: str, ids: Sequence[int] | np.ndarray | None = None) -> None:
    """Raises FocusError where a number of the boxes (n, 4) is none or infinite."""
    bad = np.flatnonzero(~np.isfinite(boxes).all(1))
    if len(bad):
        which = bad[0] if ids is None else ids[bad[0]]
        raise FocusError(f"{where}: the box of object {which} is not finite: correct or remove it")


def check_once(values: Iterable[Hashable], what: str, where: str) -> None:
    """Raises FocusError where a value is there twice."""
    for value, count in Counter(values).most_common(1):
        if count > 1:
            raise FocusError(f"{where} has the {what} {value!r} {count} times: each has to be there once")


def clean_names(names: Iterable[object], where: str) -> list[str]:
    """Class names without white space around. Raises FocusError where one is missing or there twice."""
    cleaned = []
    for name in names:
        if not isinstance(name, str) or not name.strip() or not is_unicode(name):
            raise FocusError(f"{where} has a class without a name, {shown(name)}: name it")
        cleaned.append(name.strip())
    check_once(cleaned, "class", where)
    return cleaned


def safe_key(name: object, where: str, root: Path | None = None) -> str:
    """A relative path with forward slashes and no dots, from one in an annotation file; from `root` on where
    it is absolute and in there, links followed or not. Raises FocusError where it is none, or leads out.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name or not is_unicode(name):
        raise FocusError(f"{where} has an image without a file name, {shown(name)}: correct or remove it")
    path = name.replace("\\", "/")
    if root is not None and path.startswith("/"):
        for base, full in ((root, os.path.normpath(path)), (root.resolve(), os.path.realpath(path))):
            if Path(full).is_relative_to(base):
                return Path(full).relative_to(base).as_posix()
    key = os.path.normpath(path)
    if PureWindowsPath(path).anchor or PurePosixPath(path).anchor or PurePosixPath(key).parts[:1] == ("..",):
        raise FocusError(f"{where} names {name!r}, which is outside its folder: give a path inside it")
    return key


def shown(value: object) -> str:
    """A value from a file for an error: in one short line, and no lists, which aliases can make immense."""
    return ascii(value)[:80] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"

"""From the labels of a table to classes: folder-safe names in plain sorted order, whatever the labels are."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.core.spelling import number_of
from focusdd.sources.base import Record
from focusdd.sources.imagenet import class_name
from focusdd.sources.names import few

_LONGEST = 100  # bytes: a file name holds the class's name and a number, and 255 bytes in all
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|~]')
# names with a meaning of their own: to Windows, and in a distilled dataset
_TAKEN = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|metadata\.jsonl", re.IGNORECASE)


LABELS = (
    *("label", "labels", "fine_label", "class", "cls", "class_name", "target", "category", "species"),
    *("breed", "diagnosis"),
)
"""What columns of labels are called."""
_NO_LABELS = {
    *("id", "path", "file", "file_name", "filename", "filepath", "filepaths"),
    *("image", "image_id", "image_path", "text", "caption", "prompt", "url", "width", "height", "split"),
}


def label_column(names: Sequence[str], given: str | None = None) -> str | None:
    """The column of labels: the given one, one with a usual name, or the only one that may be; else None."""
    lower = {name.lower().strip(): name for name in reversed(names)}
    usual = [lower[name] for name in LABELS if name in lower]
    likely = [name for name in names if name.lower().strip() not in _NO_LABELS]
    found = [given] if given else usual or likely
    return found[0] if usual or len(found) == 1 else None


class Labelled(NamedTuple):
    """What the labels of a table mean."""

    classes: tuple[str, ...]
    """Folder-safe names in plain sorted order, so that image-folder loaders number them the same."""
    class_names: tuple[str, ...]
    labels: list[int | None]
    """For every row the index of its class; None where it has none."""
    records: tuple[Record, ...]
    """Of the rows with a label."""
    skipped: tuple[tuple[str, str], ...]
    """The others: (key, reason)."""


def labelled(
    keys: Sequence[str],
    values: Sequence[int | str | None],
    names: Sequence[str] | None,
    where: str,
    why: str = "no label",
) -> Labelled:
    """Turns the labels of images into classes. Classes without an image are left out.

    Args:
        values: a label per image, whole number or name; None, empty texts and numbers below zero are none.
        names: the names that numbers stand for, where they are known.
        where: what the labels are of, for the errors.
        why: the reason why an image without a label is left out.

    Raises:
        FocusError: fewer than two classes, or a number without a name.
    """
    known = sorted({value for value in values if isinstance(value, int) and value >= 0})
    if names is not None and known and known[-1] >= len(names):
        raise FocusError(
            f"{where} has a label {known[-1]}, but its list of classes has "
            f"{number_of(len(names), 'name')} only"
        )
    width = len(str(known[-1])) if known else 0  # zeros in front keep numbers in order
    words: dict[int | str, str] = {
        number: f"{number:0{width}d}" if names is None else names[number] for number in known
    }
    words |= {value: value for value in sorted({v for v in values if isinstance(v, str) and v.strip()})}
    if not words and any(isinstance(value, int) for value in values):
        raise FocusError(
            f"{where} is not labelled, all labels are below zero, as in published test splits: give "
            "another split or source"
        )
    if len(words) < 2:
        only = f"one class only, {next(iter(words.values()))!r}" if words else "no labels"
        raise FocusError(f"{where} has {only}: telling classes apart needs two")
    folders = folder_names(list(words.values()))
    order = sorted(zip(folders, words, strict=True))
    place = {value: index for index, (_, value) in enumerate(order)}
    labels = [None if value is None else place.get(value) for value in values]
    rows = list(zip(keys, labels, strict=True))
    return Labelled(
        tuple(folder for folder, _ in order),
        # halves of surrogate pairs are no text
        tuple(class_name(words[value].encode(errors="replace").decode()) for _, value in order),
        labels,
        tuple(Record(key, label) for key, label in rows if label is not None),
        tuple((key, why) for key, label in rows if label is None),
    )


def require_same_classes(name: str, classes: Sequence[str], other: str, expected: Sequence[str]) -> None:
    """Raises FocusError where a source (name, classes) has other classes than another, and says which."""
    if tuple(classes) == tuple(expected):
        return
    extra, missing = sorted(set(classes) - set(expected)), sorted(set(expected) - set(classes))
    alike = {fold(word): word for word in missing}
    if not extra and not missing:
        how = "the same classes in another order: export both alike"
    elif len(extra) == len(missing) and all(fold(word) in alike for word in extra):
        how = (
            f"classes that differ only by upper and lower case or Unicode form, such as {extra[0]!r} and "
            f"{alike[fold(extra[0])]!r}: rename one of them"
        )
    else:
        lists = [("it lacks", missing), ("only it has", extra)]
        words = "; ".join(f"{what} {few([repr(name) for name in names])}" for what, names in lists if names)
        how = f"other classes, {len(classes)} and {len(expected)}: {words}; give images of the same classes"
    raise FocusError(f"{name} and {other} have {how}")


def folder_names(names: Sequence[str]) -> tuple[str, ...]:
    """A folder's name for each of the names: safe on every file system, no two the same even without case.

    A harmless name stays as it is. Names that would meet in one folder get a part of their hash.
    """
    cleaned = [_clean(name) for name in names]
    folded = [fold(name) for name in cleaned]
    count, seen = Counter(folded), Counter[str]()
    folders = []
    for name, safe, same in zip(names, cleaned, folded, strict=True):
        if count[same] > 1 or _TAKEN.fullmatch(safe):
            # no cleaned name holds a "~", so none can be the same as this one
            safe = f"{safe}~{hash_of([name, seen[name]])}"
            seen[name] += 1
        folders.append(safe)
    return tuple(folders)


def _clean(name: str) -> str:
    name = name.encode(errors="replace").decode()  # which puts a "?" for halves of surrogate pairs
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).lstrip(". ")
    name = name.encode()[:_LONGEST].decode(errors="ignore")
    return name.rstrip(". ") or "class"


def fold(name: str) -> str:
    """A name as it is compared where case and the form of Unicode do not tell."""
    return unicodedata.normalize("NFC", name.casefold())

"""Lists of images: a CSV file with a row per image, which names its file and its label."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.settings.source import SourceSettings
from focusdd.sources.boxes import safe_key
from focusdd.sources.classes import classes_of, label_column, records_of
from focusdd.sources.disk import Notes, file_size, folder_with, folders_in, read_file, text_of
from focusdd.sources.identity import listing_hash
from focusdd.sources.names import few, of_split, path_name, split_folders, split_word

SUFFIXES = (".csv", ".tsv")
_ENDINGS = ("", ".jpg", ".png", ".jpeg", ".JPG", ".JPEG")  # an id may name a file without its suffix


class _List(NamedTuple):
    """What a CSV file says."""

    file: Path
    columns: str
    """The two that count, for people."""
    root: Path
    """The names of the files start here."""
    rows: list[tuple[str, str, str]]
    """File, label and split of each row."""


class ListedSource:
    """Images in folders of any kind with a CSV file of their labels: the file, or a folder that holds it."""

    def __init__(self, path: Path, split: str, settings: SourceSettings) -> None:
        self.name, self.split = path_name(path), split
        listed = of_split(find_lists(path, settings), split, path)
        self.root = listed.root
        self.place = f"{listed.file} ({listed.columns}), images in {listed.root}"
        told: dict[str, dict[str, set[str]]] = {}
        for key, label, part in listed.rows:
            told.setdefault(split_word(part), {}).setdefault(safe_key(key, str(listed.file)), set()).add(
                label
            )
        labels = of_split(told, split, listed.file)
        sizes: dict[str, int] = {}
        missing: Notes = []
        for key in sorted(labels):
            size = file_size(f"{self.root}/{key}")
            if isinstance(size, str):
                missing.append((key, size))
            elif len(labels[key]) > 1:
                missing.append((key, "the list gives it several labels"))
            else:
                sizes[key] = size
        values = [next(iter(labels[key])) for key in sizes]
        numbers = [int(value) if value.isdecimal() else value for value in values]
        self.classes, self.class_names, indices = classes_of(numbers, None, str(listed.file))
        self.records, unlabelled = records_of(list(sizes), indices)
        self.skipped = (*missing, *unlabelled)
        self.fingerprint = listing_hash(sizes.items(), hash_of([self.classes, values]))

    def read(self, key: str) -> bytes:
        return read_file(self.root / key)


def find_lists(path: Path, settings: SourceSettings) -> dict[str, _List]:
    """The CSV files with images and labels, of a folder by `split_word`, or a file itself.

    Raises FocusError where there are several for a split, or the file is none.
    """
    if not path.is_dir():
        listed = _read(path, settings)
        if listed is None:
            raise FocusError(
                f"{path} is no list of images: it needs a column of files that are near it (--image-column), "
                "and one of labels (--label-column)"
            )
        return {"": listed}
    found: dict[str, _List] = {}
    for folder in (path, *split_folders(path, folders_in(path)).values()):
        for file in sorted(file for suffix in SUFFIXES for file in folder.glob(f"[!.]*{suffix}")):
            word = split_word(file.relative_to(path).as_posix())
            if listed := _read(file, settings):
                if word in found:
                    several = few([found[word].file, file])
                    raise FocusError(f"{path} has several lists, {several}: give the one that is meant")
                found[word] = listed
    return found


def _read(file: Path, settings: SourceSettings) -> _List | None:
    """None where it has no column of labels, or none that names files near it."""
    lines = text_of(read_file(file), file).splitlines()
    marks = {mark: lines[0].count(mark) for mark in ",;\t|"} if lines else {",": 0}
    try:
        rows = list(csv.DictReader(lines, delimiter=max(marks, key=lambda mark: marks[mark])))
    except csv.Error:
        return None
    names = [name for name in rows[0] if name] if rows else []
    label = label_column(names, settings.label_column)
    near, word = file.absolute().parent, split_word(file.name)
    inside = [near / name for name in folders_in(near) if split_word(name) in ("", word)]
    likely = [near, *inside, *(near / "images" / name for name in folders_in(near / "images"))]
    columns = [name for name in names if name != label and settings.image_column in (None, name)]
    for column in columns if label in names else []:
        for ending in _ENDINGS:
            keys = [f"{row[column] or ''}{ending}".replace("\\", "/") for row in rows]
            if root := folder_with(likely, keys):
                parts = [row.get("split") or "" for row in rows]
                labels = [(row[label] or "").strip() for row in rows]
                return _List(file, f"{column}, {label}", root, list(zip(keys, labels, parts, strict=True)))
    return None

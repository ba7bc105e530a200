"""Lists of images: a CSV file with a row per image, which names its file and its label."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import NamedTuple

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.settings.source import SourceSettings
from focusdd.sources.boxes import safe_key
from focusdd.sources.classes import label_column, labelled
from focusdd.sources.disk import Notes, file_size, files_in, folder_with, folders_in, read_file, text_of
from focusdd.sources.identity import listing_hash
from focusdd.sources.names import few, has_val, of_split, path_name, split_folders, split_word

SUFFIXES = (".csv", ".tsv")
SUBSET_COLUMNS = ["key", "class", "file"]
"""Of subset.csv, whose classes are called as those of its source."""
_ENDINGS = ("", ".jpg", ".png", ".jpeg", ".JPG", ".JPEG")  # an id may name a file without its suffix
_LONGEST = 1 << 30  # characters of a field; by default csv refuses a file with a note of 131,073
NO_LIST = (
    "is no list of images: it needs a first line that names its columns, one of files that are near it "
    "(--image-column), and one of labels (--label-column)"
)


class _List(NamedTuple):
    """What a CSV file says."""

    file: Path
    columns: str
    """The two that count, for people."""
    root: Path
    """The names of the files start here."""
    rows: list[tuple[str, str, str]]
    """File, label and split of each row."""
    subset: bool
    """Whether `subset` wrote it."""


class ListedSource:
    """Images in folders of any kind with a CSV file of their labels: the file, or a folder that holds it."""

    def __init__(self, path: Path, split: str, settings: SourceSettings) -> None:
        self.name, self.split = path_name(path), split
        lists = find_lists(path, settings)
        listed = of_split(lists, split, path)
        self.root = listed.root
        self.place = f"{listed.file} ({listed.columns}), images in {listed.root}"
        told: dict[str, dict[str, set[str]]] = {}
        for name, label, part in listed.rows:
            key = safe_key(name, str(listed.file), listed.root)
            told.setdefault(split_word(part), {}).setdefault(key, set()).add(label)
        labels = of_split(told, split, listed.file)
        self.has_val = has_val(lists) or has_val(told)
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
        # 007 is a name: another folder of it may hold the validation images
        numbers = [
            int(value) if not listed.subset and value.isdecimal() and value == str(int(value)) else value
            for value in values
        ]
        self.classes, self.class_names, _, self.records, unlabelled = labelled(
            list(sizes), numbers, None, str(listed.file)
        )
        self.skipped = (*missing, *unlabelled)
        self.fingerprint = listing_hash(sizes.items(), hash_of([self.classes, values]))

    def read(self, key: str) -> bytes:
        return read_file(self.root / key)


def find_lists(path: Path, settings: SourceSettings) -> dict[str, _List]:
    """The CSV files with images and labels, of a folder by `split_word`, or a file itself.

    Raises FocusError where there are several for a split, or none though the file or its columns are given.
    """
    found: dict[str, _List] = {}
    folders = (path, *split_folders(path, folders_in(path)).values())
    for file in [file for folder in folders for file in files_in(folder, *SUFFIXES)] or [path]:
        listed = None if file.is_dir() else _read(file, settings)
        word = "" if file == path else split_word(file.relative_to(path).as_posix())
        if listed and word in found:
            several = few([found[word].file, file])
            raise FocusError(f"{path} has several lists, {several}: give the one that is meant")
        if listed:
            found[word] = listed
    if not found and (not path.is_dir() or settings.image_column or settings.label_column):
        raise FocusError(f"{path} {NO_LIST}")
    return found


def _read(file: Path, settings: SourceSettings) -> _List | None:
    """None where it has no column of labels, or none that names files near it."""
    text = text_of(read_file(file), file)
    header = text.partition("\n")[0]
    csv.field_size_limit(_LONGEST)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=header.count))
        names, *values = [[value.strip() for value in line] for line in lines if any(line)] or [[]]
    except csv.Error:
        return None
    rows = [dict(zip(names, row, strict=False)) for row in values]
    label = label_column([name for name in names if name], settings.label_column)
    if label is None or label not in names:
        return None
    near, word = file.absolute().parent, split_word(file.name)
    inside = [near / name for name in folders_in(near) if split_word(name) in ("", word)]
    likely = [near, *inside, *(near / "images" / name for name in folders_in(near / "images"))]
    columns = [name for name in names if name and name != label and settings.image_column in (None, name)]
    for column in columns:
        for ending in _ENDINGS:
            keys = [f"{row.get(column, '')}{ending}".replace("\\", "/") for row in rows]
            if root := folder_with(_folders(likely, keys), keys):
                told = zip(keys, rows, strict=True)
                kept = [(key, row.get(label, ""), row.get("split", "")) for key, row in told]
                return _List(file, f"{column}, {label}", root, kept, names == SUBSET_COLUMNS)
    return None


def _folders(likely: list[Path], keys: list[str]) -> list[Path]:
    """Where files may lie: in one of the likely folders or, by absolute paths that lead out of the first, in
    the one that holds them all."""
    folders = {os.path.dirname(os.path.normpath(key)) for key in keys if os.path.isabs(key)}  # noqa: PTH117, PTH120
    if not folders or any(Path(folder).is_relative_to(likely[0]) for folder in folders):
        return likely
    return [Path(os.path.commonpath(folders))]

"""Image folders: one folder per class, with or without `train/` and `val/` around or inside them."""

from __future__ import annotations

from pathlib import Path

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.settings.source import SourceSettings
from focusdd.sources import disk
from focusdd.sources.base import Record
from focusdd.sources.classes import folder_names
from focusdd.sources.identity import listing_hash
from focusdd.sources.imagenet import class_name
from focusdd.sources.names import (
    SPLITS,
    few,
    has_image_suffix,
    has_val,
    is_unicode,
    not_an_image,
    of_split,
    path_name,
    split_folders,
    split_word,
)

_Files = list[tuple[str, int]]  # key and bytes


class FolderSource:
    """An image folder; classes are its sub-folders in sorted order, images are found at any depth."""

    def __init__(self, root: Path, split: str = "train", settings: SourceSettings | None = None) -> None:
        if not root.exists():
            raise FocusError(f"there is no folder {root}: check the path")
        if not root.is_dir():
            raise FocusError(f"{root} is a file: give a folder with one sub-folder per class")
        self.name = path_name(root)
        self.split = split
        splits = _split_folders(root, split)
        self.root, self.has_val = of_split(splits, split, root), has_val(splits)
        self.place = str(self.root) + _unused(root, self.root, split)
        skipped: disk.Notes = []
        found = _listed(self.root, skipped)
        deep = settings.classes if settings else None
        if deep == "deep":
            found = _by_deepest(found)
        elif deep is None and all(_splits_of(files) for files in found.values()):
            _require_no_datasets(self.root, found)
            inner = {name: _splits_of(files) for name, files in found.items()}
            self.has_val |= any(map(has_val, inner.values()))
            found = {name: of_split(parts, split, root) for name, parts in inner.items()}
            self.place += f", {split} folder of each class"
        elif deep is None:
            _require_plain(self.root, found)
        _require_classes(self.root, found)
        self.classes = tuple(found)
        self.class_names = tuple(class_name(folder) for folder in found)
        files = [(label, *file) for label, folder in enumerate(found) for file in found[folder]]
        self.records = tuple(Record(key, label) for label, key, _ in files)
        self.skipped = tuple(skipped)
        facts = "" if deep != "deep" else hash_of([self.classes, [label for label, *_ in files]])
        self.fingerprint = listing_hash(((key, size) for _, key, size in files), facts)

    def read(self, key: str) -> bytes:
        return disk.read_file(self.root / key)


def _split_folders(root: Path, split: str) -> dict[str, Path]:
    """The folders of the splits, or the folder itself where it has none; checked for one split."""
    folders = disk.folders_in(root)
    named = split_folders(root, folders)
    found = {word: folder for word, folder in named.items() if _holds_classes(folder)}
    flat = [folder for word, folder in named.items() if word in SPLITS[split] and word not in found]
    only_splits = bool(folders) and len(named) == len(folders)
    if (only_splits and not found) or (found and flat and not set(SPLITS[split]) & set(found)):
        folder = flat[0] if flat else root / folders[0]
        raise FocusError(
            f"{folder} is by its name a split, but holds images without class folders: expected "
            f"{folder}/<class>/<image>.jpg, or a CSV file with their labels; rename it if it is a class"
            + ("; images with boxes are for `focusdd detect`" if _has_boxes(root, folder) else "")
        )
    return found or {"": root}


def _unused(root: Path, taken: Path, split: str) -> str:
    """Says which folder of the same split is left aside: test where there is validation, too."""
    named = split_folders(root, disk.folders_in(root)) if taken != root else {}
    left = [folder.name for word, folder in named.items() if word in SPLITS[split] and folder != taken]
    return f" (not used: {few(left)})" if left else ""


def _has_boxes(root: Path, split: Path) -> bool:
    """Whether annotations of objects seem to stand beside the images of a split."""
    return (root / "annotations").is_dir() or any(disk.files_in(at, ".json") for at in (root, split))


def has_class_folders(root: Path) -> bool:
    """Whether a folder, or one of a split in it, holds several folders, which then are classes."""
    folders = disk.folders_in(root)
    named = split_folders(root, folders)
    if any(len(disk.folders_in(folder)) > 1 for folder in named.values()):
        return True
    return len(folders) > 1 and len(named) < len(folders)


def _holds_classes(folder: Path) -> bool:
    """Whether it holds folders: one named "train" or "test" may be a class itself, full of images."""
    names = [entry.name for entry in disk.visible(folder)]
    return bool(disk.folders_in(folder)) or not any(map(has_image_suffix, names))


def _listed(root: Path, skipped: disk.Notes) -> dict[str, _Files]:
    """The images of each folder."""
    found: dict[str, _Files] = {}
    with progress(f"list {root}", None, "images") as advance:
        for entry in disk.visible(root):
            name = entry.name if is_unicode(entry.name) else ascii(entry.name)
            if not disk.is_folder(entry):
                image = has_image_suffix(entry.name)
                skipped.append((name, "it is in no class folder" if image else not_an_image(name)))
                continue
            if name != entry.name:
                raise FocusError(
                    f"{root} has a class folder whose name is not valid unicode, {name}: rename it"
                )
            found[entry.name] = []
            for file in disk.images_below(root, entry.name, skipped):
                found[entry.name].append(file)
                advance(1)
    return found


def _splits_of(files: _Files) -> dict[str, _Files]:
    """The images of a class by the split that their folder in it names; empty where one names none."""
    found: dict[str, _Files] = {}
    for key, size in files:
        folder = key.split("/")[1]
        found.setdefault(split_word(folder) if folder != key.rpartition("/")[2] else "", []).append(
            (key, size)
        )
    return {} if "" in found else found


def _require_classes(root: Path, found: dict[str, _Files]) -> None:
    """Raises FocusError where there are no two classes with images."""
    if not found:
        raise FocusError(
            f"{root} has no class folders: expected {root}/<class>/<image>.jpg, there are "
            f"{disk.contents(root)}"
        )
    for folder, files in found.items():
        if not files:
            fuller = [name for name in found if len(disk.folders_in(root / name)) > 1]
            other = f", or give {root / fuller[0]} if the classes are there" if fuller else ""
            if tables := disk.files_in(root / folder, ".tar", ".parquet", ".arrow"):
                other = f", or give it alone: it holds {tables[0].name}"
            raise FocusError(
                f"class folder {root / folder} holds no images: remove it or put images there{other}"
            )
    if len(found) == 1:
        (only,) = found
        below = root / only
        while len(inside := disk.folders_in(below)) == 1:
            below /= inside[0]
        remedy = f"give {below}, which holds {len(inside)} folders" if inside else "add another"
        raise FocusError(
            f"{root} has one class folder only, {only!r}, and telling classes apart needs two: {remedy}"
        )


def _require_no_datasets(root: Path, found: dict[str, _Files]) -> None:
    """Raises FocusError where the folders are datasets with splits and classes of their own."""
    if len(found) > 1 and all(key.count("/") > 2 for files in found.values() for key, _ in files):
        raise FocusError(
            f"{root} holds datasets with splits of their own, {few(list(found), 3)}: give one of them, or "
            "--classes top where they are classes"
        )


def _require_plain(root: Path, found: dict[str, _Files]) -> None:
    """Raises FocusError where classes may as well be a level deeper: each folder holds folders of its own."""
    inner = {
        folder: sorted({key.split("/")[1] for key, _ in files if key.count("/") > 1})
        for folder, files in found.items()
    }
    names = [name for inside in inner.values() for name in inside]
    flat = any(key.count("/") == 1 for files in found.values() for key, _ in files)
    if flat or len(set(names)) < len(names) or not all(inner.values()) or len(found) < 2:
        return
    deeper = few([f"{folder}/{inside[0]}" for folder, inside in inner.items()], 3)
    raise FocusError(
        f"{root} holds its images in folders of folders, such as {deeper}: give --classes top for "
        f"{few(list(inner), 3)}, or --classes deep for {few(names, 3)}"
    )


def _by_deepest(found: dict[str, _Files]) -> dict[str, _Files]:
    """The same files by the folders that hold them; their last names are the classes where all differ."""
    files = sorted(file for of_folder in found.values() for file in of_folder)
    parents = sorted({key.rpartition("/")[0] for key, _ in files})
    last = [parent.rpartition("/")[2] for parent in parents]
    names = last if len(set(last)) == len(last) else [parent.replace("/", "-") for parent in parents]
    name_of = dict(zip(parents, folder_names(names), strict=True))
    deepest: dict[str, _Files] = {name: [] for name in sorted(name_of.values())}
    for key, size in files:
        deepest[name_of[key.rpartition("/")[0]]].append((key, size))
    return deepest

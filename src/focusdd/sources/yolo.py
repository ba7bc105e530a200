"""YOLO: folders of images, a text file of boxes per image, and a YAML file or a list of class names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.sources import disk
from focusdd.sources.annotated import ROW, Listed, Listing, rows_of
from focusdd.sources.boxes import check_finite, clean_names, safe_key, shown
from focusdd.sources.names import SPLITS, few, has_val, of_split, split_folders

_YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_CLASSES = ("classes.txt", "obj.names", "predefined_classes.txt")
_NAMES = re.compile(rb"""^["']?(names|nc)["']?\s*:|["']names["']\s*:""", re.MULTILINE)
_FARTHEST = 4  # sides of an image that a coordinate may be away from it; more are pixels


class Config(NamedTuple):
    """What a dataset's file says."""

    path: str
    splits: dict[str, list[str]]
    """What belongs to each split, by `split_word`."""
    names: list[str]
    keypoints: bool = False


def find_yaml(root: Path) -> Path | None:
    """The YAML file of a folder, by its name or else the only one with `names`; None without.

    Raises FocusError where there are several.
    """
    files = {file.name.lower(): file for file in disk.files_in(root, ".yaml", ".yml")}
    found = [files[name] for name in _YAML if name in files][:1]
    found = found or [file for file in files.values() if _NAMES.search(disk.read_file(file))]
    if len(found) > 1:
        several = few([path.name for path in found])
        raise FocusError(f"{root} has several YAML files, {several}: give the one that is meant")
    return found[0] if found else None


def find_classes(root: Path) -> Path | None:
    """The list of class names that labelling tools write into a folder or its labels/; None without."""
    paths = (folder / name for folder in (root, root / "labels") for name in _CLASSES)
    return next((path for path in paths if path.is_file()), None)


def read_yolo(file: Path, split: str) -> Listing:
    """A YOLO dataset; labels are the indices of its class names.

    Args:
        file: the YAML file of Ultralytics: its `path` is where everything is, else the folder of the file; a
            split is a folder of images, a list of folders, or a text file of image paths. Or a list of class
            names, as `find_classes` finds it, with `images/` and `labels/` near it, or both in one folder.

    The text file of images/a/x.jpg is labels/a/x.txt (the last "images" counts), and x.txt beside it where no
    folder is called images. An image without a text file has no objects, as Ultralytics takes it.
    Boxes are `cx cy w h` as fractions of the image's sides; of a polygon the box around it is taken.
    """
    data = disk.read_file(file)
    if file.suffix.lower() in (".yaml", ".yml"):
        config = parse_yaml(data, str(file))
        root = _root(file, config)
    else:
        root = file.absolute().parent
        root = root.parent if root.name == "labels" else root
        names = clean_names(disk.lines_of(disk.text_of(data, file)), str(file))
        config = Config("", _by_lists(root) or _by_folders(root), names)
    skipped: disk.Notes = []
    problems: disk.Notes = []
    images: list[Listed] = []
    rows = [np.empty(0, ROW)]
    digest = hashlib.sha256(data)
    entries = of_split(config.splits, split, file)
    with progress(f"read {root}", None, "images") as advance:
        for key, size in _images(root, file, entries, skipped):
            advance(1)
            inside = label_key(key)
            spelt = (f"{root}/{inside}", f"{root}/{inside[:-3]}TXT")
            # false, not an error, for impossible names
            where = next((path for path in spelt if os.path.isfile(path)), "")  # noqa: PTH113
            written = disk.read_file(where) if where else b""
            labels, boxes, polygons = parse_labels(
                disk.text_of(written, where), len(config.names), where, config.keypoints
            )
            if polygons:
                problems.append((inside, "polygons are taken as the boxes around them"))
            if not where:  # as Ultralytics takes it
                problems.append((inside, "no such label file: its image is taken as one without objects"))
            digest.update(f"{key}\0{len(written)}\n".encode() + written)
            rows.append(rows_of(len(images), boxes, labels))
            images.append(Listed(key, size))
    place = f"YOLO, {file}, images in {', '.join(entries)}"
    notes = skipped, problems, place, digest.hexdigest()
    other = has_val(config.splits) and of_split(config.splits, "val", file) != entries
    return Listing(root, config.names, images, np.concatenate(rows), *notes, relative=True, has_val=other)


def parse_yaml(data: bytes, where: str) -> Config:
    """Reads the YAML file. Raises FocusError where its class names are missing or contradict each other."""
    try:
        content = yaml.load(data, Loader=yaml.BaseLoader)  # texts stay texts: a class may be called "no"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FocusError(f"{where} is not YAML ({' '.join(str(error).split())}): correct it") from error
    if not isinstance(content, dict):
        raise FocusError(f"{where} is no YOLO dataset: it needs `train`, `val` and `names`")
    splits = {}
    for name in (name for names in SPLITS.values() for name in names):
        value = content.get(name) or []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise FocusError(f"{where}: `{name}` is neither a path nor a list of paths: correct it")
        if value:
            splits[name] = value
    path = content.get("path") or ""
    if not isinstance(path, str):
        raise FocusError(f"{where}: `path` is no path: correct it")
    return Config(path, splits, _class_names(content, where), "kpt_shape" in content)


def parse_labels(
    text: str, num_classes: int, where: str, keypoints: bool = False
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Reads the text file of an image; with keypoints, only the first five numbers of a line are looked at.

    Returns:
        int32 labels (n,), float64 boxes (n, 4) as fractions, not clipped, and whether there were polygons.

    Raises:
        FocusError: a line is no box and no polygon, or its class is not there.
    """
    rows: list[list[float]] = []
    polygons = False
    for line in disk.lines_of(text):
        words = line.split()[: 5 if keypoints else None]
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = [0.0]
        if len(numbers) == 5:
            label, x, y, width, height = numbers
            rows.append([label, x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        elif len(numbers) > 5 and len(numbers) % 2:
            polygons = True
            outline = np.array(numbers[1:]).reshape(-1, 2)
            rows.append([numbers[0], *outline.min(0).tolist(), *outline.max(0).tolist()])
        else:
            remedy = "leave the confidence out" if len(numbers) == 6 else "correct it"
            raise FocusError(
                f"{where}: {' '.join(words)[:80]!r} is no line of a class and four numbers, nor of a "
                f"polygon: {remedy}"
            )
    table = np.array(rows).reshape(-1, 5)
    classes, boxes = table[:, 0], table[:, 1:]
    check_finite(boxes, where)
    if np.abs(boxes).max(initial=0) > _FARTHEST:
        raise FocusError(
            f"{where} has a coordinate {boxes.flat[np.abs(boxes).argmax()]:g}: give fractions of the image's "
            "sides, not pixels"
        )
    wrong = ~((classes >= 0) & (classes < num_classes) & (classes == np.floor(classes)))
    if wrong.any():
        raise FocusError(
            f"{where} has a class {classes[wrong][0]:g}, but there are classes 0 to {num_classes - 1} only: "
            "correct it"
        )
    return classes.astype(np.int32), boxes, polygons


def label_key(key: str) -> str:
    """Where the boxes of an image are: the last folder "images" is replaced by "labels"."""
    parts = key.split("/")
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return os.path.splitext("/".join(parts))[0] + ".txt"  # noqa: PTH122 - much faster than a path


def _by_lists(root: Path) -> dict[str, list[str]]:
    """The list of images of each split that Darknet's obj.data names."""
    file = root / "obj.data"
    lines = disk.lines_of(disk.text_of(disk.read_file(file), file)) if file.is_file() else []
    given = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    return {word: [given[word]] for word in ("train", "valid") if given.get(word)}


def _by_folders(root: Path) -> dict[str, list[str]]:
    """The folders of images of each split where no YAML file names them."""
    for base in (root / "images", root):
        if splits := split_folders(base, disk.folders_in(base)):
            inner = {word: path / "images" for word, path in splits.items()}
            inner = {word: path if path.is_dir() else path.parent for word, path in inner.items()}
            return {word: [path.relative_to(root).as_posix()] for word, path in inner.items()}
    return {"": ["images" if (root / "images").is_dir() else "."]}


def _images(root: Path, file: Path, entries: list[str], skipped: disk.Notes) -> Iterator[tuple[str, int]]:
    """The images that a split's entries in a file name, and their bytes."""
    seen: set[str] = set()
    for entry in entries:
        inside = _inside(root, entry, str(file))
        if (root / inside).is_dir():
            found = _in_folder(root, "" if inside == "." else inside, skipped)
        elif inside.lower().endswith(".txt"):
            found = _in_text(root, inside, skipped)
        else:
            raise FocusError(
                f"{file} names {entry}, but there is no folder {root / inside}: correct the path"
            )
        for key, size in found:
            if key in seen:
                raise FocusError(f"{file} names {key} twice: name every image of a split once")
            seen.add(key)
            yield key, size


def _in_folder(root: Path, folder: str, skipped: disk.Notes) -> Iterator[tuple[str, int]]:
    labels = os.path.dirname(label_key(f"{folder}/x" if folder else "x"))  # noqa: PTH120
    belonging = {f"{part}{name}".lower() for part in ("", f"{labels}/") for name in (*_CLASSES, *_YAML)}
    beside: list[str] = []
    for key, size in disk.images_below(root, folder, skipped, (".txt", ".yaml", ".yml"), beside):
        belonging.add(label_key(key).lower())
        yield key, size
    if labels != folder and (root / labels).is_dir():
        beside += [key for key, _ in disk.walk(root, labels, []) if key.lower().endswith(".txt")]
    skipped += [(key, "it has no image") for key in beside if key.lower() not in belonging]


def _in_text(root: Path, name: str, skipped: disk.Notes) -> Iterator[tuple[str, int]]:
    where = str(root / name)
    folder = os.path.dirname(name)  # noqa: PTH120
    for path in disk.lines_of(disk.text_of(disk.read_file(where), where)):
        # as in Ultralytics: "./" is the folder of the list
        key = _inside(root, f"{folder}/{path[2:]}" if path.startswith("./") and folder else path, where)
        size = disk.file_size(f"{root}/{key}")
        if isinstance(size, int):
            yield key, size
        else:
            skipped.append((key, size))


def _root(file: Path, config: Config) -> Path:
    """The dataset's folder: `path`, or the file's own where a relative `path` leads nowhere."""
    root = file.absolute().parent / config.path
    if root.is_dir():
        return Path(os.path.normpath(root))
    if Path(config.path).is_absolute():
        raise FocusError(f"{file}: there is no folder {config.path}: correct `path` or remove it")
    return file.absolute().parent


def _inside(root: Path, path: str, where: str) -> str:
    """A path from a dataset's file, from its root on; FocusError where it is outside."""
    # Roboflow writes ../train/images for train/images, CVAT data/train.txt for train.txt
    first, _, inner = path.partition("/")
    odd = first == ".." or (first == "data" and not os.path.exists(root / path))  # noqa: PTH110
    if odd and not inner.startswith("..") and os.path.exists(root / inner):  # noqa: PTH110
        path = inner
    return safe_key(path, where, root)


def _class_names(content: dict[str, Any], where: str) -> list[str]:
    names, number = content.get("names"), content.get("nc")
    count = int(number) if isinstance(number, str) and number.isdecimal() and len(number) < 7 else None
    if number is not None and not count:
        raise FocusError(f"{where}: `nc` is {shown(number)}: give the number of classes")
    if isinstance(names, dict):
        if any(str(index) not in names for index in range(len(names))):
            raise FocusError(f"{where}: `names` does not number its classes from 0 on: number them")
        names = [names[str(index)] for index in range(len(names))]
    if not names and count:
        names = [f"class_{index}" for index in range(count)]
    if not isinstance(names, list) or not names:
        raise FocusError(f"{where} names no classes: add `names`")
    names = clean_names(names, where)
    if count is not None and count != len(names):
        raise FocusError(f"{where} has {len(names)} `names`, but `nc` is {count}: correct one of them")
    return names

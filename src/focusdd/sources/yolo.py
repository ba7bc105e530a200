"""Ultralytics YOLO: a YAML file with folders and class names, and a text file of boxes per image."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from focusdd.core.console import counting
from focusdd.core.errors import FocusError
from focusdd.sources.annotated import AnnotatedSource, Listed, Listing, rows_of
from focusdd.sources.base import SPLITS, has_image_suffix, not_an_image
from focusdd.sources.boxes import (
    Notes,
    check_finite,
    clean_names,
    files_below,
    read_file,
    safe_key,
    shown,
    text_of,
)

NAMES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
_NAMES = re.compile(rb"""^["']?(names|nc)["']?\s*:|["']names["']\s*:""", re.MULTILINE)
_FARTHEST = 4  # sides of an image that a coordinate may be away from it; more are pixels


class YoloSource(AnnotatedSource):
    """An Ultralytics YOLO dataset; labels are the indices of its `names`.

    Args:
        path: the YAML file, or a folder that holds data.yaml or dataset.yaml. Its `path` is where everything
            is, else the folder of the file; a split is a folder of images, a list of folders, or a text file
            of image paths. The text file of images/a/x.jpg is labels/a/x.txt (the last "images" counts), and
            x.txt beside it where no folder is called images.

    An image without a text file has no objects, as Ultralytics takes it.
    Boxes are `cx cy w h` as fractions of the image's sides; of a polygon the box around it is taken.
    """

    _relative = True

    def __init__(self, path: Path, split: str = "train") -> None:
        file = path if path.is_file() else find_yaml(path)
        if file is None:
            raise FocusError(f"{path} holds no data.yaml or dataset.yaml: give the YAML file itself")
        data = read_file(file)
        super().__init__(path, split, _list(file, parse_yaml(data, str(file)), split, data))


class Config(NamedTuple):
    """What a YAML file says."""

    path: str
    splits: dict[str, list[str]]
    names: list[str]
    keypoints: bool


def find_yaml(root: Path) -> Path | None:
    """The YAML file of a folder, by its name or else the only one with `names`; None without.

    Raises:
        FocusError: there are several.
    """
    found = [root / name for name in NAMES if (root / name).is_file()]
    if not found:
        found = [path for path in sorted(root.glob("[!.]*.y*ml")) if _NAMES.search(read_file(path))]
        if len(found) > 1:
            several = ", ".join(path.name for path in found)
            raise FocusError(f"{root} has several YAML files, {several}: give the one that is meant")
    return found[0] if found else None


def parse_yaml(data: bytes, where: str) -> Config:
    """Reads the YAML file.

    Raises:
        FocusError: it is not YAML, or its class names are missing or contradict each other.
    """
    try:
        content = yaml.load(data, Loader=yaml.BaseLoader)  # texts stay texts: a class may be called "no"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FocusError(f"{where} is not YAML ({' '.join(str(error).split())}): correct it") from error
    if not isinstance(content, dict):
        raise FocusError(f"{where} is no YOLO dataset: it needs `train`, `val` and `names`")
    splits = {}
    for name in (name for names in SPLITS.values() for name in names):
        value = content.get(name) or []
        splits[name] = [value] if isinstance(value, str) else value
        if not isinstance(splits[name], list) or not all(isinstance(entry, str) for entry in splits[name]):
            raise FocusError(f"{where}: `{name}` is neither a path nor a list of paths: correct it")
    path = content.get("path") or ""
    if not isinstance(path, str):
        raise FocusError(f"{where}: `path` is no path: correct it")
    return Config(path, splits, _class_names(content, where), "kpt_shape" in content)


def parse_labels(text: str, num_classes: int, where: str, keypoints: bool = False) -> tuple[Any, Any, bool]:
    """Reads the text file of an image; with keypoints, only the first five numbers of a line are looked at.

    Returns:
        int32 labels (n,), float64 boxes (n, 4) as fractions, not clipped, and whether there were polygons.

    Raises:
        FocusError: a line is no box and no polygon, or its class is not there.
    """
    lines = [line.split() for line in text.splitlines()]
    lines = [line[:5] if keypoints else line for line in lines if line]
    polygons = [place for place, line in enumerate(lines) if len(line) > 5]
    plain = [["0"] * 5 if len(line) > 5 else line for line in lines] if polygons else lines
    try:
        rows = np.array(plain, np.float64).reshape(len(lines), 5)
        outlines = [np.array(lines[place], np.float64) for place in polygons]
        if any(len(outline) % 2 == 0 for outline in outlines):
            raise ValueError
    except ValueError as error:
        raise FocusError(
            f"{where}: {_odd(lines)!r} is no line of a class and four numbers, nor of a polygon: correct it"
        ) from error
    with np.errstate(over="ignore", invalid="ignore"):
        half = rows[:, 3:] / 2
        boxes = np.concatenate([rows[:, 1:3] - half, rows[:, 1:3] + half], axis=1)
    for place, outline in zip(polygons, outlines, strict=True):
        rows[place, 0] = outline[0]
        boxes[place] = [*outline[1:].reshape(-1, 2).min(0), *outline[1:].reshape(-1, 2).max(0)]
    check_finite(boxes, where)
    if np.abs(boxes).max(initial=0) > _FARTHEST:
        raise FocusError(
            f"{where} has a coordinate {boxes.flat[np.abs(boxes).argmax()]:g}: give fractions of the image's "
            "sides, not pixels"
        )
    classes = rows[:, 0]
    wrong = ~((classes >= 0) & (classes < num_classes) & (classes == np.floor(classes)))
    if wrong.any():
        raise FocusError(
            f"{where} has a class {classes[wrong][0]:g}, but there are classes 0 to {num_classes - 1} only: "
            "correct it"
        )
    return classes.astype(np.int32), boxes, bool(polygons)


def label_key(key: str) -> str:
    """Where the boxes of an image are: the last folder "images" is replaced by "labels"."""
    parts = key.split("/")
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return os.path.splitext("/".join(parts))[0] + ".txt"  # noqa: PTH122 - much faster than a path


def _list(file: Path, config: Config, split: str, data: bytes) -> Listing:
    root = _root(file, config)
    skipped: Notes = []
    problems: Notes = []
    images: list[Listed] = []
    labels: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    unlabelled: list[str] = []
    digest = hashlib.sha256(data)
    with counting(f"read {root}", "images") as advance:
        for key, stat in _images(root, file, config, split, skipped):
            advance(1)
            inside = label_key(key)
            # false, not an error, for impossible names
            labelled = os.path.isfile(root / inside)  # noqa: PTH113
            unlabelled += [] if labelled else [key]
            written = read_file(root / inside) if labelled else b""
            where = str(root / inside)
            found, here, polygons = parse_labels(
                text_of(written, where), len(config.names), where, config.keypoints
            )
            if polygons and not problems:
                problems.append((inside, "polygons are taken as the boxes around them, here and elsewhere"))
            digest.update(f"{key}\0{len(written)}\n".encode() + written)
            images.append(Listed(key, stat.st_size))
            labels.append(found)
            boxes.append(here)
    if unlabelled:  # as Ultralytics takes them
        count = f"{len(unlabelled):,} images" if len(unlabelled) > 1 else "1 image"
        problems.append((unlabelled[0], f"{count} without a label file: taken as one without objects"))
    place = f"{file}, images in {', '.join(_entries(file, config, split))}"
    return Listing(
        root, config.names, images, rows_of(boxes, labels), skipped, problems, place, digest.hexdigest()
    )


def _images(
    root: Path, file: Path, config: Config, split: str, skipped: Notes
) -> Iterator[tuple[str, os.stat_result]]:
    seen: set[str] = set()
    for entry in _entries(file, config, split):
        inside = _inside(root, entry, str(file))
        if (root / inside).is_dir():
            found = _in_folder(root, "" if inside == "." else inside, skipped)
        elif inside.lower().endswith(".txt"):
            found = _in_text(root, inside, skipped)
        else:
            raise FocusError(
                f"{file} names {entry}, but there is no folder {root / inside}: correct the path"
            )
        for key, stat in found:
            if key in seen:
                raise FocusError(f"{file} names {key} twice for {split}: name every image once")
            seen.add(key)
            yield key, stat


def _entries(file: Path, config: Config, split: str) -> list[str]:
    """What a YAML file names for a split."""
    for name in SPLITS[split]:
        if config.splits[name]:
            return config.splits[name]
    raise FocusError(f"{file} names no {split} images: add a line `{split}: images/{split}`")


def _in_folder(root: Path, folder: str, skipped: Notes) -> Iterator[tuple[str, os.stat_result]]:
    labels = os.path.dirname(label_key(f"{folder}/x" if folder else "x"))  # noqa: PTH120
    belonging = set()
    beside = []
    for key, stat in files_below(root, folder, skipped):
        if has_image_suffix(key):
            belonging.add(label_key(key))
            yield key, stat
        elif key.endswith(".txt"):
            beside.append(key)
        elif key not in NAMES:
            skipped.append((key, not_an_image(key)))
    if labels != folder and (root / labels).is_dir():
        beside += [key for key, _ in files_below(root, labels, []) if key.endswith(".txt")]
    skipped += [(key, "it has no image") for key in beside if key not in belonging]


def _in_text(root: Path, name: str, skipped: Notes) -> Iterator[tuple[str, os.stat_result]]:
    where = str(root / name)
    folder = os.path.dirname(name)  # noqa: PTH120
    for line in text_of(read_file(root / name), where).splitlines():
        path = line.strip()
        if not path:
            continue
        # as in Ultralytics: "./" is the folder of the list
        key = _inside(root, f"{folder}/{path[2:]}" if path.startswith("./") and folder else path, where)
        try:
            stat = os.stat(root / key)  # noqa: PTH116
        except OSError as error:
            skipped.append((key, error.strerror or "cannot be read"))
            continue
        if not os.path.isfile(root / key):  # noqa: PTH113
            skipped.append((key, "not a file"))
            continue
        yield key, stat


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
    if not Path(path).is_absolute() or "\0" in path:
        # Roboflow writes ../train/images for train/images
        shorter = path.removeprefix("../")
        if shorter != path and not path.startswith("../..") and os.path.exists(root / shorter):  # noqa: PTH110
            path = shorter
        return safe_key(path, where)
    for base, full in ((root, os.path.normpath(path)), (root.resolve(), os.path.realpath(path))):
        if Path(full).is_relative_to(base):
            return safe_key(Path(full).relative_to(base).as_posix(), where)
    raise FocusError(f"{where} names {path!r}, which is outside {root}: set `path` to a folder that holds it")


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


def _odd(lines: list[list[str]]) -> str:
    """The line that is none."""
    for line in lines:
        try:
            numbers = [float(token) for token in line]
        except ValueError:
            numbers = []
        if len(numbers) < 5 or len(numbers) % 2 == 0:
            return " ".join(line)[:80]
    return ""

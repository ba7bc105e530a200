"""COCO: one JSON file with lists of images, annotations and categories, images in a folder near it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

import numpy as np

from focusdd.core.console import counting
from focusdd.core.errors import FocusError
from focusdd.sources.annotated import AnnotatedSource, Listed, Listing, Rows
from focusdd.sources.base import SPLITS, has_image_suffix
from focusdd.sources.boxes import (
    Notes,
    check_finite,
    check_once,
    clean_names,
    read_file,
    safe_key,
    shown,
    text_of,
)
from focusdd.sources.outlines import box_around

_PROBES = 1000  # listed images that are tried to find their folder


class CocoSource(AnnotatedSource):
    """A COCO dataset; labels are in the order of the category ids, crowds (`iscrowd`) are ignored objects.

    Args:
        path: a folder with a JSON file per split, or such a file itself, taken for whichever split.

    Boxes are (x, y, x + w, y + h) of the file's `[x, y, w, h]`; without one, the box around the polygons.
    """

    def __init__(self, path: Path, split: str = "train") -> None:
        file = path if path.is_file() else find_json(path, split)
        if file is None:
            others = [name for name in SPLITS if find_json(path, name)]
            held = f"has annotations of {others[0]} but none of" if others else "has no COCO annotations of"
            raise FocusError(f"{path} {held} {split}: give {path}/{split}.json, or the file itself")
        super().__init__(path, split, _list(file))


class Content(NamedTuple):
    """A COCO file without what nobody needs here."""

    names: list[str]
    keys: list[str]
    sizes: list[tuple[int, int]]
    rows: Rows
    problems: Notes
    unknown: dict[int, str]
    """Images with an object whose box cannot be had -> why."""


def find_json(root: Path, split: str) -> Path | None:
    """The annotation file of a split in a folder, by the common layouts; None without.

    Raises:
        FocusError: there are several.
    """
    for name in SPLITS[split]:
        named = re.compile(rf"(instances_)?{name}(\d{{4}})?\.json")
        found = [
            path
            for folder in (root, root / "annotations")
            for path in sorted(folder.glob("*.json"))
            if named.fullmatch(path.name)
        ]
        found += [path for path in [root / name / "_annotations.coco.json"] if path.is_file()]
        if len(found) > 1:
            several = ", ".join(str(path.relative_to(root)) for path in found)
            raise FocusError(f"{root} has several files for {split}, {several}: give the one that is meant")
        if found:
            return found[0]
    return None


def parse_coco(text: str, where: str) -> Content:
    """Reads a COCO file's text; rows count the images in the file's order.

    Raises:
        FocusError: it is no COCO file, or contradicts itself.
    """
    try:
        content = json.loads(text, object_hook=_slim)
    except (ValueError, RecursionError) as error:
        raise FocusError(f"{where} is not JSON ({error}): export it again") from error
    categories = _items(content, "categories", where)
    if not all(type(item.get("id")) is int for item in categories):
        raise FocusError(f"{where} has a category whose id is no whole number: number the categories")
    annotations = _items(content, "annotations", where)
    categories = _without_root(categories, annotations)
    categories.sort(key=lambda item: item["id"])
    check_once([item["id"] for item in categories], "category id", where)
    names = clean_names([item.get("name") for item in categories], where)
    images = _items(content, "images", where)
    if not all(type(item.get("id")) in (int, str) for item in images):
        raise FocusError(f"{where} has an image without an id: number the images")
    check_once([item["id"] for item in images], "image id", where)
    keys = [safe_key(item.get("file_name"), where) for item in images]
    check_once(keys, "image file", where)
    sizes = [(_side(item.get("width"), where), _side(item.get("height"), where)) for item in images]
    place = {item["id"]: index for index, item in enumerate(images)}
    label = {item["id"]: index for index, item in enumerate(categories)}
    return Content(names, keys, sizes, *_objects(annotations, place, label, keys, where))


def _without_root(
    categories: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Without Roboflow's first category, which has no objects and only names the group of all others."""
    root, *others = sorted(categories, key=lambda item: item["id"])
    if not others or not all(item.get("supercategory") == root.get("name") for item in others):
        return categories
    return categories if any(item.get("category_id") == root["id"] for item in annotations) else others


def _objects(
    items: list[dict[str, Any]], place: dict[Any, int], label: dict[Any, int], keys: list[str], where: str
) -> tuple[Rows, Notes, dict[int, str]]:
    image, labels, ignored, boxes = array("q"), array("i"), array("b"), array("d")
    problems: Notes = []
    unknown: dict[int, str] = {}
    ids: list[Any] = [item.get("id") for item in items]
    if not all(type(value) is int and abs(value) < 2**63 for value in ids):
        ids = list(range(len(items)))
    elif len(set(zip(ids, (repr(item.get("image_id")) for item in items), strict=True))) < len(ids):
        problems.append((where, "annotation ids that are there twice: counted anew"))
        ids = list(range(len(items)))
    kept = array("q")
    with counting(f"read {where}", "annotations") as advance:
        for number, item in zip(ids, items, strict=True):
            advance(1)
            inside = _look_up(place, item.get("image_id"), f"{where}: annotation {number}", "image")
            category = _look_up(label, item.get("category_id"), f"{where}: annotation {number}", "category")
            box = item.get("around") or item.get("bbox")
            if not box:
                unknown[inside] = f"object {number} has no box and no outline"
                continue
            if item.get("around"):
                problems.append((keys[inside], f"object {number} has an outline only: its box is taken"))
            if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
                raise FocusError(f"{where}: annotation {number} has a box {str(box)[:80]}: give four numbers")
            try:
                boxes.extend(box)
            except OverflowError as error:
                raise FocusError(
                    f"{where}: the box of object {number} is not finite: correct or remove it"
                ) from error
            image.append(inside)
            labels.append(category)
            ignored.append(item.get("iscrowd") in (1, True))
            kept.append(number)
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    check_finite(corners, where, kept)
    with np.errstate(over="ignore"):
        corners[:, 2:] += corners[:, :2]
    check_finite(corners, where, kept)
    columns = np.array(labels, np.int32), np.array(ignored, bool), np.array(kept, np.int64)
    return Rows(np.array(image, np.int64), corners, *columns), problems, unknown


def _list(file: Path) -> Listing:
    data = read_file(file)
    digest = hashlib.sha256(data).hexdigest()
    text = text_of(data, str(file))
    del data  # as large as the text
    names, keys, sizes, rows, problems, unknown = parse_coco(text, str(file))
    root = _images_of(file, keys)
    images: list[Listed] = []
    skipped: Notes = []
    place = np.full(len(keys), -1)
    with counting(f"list {root}", "images") as advance:
        for index, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            advance(1)
            if index in unknown:
                skipped.append((key, unknown[index]))
                continue
            try:
                stat = os.stat(root / key)  # noqa: PTH116
            except OSError as error:
                skipped.append((key, error.strerror or "cannot be read"))
                continue
            if S_ISREG(stat.st_mode):
                place[index] = len(images)
                images.append(Listed(key, stat.st_size, *size))
            else:
                skipped.append((key, "not a file"))
    there = place[rows.image] >= 0
    rows = Rows(*(column[there] for column in rows._replace(image=place[rows.image])))
    skipped += _unlisted(root, keys, file.name)
    return Listing(root, names, images, rows, skipped, problems, f"{file}, images in {root}", digest)


def _images_of(file: Path, keys: Sequence[str]) -> Path:
    """The folder where a file's images are: the first likely one that holds the first of them found."""
    near = file.absolute().parent
    bases = [near, *([near.parent] if near.name.lower().startswith(("annotation", "label")) else [])]
    stem = file.stem.removeprefix("instances_")
    names = dict.fromkeys([file.stem, stem, stem.rstrip("0123456789") or stem])
    likely = [base / inner / name for name in names for base in bases for inner in ("", "images")]
    likely += [folder for base in bases for folder in (base, base / "images")]
    for key in keys[:_PROBES]:
        for folder in likely:
            if os.path.isfile(folder / key):  # noqa: PTH113 - false, not an error, for impossible names
                return folder
    raise FocusError(
        f"{file} lists {len(keys):,} images, but {keys[0]} is not there: put them into "
        f"{bases[-1] / stem}/ or beside the file"
    )


def _unlisted(root: Path, keys: Sequence[str], name: str) -> Notes:
    """One line for all image files beside listed ones: a folder may be shared by all splits."""
    listed = set(keys)
    more: list[str] = []
    for folder in sorted({os.path.dirname(key) for key in keys}):  # noqa: PTH120 - much faster than a path
        try:
            inside = sorted(os.listdir(root / folder))  # noqa: PTH208
        except OSError:
            continue  # its images are in `skipped` already
        found = (f"{folder}/{entry}" if folder else entry for entry in inside if entry[0] != ".")
        more += [key for key in found if key not in listed and has_image_suffix(key)]
    if not more:
        return []
    first = more[0].encode(errors="replace").decode()
    return [(first if len(more) == 1 else f"{first} and {len(more) - 1:,} more", f"{name} does not list it")]


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """Drops outlines while the file is being read: in COCO they are most of it, and large as lists."""
    if "image_id" in item and "segmentation" in item:
        outline, box = item.pop("segmentation"), item.get("bbox")
        if not box or (isinstance(box, list) and 0 in box[2:]):
            item["around"] = box_around(outline)
    return item


def _items(content: Any, name: str, where: str) -> list[dict[str, Any]]:
    items = content.get(name) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise FocusError(f'{where} is no COCO file, it has no list "{name}": export the dataset as COCO')
    if not items:
        raise FocusError(f"{where} has no {name}: export the dataset again")
    return items


def _look_up(index: dict[Any, int], value: Any, where: str, what: str) -> int:
    try:
        return index[value]
    except (KeyError, TypeError):
        raise FocusError(
            f"{where} is of an unknown {what} {shown(value)}: list it or remove the annotation"
        ) from None


def _side(value: Any, where: str) -> int:
    """Pixels of a side; 0 where the file says nothing."""
    if value is None:
        return 0
    if type(value) not in (int, float) or not 0 <= value < 2**31 or value != int(value):
        raise FocusError(f"{where} has an image {shown(value)} pixels wide or high: give whole numbers")
    return int(value)

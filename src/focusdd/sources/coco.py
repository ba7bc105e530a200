"""COCO: one JSON file with lists of images, annotations and categories, images in a folder near it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.spelling import number_of
from focusdd.sources import disk
from focusdd.sources.annotated import ROW, Listed, Listing, renumbered
from focusdd.sources.boxes import (
    around_turned,
    check_finite,
    check_once,
    clean_names,
    safe_key,
    shown,
    stated_side,
)
from focusdd.sources.names import few, has_image_suffix, split_word
from focusdd.sources.outlines import box_around

# what tools call the file of a folder whose name, or nothing, says the split
_PLAIN = (
    *("_annotations.coco.json", "annotations.json", "annotations.coco.json", "coco.json", "labels.json"),
    *("instances.json", "instances_default.json", "result.json"),
)


class Content(NamedTuple):
    """A COCO file without what nobody needs here."""

    names: list[str]
    images: list[Listed]
    """In the file's order; their sizes in bytes are not known yet."""
    rows: np.ndarray
    """ROW (n,)."""
    problems: disk.Notes
    unknown: dict[int, str]
    """Images with an object whose box cannot be had -> why."""


def find_coco(root: Path) -> dict[str, Path]:
    """The COCO files of a folder by `split_word`. Raises FocusError where there are several for a split."""
    found: dict[str, list[Path]] = {}
    for folder in (root, root / "annotations"):
        for path in disk.files_in(folder, ".json"):
            if word := split_word(path.name.lower().removeprefix("instances_")):
                found.setdefault(word, []).append(path)
    for name in disk.folders_in(root):
        if word := split_word(name):
            found.setdefault(word, []).extend(_plain(root / name))
    if not any(found.values()):
        found[""] = _plain(root)
    for word, paths in found.items():
        if len(paths) > 1:
            several = few([path.relative_to(root) for path in paths])
            kind = word or "the annotations"
            raise FocusError(f"{root} has several files for {kind}, {several}: give the one that is meant")
    return {word: paths[0] for word, paths in found.items() if paths}


def _plain(folder: Path) -> list[Path]:
    files = [*disk.files_in(folder, ".json"), *disk.files_in(folder / "annotations", ".json")]
    return [file for file in files if file.name.lower() in _PLAIN]


def read_coco(file: Path) -> Listing:
    """A COCO dataset; labels are in the order of category ids, `iscrowd` and `ignore` mark ignored objects.

    Boxes are (x, y, x + w, y + h) of the file's `[x, y, w, h]`; without one, the box around the polygons.
    """
    data = disk.read_file(file)
    digest = hashlib.sha256(data).hexdigest()
    text = disk.text_of(data, file)
    del data  # as large as the text
    names, listed, rows, problems, unknown = parse_coco(text, str(file), _bases(file)[-1])
    root = _images_of(file, [image.key for image in listed])
    images: list[Listed] = []
    skipped: disk.Notes = []
    place = np.full(len(listed), -1)
    with progress(f"list {root}", None, "images") as advance:
        for index, image in enumerate(listed):
            advance(1)
            size = unknown.get(index) or disk.file_size(f"{root}/{image.key}")
            if isinstance(size, int):
                place[index] = len(images)
                images.append(image._replace(size=size))
            else:
                skipped.append((image.key, size))
    skipped += _unlisted(root, {image.key for image in listed}, file.name)
    rows = renumbered(rows, place)
    there = root if file.is_absolute() else os.path.relpath(root)
    return Listing(root, names, images, rows, skipped, problems, f"COCO, {file}, images in {there}", digest)


def parse_coco(text: str, where: str, root: Path | None = None) -> Content:
    """Reads a COCO file's text; rows count the images in the file's order, absolute paths start at `root`.

    Raises FocusError where it is no COCO file, or contradicts itself.
    """
    try:
        content = json.loads(text, object_hook=_slim)
    except (ValueError, RecursionError) as error:
        raise FocusError(f"{where} is not JSON ({error}): export it again") from error
    categories = _items(content, "categories", where)
    if not all(type(item.get("id")) is int for item in categories):
        raise FocusError(f"{where} has a category whose id is no whole number: number the categories")
    annotations = _items(content, "annotations", where)
    categories = _without_root(sorted(categories, key=lambda item: item["id"]), annotations)
    images = _items(content, "images", where)
    if not all(type(item.get("id")) in (int, str) for item in images):
        raise FocusError(f"{where} has an image without an id: number the images")
    listed = [
        Listed(
            safe_key(_file_name(item), where, root), 0,
            stated_side(item.get("width"), where), stated_side(item.get("height"), where),
        )
        for item in images
    ]  # fmt: skip
    check_once([item["id"] for item in categories], "category id", where)
    check_once([_id(item["id"]) for item in images], "image id", where)
    check_once([image.key for image in listed], "image file", where)
    names = clean_names([item.get("name") for item in categories], where)
    return Content(names, listed, *_objects(annotations, images, categories, listed, where))


def _file_name(image: dict[str, Any]) -> Any:
    """LVIS gives the end of an address alone: http://images.cocodataset.org/train2017/000000391895.jpg."""
    url = image.get("coco_url")
    return image.get("file_name") or ("/".join(url.split("/")[-2:]) if isinstance(url, str) else None)


def _without_root(
    categories: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Without Roboflow's first category, which has no objects and only names the group of all others."""
    root, *others = categories
    name = root.get("name")
    names_all = bool(others) and all(item.get("supercategory") == name for item in others)
    used = names_all and any(_id(item.get("category_id")) == root["id"] for item in annotations)
    # a class may be in a group that is called like it
    return others if names_all and not used and root.get("supercategory") != name else categories


def _objects(
    items: list[dict[str, Any]],
    images: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    listed: list[Listed],
    where: str,
) -> tuple[np.ndarray, disk.Notes, dict[int, str]]:
    place = {_id(item["id"]): index for index, item in enumerate(images)}
    label = {_id(item["id"]): index for index, item in enumerate(categories)}
    rows: list[tuple[int, tuple[float, ...], int, bool, int]] = []
    angles: list[float] = []
    problems: disk.Notes = []
    unknown: dict[int, str] = {}
    ids: list[Any] = [item.get("id") for item in items]
    if not all(type(value) is int and abs(value) < 2**63 for value in ids):
        ids = list(range(len(items)))
    elif len(set(zip(ids, (repr(item.get("image_id")) for item in items), strict=True))) < len(ids):
        problems.append((where, "annotation ids that are there twice: counted anew"))
        ids = list(range(len(items)))
    with progress(f"read {where}", None, "annotations") as advance:
        for number, item in zip(ids, items, strict=True):
            advance(1)
            image = _look_up(place, item.get("image_id"), f"{where}: annotation {number}", "image")
            category = _look_up(label, item.get("category_id"), f"{where}: annotation {number}", "category")
            around, angle = item.get("around"), _angle(item)
            box = around or item.get("bbox")
            if not box:
                unknown[image] = f"object {number} has no box and no outline"
                continue
            if angle:
                problems.append((listed[image].key, f"object {number} is turned: the box around it is taken"))
            elif around:
                problems.append((listed[image].key, f"object {number} has an outline only: its box is taken"))
            if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
                raise FocusError(f"{where}: annotation {number} has a box {str(box)[:80]}: give four numbers")
            corners = tuple(float(value) if abs(value) < 1e300 else np.inf for value in box)
            ignored = any(_id(item.get(name)) == 1 for name in ("iscrowd", "ignore"))
            rows.append((image, corners, category, ignored, number))
            angles.append(0.0 if around else angle)
    table = np.array(rows, ROW)
    with np.errstate(invalid="ignore"):
        table["box"][:, 2:] += table["box"][:, :2]
    check_finite(table["box"], where, table["id"])
    table["box"] = around_turned(table["box"], np.array(angles))
    return table, problems, unknown


def _images_of(file: Path, keys: Sequence[str]) -> Path:
    """The folder where a file's images are: the first likely one that holds the first of them found."""
    bases = _bases(file)
    stem = file.stem.removeprefix("instances_")
    names = dict.fromkeys([file.stem, stem, stem.rstrip("0123456789") or stem])
    likely = [base / inner / name for name in names for base in bases for inner in ("", "images")]
    likely += [folder for base in bases for folder in (base, base / "images", base / "Images", base / "data")]
    if found := disk.folder_with(likely, keys):
        return found
    raise FocusError(
        f"{file} lists {number_of(len(keys), 'image')}, but {keys[0]} is not there: put them into "
        f"{bases[-1] / stem}/ or beside the file"
    )


def _bases(file: Path) -> list[Path]:
    """The folder of a file, and the one around it where that is one of annotations."""
    near = file.absolute().parent
    return [near, near.parent] if near.name.lower().startswith(("annotation", "label")) else [near]


def _unlisted(root: Path, listed: set[str], name: str) -> disk.Notes:
    """One line for all image files beside listed ones: a folder may be shared by all splits."""
    more: list[str] = []
    for folder in sorted({os.path.dirname(key) for key in listed}):  # noqa: PTH120 - much faster than a path
        with suppress(FocusError):  # images of a folder that is not there are in `skipped` already
            keys = [f"{folder}/{entry.name}".lstrip("/") for entry in disk.visible(root / folder)]
            more += [key for key in keys if key not in listed and has_image_suffix(key)]
    first = few(more, 1).encode(errors="replace").decode()
    return [(first, f"{name} does not list it")] if more else []


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """Drops outlines while the file is being read: in COCO they are most of it, and large as lists."""
    if "image_id" in item and "segmentation" in item:
        outline, box = item.pop("segmentation"), item.get("bbox")
        if not box or (isinstance(box, list) and 0 in box[2:]) or _angle(item):
            item["around"] = box_around(outline)
    return item


def _angle(annotation: dict[str, Any]) -> float:
    """Degrees by which CVAT's box is turned about its middle."""
    attributes = annotation.get("attributes")
    value = attributes.get("rotation") if isinstance(attributes, dict) else 0
    return float(value) if isinstance(value, int | float) and abs(value) < 1e6 else 0.0


def _items(content: Any, name: str, where: str) -> list[dict[str, Any]]:
    items = content.get(name) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise FocusError(f'{where} is no COCO file, it has no list "{name}": export the dataset as COCO')
    if not items:
        raise FocusError(f"{where} has no {name}: export the dataset again")
    return items


def _id(value: Any) -> Any:
    """An id as all lists of a file have it: some tools write 1 here, "1" or 1.0 there."""
    if type(value) is float and value.is_integer():
        return int(value)
    number = type(value) is str and value.isdecimal() and len(value) < 19
    return int(value) if number and str(int(value)) == value else value


def _look_up(index: dict[Any, int], value: Any, where: str, what: str) -> int:
    try:
        return index[_id(value)]
    except (KeyError, TypeError):
        raise FocusError(
            f"{where} is of an unknown {what} {shown(value)}: list it or remove the annotation"
        ) from None

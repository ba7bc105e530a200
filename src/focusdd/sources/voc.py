"""Pascal VOC: one XML file per image, beside it or in a folder of their own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.spelling import number_of
from focusdd.sources import disk
from focusdd.sources.annotated import ROW, Listed, Listing, rows_of
from focusdd.sources.boxes import (
    around_turned,
    check_finite,
    check_once,
    clean_names,
    ordered,
    safe_key,
    stated_side,
)
from focusdd.sources.names import SPLITS, few, has_val, of_split, split_folders

_IMAGES = ("jpegimages", "images", "image", "imgs", "img")
_ANNOTATIONS = ("annotations", "annots", "annotation", "xmls", "xml", "labels")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LISTS = {word: word for words in SPLITS.values() for word in words} | {"trainval": "train", "default": ""}
"""Lists of images in a devkit -> the split that each is of; CVAT writes default.txt."""


class Place(NamedTuple):
    """Where the files of a split are."""

    images: Path
    annotations: Path
    wanted: Path | None = None
    """List of the images that belong to it; None: all do."""
    devkit: bool = False


class Scene(NamedTuple):
    """What an XML file says."""

    width: int
    height: int
    names: list[str]
    boxes: np.ndarray
    """float64 (n, 4)."""
    difficult: np.ndarray
    """bool (n,)."""
    dropped: int
    """Objects without a box."""
    digest: bytes


def find_voc(root: Path) -> dict[str, Place]:
    """The places of a folder's splits by `split_word`; empty where it is no Pascal VOC dataset."""
    splits = split_folders(root, disk.folders_in(root))
    if found := {word: place for word, folder in splits.items() if (place := _pair(folder) or _flat(folder))}:
        return found
    place = _pair(root) or _devkit(root) or _flat(root)
    if place is None:
        return {}
    return {"": place} if place.images == place.annotations else _by_folders(place) or _by_lists(place)


def _by_folders(place: Place) -> dict[str, Place]:
    """The splits that are folders in both images/ and annotations/."""
    splits = split_folders(place.images, disk.folders_in(place.images))
    pairs = {word: (folder, place.annotations / folder.name) for word, folder in splits.items()}
    return {word: Place(*pair, None, place.devkit) for word, pair in pairs.items() if _has_xml(pair[1])}


def _by_lists(place: Place) -> dict[str, Place]:
    """The splits that lists beside the annotations name; the whole as "" without."""
    base = place.annotations.parent
    named: dict[str, Place] = {}
    for folder in (base / "ImageSets" / "Main", base / "ImageSets", base):
        for name, word in _LISTS.items() if not named else ():
            if (file := folder / f"{name}.txt").is_file() and (word or not named):
                named.setdefault(word, place._replace(wanted=file))
    return named or {"": place}


def read_voc(found: dict[str, Place], split: str, path: Path) -> Listing:
    """A Pascal VOC dataset; labels are the sorted class names of the training annotations.

    Args:
        found: what `find_voc` finds in `path`: a folder of images with an XML file of the same name beside
            each, or of two folders such as `images/` and `annotations/`; one with such folders `train/` and
            `val/` inside; or a devkit's: `Annotations/`, `JPEGImages/` and `ImageSets/Main/<split>.txt`.

    Images and XML files belong together by name; `<filename>` is not looked at. Corners in a devkit are
    pixels counted from 1, the last one included, so its boxes are (xmin - 1, ymin - 1, xmax, ymax).
    Elsewhere tools write what they like, mostly half-open boxes from 0: there (xmin, ymin, xmax, ymax) is
    taken as it is.
    Objects marked difficult are ignored ones.
    """
    place = of_split(found, split, path)
    skipped: disk.Notes = []
    images, scenes = _read(place, skipped)
    trained = next((found[word] for word in SPLITS["train"] if word in found), place)
    learnt = scenes if trained == place else _read(trained, [])[1]
    names = sorted({name for scene in learnt.values() for name in scene.names})
    label = {name: index for index, name in enumerate(names)}
    digest = hashlib.sha256("\0".join(names).encode())
    rows = [np.empty(0, ROW)]
    for index, (stem, scene) in enumerate(scenes.items()):
        for name in scene.names:
            if name not in label:
                raise FocusError(
                    f"{place.annotations / stem}.xml has an object {name!a}, a class that the training "
                    f"annotations do not have ({', '.join(names)}): correct it"
                )
        digest.update(scene.digest)
        rows.append(rows_of(index, scene.boxes, [label[name] for name in scene.names], scene.difficult))
    listed = [images[stem]._replace(width=scene.width, height=scene.height) for stem, scene in scenes.items()]
    where = f"Pascal VOC, images in {place.images}"
    where += f", annotations in {place.annotations}" if place.annotations != place.images else ""
    where += f", listed in {place.wanted}" if place.wanted else ""
    about = where, digest.hexdigest(), False, has_val(found)
    return Listing(place.images, names, listed, np.concatenate(rows), skipped, [], *about)


def parse_voc(data: bytes, where: str, devkit: bool) -> Scene:
    """Reads an XML file; in a devkit corners are counted from 1.

    Raises FocusError where it is not XML, or a box is no four numbers.
    """
    plain = data.replace(b"\0", b"")  # whether UTF-8 or UTF-16
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
        raise FocusError(
            f"{where} declares a document type or entities, which can hide anything: remove these"
        )
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FocusError(f"{where} is not XML ({error}): export it again") from error
    if root.tag != "annotation":
        raise FocusError(f"{where} is no Pascal VOC file, it starts with <{root.tag}>: export it again")
    objects = root.findall("object")
    boxed = [item for item in objects if item.find("bndbox") is not None]
    corners = [[item.findtext(f"bndbox/{name}") for name in _CORNERS] for item in boxed]
    try:
        boxes = np.array([[float(text or "") for text in row] for row in corners]).reshape(-1, 4)
    except ValueError as error:
        raise FocusError(
            f"{where} has a box that is no four numbers ({error}): correct or remove it"
        ) from error
    check_finite(boxes, where)
    turned = boxes[:, :2] > boxes[:, 2:] + devkit  # put in order before the first is counted from 0
    boxes = np.where(np.tile(turned, 2), ordered(boxes), boxes)
    if devkit:
        boxes[:, :2] -= 1
    boxes = around_turned(boxes, np.array([_angle(item) for item in boxed]))
    names = [(item.findtext("name") or "").strip() for item in boxed]
    clean_names(set(names), where)
    difficult = np.array([(item.findtext("difficult") or "").strip() == "1" for item in boxed], bool)
    width, height = (
        stated_side(_number(root.findtext(f"size/{side}")), where) for side in ("width", "height")
    )
    dropped = len(objects) - len(boxed)
    return Scene(width, height, names, boxes, difficult, dropped, hashlib.sha256(data).digest())


def _angle(item: ElementTree.Element) -> float:
    """Degrees by which CVAT's box is turned about its middle."""
    told = {one.findtext("name"): one.findtext("value") for one in item.iterfind("attributes/attribute")}
    value = _number(told.get("rotation"))
    return value if isinstance(value, float) and abs(value) < 1e6 else 0.0


def _number(text: str | None) -> float | str | None:
    """A number from its text; None where that is empty, the text itself where it is no number."""
    try:
        return float(text) if text and text.strip() else None
    except ValueError:
        return text


def _read(place: Place, skipped: disk.Notes) -> tuple[dict[str, Listed], dict[str, Scene]]:
    """Images and scenes by their common stem, scenes in sorted order and of images that are there."""
    images: dict[str, Listed] = {}
    marks: list[str] = []
    for key, size in disk.images_below(place.images, "", skipped, (".xml",), marks):
        stem = os.path.splitext(key)[0]  # noqa: PTH122 - much faster than a path
        if stem in images:
            raise FocusError(
                f"{place.images} has both {images[stem].key} and {key} for one XML file: keep one of them"
            )
        images[stem] = Listed(key, size)
    if place.annotations != place.images:
        skipped += [(key, "it is beside the images") for key in marks]
        marks = [key for key, _ in disk.walk(place.annotations, "", skipped) if key.lower().endswith(".xml")]
    files = {key[:-4]: key for key in marks}
    known = images.keys() | files.keys()
    wanted = sorted(known if place.wanted is None else _wanted(place.wanted, known))
    scenes: dict[str, Scene] = {}
    with progress(f"read {place.annotations}", None, "annotations") as advance:
        for stem in wanted:
            advance(1)
            if stem not in files:
                key = images[stem].key if stem in images else stem
                skipped.append((key, "it has no XML file" if stem in images else "it is not there"))
            elif stem not in images:
                skipped.append((files[stem], "it has no image"))
            else:
                path = place.annotations / files[stem]
                scene = parse_voc(disk.read_file(path), str(path), place.devkit)
                if scene.dropped:
                    dropped = number_of(scene.dropped, "of its objects has", "of its objects have")
                    skipped.append((images[stem].key, f"{dropped} no box"))
                else:
                    scenes[stem] = scene
    return images, scenes


def _wanted(file: Path, known: Set[str]) -> list[str]:
    """The images of a list, which may give more behind the name."""
    lines = disk.lines_of(disk.text_of(disk.read_file(file), file))
    stems = [line if line in known else safe_key(line.split()[0], str(file)) for line in lines]
    check_once(stems, "image", str(file))
    return stems


def _flat(folder: Path) -> Place | None:
    """A folder of XML files at any depth."""
    return Place(folder, folder) if _has_xml(folder) else None


def _pair(folder: Path) -> Place | None:
    """The folder's folders of images and of XML files; those of the original devkit have its names."""
    inside = {name.lower(): folder / name for name in disk.folders_in(folder)}
    images = next((inside[name] for name in _IMAGES if name in inside), None)
    for marks in (inside[name] for name in _ANNOTATIONS if name in inside):
        if images is not None and _has_xml(marks):
            deeper = _has_xml(marks / "xmls") and not disk.files_in(marks, ".xml")
            return Place(images, marks / "xmls" if deeper else marks, None, images.name == "JPEGImages")
    return None


def _devkit(root: Path) -> Place | None:
    """The only devkit in a folder."""
    folders = [root / name for name in disk.folders_in(root) if (root / name / "JPEGImages").is_dir()]
    inside = [place for folder in folders if (place := _pair(folder))]
    if len(inside) > 1:
        several = few([place.images.parent.name for place in inside])
        raise FocusError(f"{root} holds several datasets, {several}: give the one that is meant")
    return inside[0] if inside else None


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and any(key.lower().endswith(".xml") for key, _ in disk.walk(folder, "", []))

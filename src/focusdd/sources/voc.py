"""Pascal VOC: one XML file per image, beside it or in a devkit's Annotations/."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from focusdd.core.console import counting
from focusdd.core.errors import FocusError
from focusdd.sources.annotated import AnnotatedSource, Listed, Listing, rows_of
from focusdd.sources.base import SPLITS, has_image_suffix, not_an_image
from focusdd.sources.boxes import (
    Notes,
    check_finite,
    check_once,
    clean_names,
    files_below,
    ordered,
    read_file,
    safe_key,
    text_of,
)

_IMAGES = ("jpegimages", "images", "image", "imgs", "img")
_ANNOTATIONS = ("annotations", "annots", "annotation", "xmls", "xml", "labels")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocSource(AnnotatedSource):
    """A Pascal VOC dataset; labels are the sorted class names of the training annotations.

    Args:
        path: a folder of images with an XML file of the same name beside each, or of two folders such as
            `images/` and `annotations/`; one with such folders `train/` and `val/` inside; or a devkit's:
            `Annotations/`, `JPEGImages/` and `ImageSets/Main/<split>.txt`.

    Images and XML files belong together by name; `<filename>` is not looked at. Corners in a devkit are
    pixels counted from 1, the last one included, so its boxes are (xmin - 1, ymin - 1, xmax, ymax).
    Elsewhere tools write what they like, mostly half-open boxes from 0: there (xmin, ymin, xmax, ymax) is
    taken as it is.
    Objects marked difficult are ignored ones.
    """

    def __init__(self, path: Path, split: str = "train") -> None:
        place = _find(path, split)
        if place is None:
            raise FocusError(
                f"{path} has no {split} annotations: expected {path}/{split}/<image>.xml, "
                f"or Annotations/ and ImageSets/Main/{split}.txt"
            )
        names: list[str] | None = None
        train = _find(path, "train") if split != "train" else None
        if train is not None and train != place:
            names = _names(_read(train, [])[1].values())
        super().__init__(path, split, _list(place, names))


class Place(NamedTuple):
    """Where the files of a split are."""

    images: Path
    annotations: Path
    wanted: Path | None
    """List of the images that belong to it; None: all do."""
    devkit: bool


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


def looks_like_voc(root: Path) -> bool:
    """Whether a folder is a devkit's, or XML files lie in it or anywhere in the folder of a split."""
    return _devkit(root) is not None or _place(root, deep=False) is not None or _has_splits(root)


def parse_voc(data: bytes, where: str, devkit: bool) -> Scene:
    """Reads an XML file; in a devkit corners are counted from 1.

    Raises:
        FocusError: it is not XML, or a box is no four numbers.
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
    names = [(item.findtext("name") or "").strip() for item in boxed]
    clean_names(set(names), where)
    difficult = np.array([(item.findtext("difficult") or "").strip() == "1" for item in boxed], bool)
    width, height = (_side(root.findtext(f"size/{side}"), where) for side in ("width", "height"))
    dropped = len(objects) - len(boxed)
    return Scene(width, height, names, boxes, difficult, dropped, hashlib.sha256(data).digest())


def _list(place: Place, names: list[str] | None) -> Listing:
    skipped: Notes = []
    images, scenes = _read(place, skipped)
    if names is None:
        names = _names(scenes.values())
    label = {name: index for index, name in enumerate(names)}
    for stem, scene in scenes.items():
        for name in scene.names:
            if name not in label:
                raise FocusError(
                    f"{place.annotations / stem}.xml has an object {name!a}, a class that the training "
                    f"annotations do not have ({', '.join(names)}): correct it"
                )
    digest = hashlib.sha256("\0".join(names).encode())
    for scene in scenes.values():
        digest.update(scene.digest)
    rows = rows_of(
        [scene.boxes for scene in scenes.values()],
        [np.array([label[name] for name in scene.names], np.int32) for scene in scenes.values()],
        [scene.difficult for scene in scenes.values()],
    )
    listed = [
        Listed(*images[stem][:2], width=scene.width, height=scene.height) for stem, scene in scenes.items()
    ]
    where = str(place.images) + (
        f", annotations in {place.annotations}" if place.annotations != place.images else ""
    )
    where += f", listed in {place.wanted}" if place.wanted else ""
    return Listing(place.images, names, listed, rows, skipped, [], where, digest.hexdigest())


def _read(place: Place, skipped: Notes) -> tuple[dict[str, Listed], dict[str, Scene]]:
    """Images and scenes by their common stem, scenes in sorted order and of images that are there."""
    images: dict[str, Listed] = {}
    files: dict[str, str] = {}
    for root in dict.fromkeys([place.images, place.annotations]):
        for key, stat in files_below(root, "", skipped):
            stem, suffix = os.path.splitext(key)  # noqa: PTH122 - much faster than a path
            if suffix.lower() == ".xml":
                files[stem] = key
            elif not has_image_suffix(key):
                skipped.append((key, not_an_image(key)))
            elif root == place.images:
                if stem in images:
                    raise FocusError(
                        f"{root} has both {images[stem].key} and {key} for one XML file: keep one of them"
                    )
                images[stem] = Listed(key, stat.st_size)
    wanted = sorted(images.keys() | files.keys()) if place.wanted is None else sorted(_wanted(place.wanted))
    scenes: dict[str, Scene] = {}
    with counting(f"read {place.annotations}", "annotations") as advance:
        for stem in wanted:
            advance(1)
            if stem not in files:
                key = images[stem].key if stem in images else stem
                skipped.append((key, "it has no XML file" if stem in images else "it is not there"))
            elif stem not in images:
                skipped.append((files[stem], "it has no image"))
            else:
                path = place.annotations / files[stem]
                scene = parse_voc(read_file(path), str(path), place.devkit)
                if scene.dropped:
                    skipped.append((images[stem].key, f"{scene.dropped} of its objects have no box"))
                else:
                    scenes[stem] = scene
    return images, scenes


def _wanted(file: Path) -> list[str]:
    lines = text_of(read_file(file), str(file)).splitlines()
    stems = [safe_key(line.strip(), str(file)) for line in lines if line.strip()]
    check_once(stems, "image", str(file))
    return stems


def _names(scenes: Iterable[Scene]) -> list[str]:
    return sorted({name for scene in scenes for name in scene.names})


def _find(root: Path, split: str) -> Place | None:
    devkit = _devkit(root)
    if devkit is not None:
        lists = devkit.annotations.parent / "ImageSets" / "Main"
        names = [*SPLITS[split], *(["trainval"] if split == "train" else []), "default"]
        found = [lists / f"{name}.txt" for name in names if (lists / f"{name}.txt").is_file()]
        if not found and lists.is_dir():
            return None
        return devkit._replace(wanted=found[0] if found else None)
    for name in SPLITS[split]:
        if place := _place(root / name):
            return place
    return None if _has_splits(root) else _place(root, deep=False)


def _place(folder: Path, deep: bool = True) -> Place | None:
    """A folder of XML files, or of two folders, one of images and one of XML files."""
    if pair := _pair(folder):
        return pair
    return Place(folder, folder, None, False) if _has_xml(folder, deep) else None


def _pair(folder: Path) -> Place | None:
    """The folder's folders of images and of XML files; those of the original devkit have its names."""
    inside = {path.name.lower(): path for path in sorted(folder.glob("[!.]*/"))} if folder.is_dir() else {}
    images = next((inside[name] for name in _IMAGES if name in inside), None)
    for marks in (inside[name] for name in _ANNOTATIONS if name in inside):
        if images is not None and _has_xml(marks):
            deeper = _has_xml(marks / "xmls") and not _has_xml(marks, deep=False)
            return Place(images, marks / "xmls" if deeper else marks, None, images.name == "JPEGImages")
    return None


def _devkit(root: Path) -> Place | None:
    """The devkit in a folder: the folder itself, or the only one in it."""
    found = _pair(root)
    if found is not None and (found.devkit or (root / "ImageSets").is_dir()):
        return found
    if (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir():
        return Place(root / "JPEGImages", root / "Annotations", None, True)
    inside = sorted(path.parent for path in root.glob("*/Annotations"))
    inside = [path for path in inside if (path / "JPEGImages").is_dir()]
    if len(inside) > 1:
        several = ", ".join(path.name for path in inside)
        raise FocusError(f"{root} holds several datasets, {several}: give the one that is meant")
    return Place(inside[0] / "JPEGImages", inside[0] / "Annotations", None, True) if inside else None


def _has_splits(root: Path) -> bool:
    return any(_place(root / name) for names in SPLITS.values() for name in names)


def _has_xml(folder: Path, deep: bool = True) -> bool:
    return folder.is_dir() and any(folder.glob("**/[!.]*.xml" if deep else "[!.]*.xml"))


def _side(text: str | None, where: str) -> int:
    """Pixels of a side; 0 where the file says nothing."""
    try:
        value = float(text) if text and text.strip() else 0.0
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**31 or value != int(value):
        raise FocusError(f"{where} has an image {text!r} pixels wide or high: give whole numbers")
    return int(value)

"""Distilled images on the page, each with where its tiles come from and what is labelled in it."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from focusdd.composition.dataset import Shown
from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.reports.collect import FoundDistilled
from focusdd.reports.figures import data_uri
from focusdd.reports.looks import evenly, photo

_GALLERIES = 16
_CLASSES = 10  # of a gallery, two images each
_BOXED = 8  # images with boxes of a gallery
_BYTES = {"classify": 2_200_000, "detect": 5_000_000}  # of all galleries together
_SIDES = {"classify": (208, 136), "detect": (640, 416)}  # pixels where there are few galleries, and many
_LIST_BYTES = 1_000_000  # of all lists of source files together


class Picture(NamedTuple):
    """A distilled image with its tiles."""

    name: str
    classes: list[str]
    uri: str
    tiles: list[Any]
    boxes: list[tuple[str, str]]
    """Class and place (CSS, in percent) of every labelled object."""


def galleries(datasets: list[FoundDistilled]) -> list[dict[str, Any]]:
    """Some images of every dataset, as many as the page's size allows; further seeds are left out."""
    once: dict[str, FoundDistilled] = {}
    for data in datasets:
        settings = {name: value for name, value in data.stage.done["settings"].items() if name != "seed"}
        once.setdefault(repr((data.stage.done["inputs"], data.title, settings)), data)
    shown = [data for data in once.values() if data.info["method"] != "full"][:_GALLERIES]
    made = []
    for data in shown:
        task = "detect" if boxed(data) else "classify"
        side = _SIDES[task][len(shown) > 5]
        made.append(_gallery(data, side, _BYTES[task] // len(shown), _LIST_BYTES // len(shown)))
    return made


def boxed(data: FoundDistilled) -> bool:
    """Whether the tiles of a dataset hold objects with boxes."""
    return data.task.name == "detect"


def picture_of_class(data: FoundDistilled, label: int, side: int) -> Picture | None:
    """The first image of a dataset that shows a class; None where there is none or it cannot be read."""
    for name, tiles in data.plan.images():
        labels = [one.label for tile in tiles for one in tile.objects if one.kept] if boxed(data) else []
        if label in (labels or [tiles[0].label]):
            try:
                return _picture(data, _files(data)[name], name, tiles, side)
            except (FocusError, OSError):
                return None
    return None


def _gallery(data: FoundDistilled, side: int, room: int, list_room: int) -> dict[str, Any]:
    images = list(data.plan.images())
    used = dict.fromkeys(tile.key for tile in data.plan.tiles)
    keys = "".join(f"{key}\n" for key in used).encode()
    gallery = {
        "data": data,
        "boxed": boxed(data),
        "images": len(images),
        "sources": len(used),
        "list": data_uri("text/plain;charset=utf-8", keys) if len(keys) <= list_room else "",
        "problem": "",
        "pictures": [],
        "left_out": 0,
    }
    pictures: list[Picture] = []
    try:
        files = _files(data)
        for name, tiles in _some(images, data):
            picture = _picture(data, files[name], name, tiles, side)
            room -= len(picture.uri)
            if room < 0 and pictures:
                break
            pictures.append(picture)
    except (FocusError, OSError) as error:
        return gallery | {"problem": str(error)}
    if not boxed(data):
        gallery["left_out"] = len(data.data.classes) - len({picture.tiles[0].label for picture in pictures})
    return gallery | {"pictures": sorted(pictures)}


def _some(images: list[tuple[str, list[Any]]], data: FoundDistilled) -> list[tuple[str, list[Any]]]:
    """Images spread evenly; of a dataset to classify the first and then the second of classes spread so."""
    if boxed(data):
        return evenly(images, _BOXED)
    by_label: dict[int, list[tuple[str, list[Any]]]] = defaultdict(list)
    for name, tiles in images:
        by_label[tiles[0].label].append((name, tiles))
    classes = evenly(range(len(data.data.classes)), _CLASSES)
    return list(chain.from_iterable(by_label[label][turn : turn + 1] for turn in (0, 1) for label in classes))


def _files(data: FoundDistilled) -> dict[str, Path]:
    """The file of every distilled image by the plan's name of it."""
    opened = data.task.distillation.open(data.data.folder)
    paths = {one.path.stem: one.path for one in opened.pictures()} if isinstance(opened, Shown) else {}
    try:
        return {name: paths[name.rpartition("/")[2]] for name, _ in data.plan.images()}
    except KeyError as error:
        raise FocusError(f"image {error} is missing in {data.data.folder}") from error


def _picture(data: FoundDistilled, path: Path, name: str, tiles: list[Any], side: int) -> Picture:
    names, size = [str(one) for one in data.data.class_names], data.info["size"]
    labels, boxes = [tiles[0].label], []
    if boxed(data):
        kept = [one for tile in tiles for one in tile.objects if one.kept]
        labels = list(dict.fromkeys(one.label for one in kept))
        boxes = [(names[one.label], _place(one.box, size)) for one in kept]
    uri = photo(decode(path.read_bytes())[0], side)
    return Picture(name, [names[label] for label in labels], uri, tiles, boxes)


def _place(box: tuple[float, ...], size: int) -> str:
    x0, y0, x1, y1 = (100 * value / size for value in box)
    return f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"

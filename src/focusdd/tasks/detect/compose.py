"""Datasets with boxes as other tools read them: images, YOLO labels, COCO annotations and `data.yaml`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from focusdd.composition.images import Drawing, cut
from focusdd.core.console import progress, warn
from focusdd.core.files import json_text, write_whole
from focusdd.core.images import Box, UnreadableImage, decode, encode
from focusdd.core.spelling import number_of
from focusdd.settings import ComposeSettings
from focusdd.sources.base import DetectionSource, Objects, Source
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.base import Content
from focusdd.tasks.detect.scenes import Scenes, Tile, mask_boxes

IMAGES, LABELS = "images/train", "labels/train"
_VAL_IMAGES, _VAL_LABELS = "images/val", "labels/val"
GREY = (114, 114, 114)  # what YOLO pads with


class Annotated(NamedTuple):
    """An object in an image."""

    label: int
    box: Box
    """In pixels of the image."""
    source: dict[str, Any]
    """The image and the id of the object that it comes from."""
    crowd: bool = False


class Pictured(NamedTuple):
    """An image with its objects."""

    file: str
    """Its name in the folder of images."""
    width: int
    height: int
    objects: list[Annotated]

    @classmethod
    def original(cls, file: str, width: int, height: int, key: str, objects: Objects) -> Pictured:
        """An image of a source with all of its objects."""
        columns = (values.tolist() for values in objects)
        shown = [
            Annotated(label, tuple(box), {"image": key, "id": number}, ignored)
            for box, label, ignored, number in zip(*columns, strict=True)
        ]
        return cls(file, width, height, shown)


def yolo_label(image: Pictured) -> str:
    """A line for each object but crowds: class, and centre and size of its box as shares of the image."""
    lines = []
    for one in image.objects:
        if not one.crowd:
            x0, x1 = one.box[0] / image.width, one.box[2] / image.width
            y0, y1 = one.box[1] / image.height, one.box[3] / image.height
            lines.append(f"{one.label} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n")
    return "".join(lines)


def coco(images: Iterable[Pictured], class_names: Sequence[str]) -> dict[str, Any]:
    """COCO annotations, each with the image and the object that it comes from."""
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        listed.append({"id": number, "file_name": image.file, "width": image.width, "height": image.height})
        for one in image.objects:
            # corners are rounded, not sides: the box shall not leave its image
            x0, y0, x1, y1 = (round(value, 3) for value in one.box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one.label + 1,
                    "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
                    "area": round((x1 - x0) * (y1 - y0), 3),
                    "iscrowd": int(one.crowd),
                    "source": one.source,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
    return {"images": listed, "annotations": annotations, "categories": categories}


def data_yaml(class_names: Sequence[str], val: str = "") -> str:
    """What Ultralytics reads, whatever a class is called.

    Args:
        val: the folder of validation images; without one, a comment says what to add. With the training
            images there, Ultralytics would show a flattering mAP.
    """
    quoted = (yaml.safe_dump(name, default_style='"', width=math.inf) for name in class_names)
    names = "".join(f"  {number}: {name}" for number, name in enumerate(quoted))
    missing = (
        "# For `yolo detect train`, add a line with the folder of your validation images, such as\n"
        "# val: /data/images/val\n# or make this folder with --val, which copies them and their labels.\n"
    )
    return (f"val: {val}\n" if val else missing) + f"train: {IMAGES}\nnames:\n{names}"


def beside(source: DetectionSource, val: DetectionSource | None) -> dict[str, Content]:
    """`data.yaml`, and copies of validation images with their labels where there are any.

    Images that cannot be read are left out. Ultralytics knows no crowds: their boxes are left out.
    """
    text = data_yaml(source.class_names, _VAL_IMAGES if val is not None else "")
    files: dict[str, Content] = {"data.yaml": lambda: text}
    if val is None:
        return files
    unreadable, crowds = [], 0
    with progress("read", len(val.records), "images") as advance:
        for number, record in enumerate(val.records):
            advance(1, "")
            try:
                _, width, height = decode(val.read(record.key), least_side=1)
                objects = val.objects(record.key, width, height)
            except UnreadableImage as error:
                unreadable.append(f"{record.key} ({error})")
                continue
            crowds += int(objects.ignored.sum())
            name = PurePosixPath(f"{number:06d}_{PurePosixPath(record.key).name}")
            label = yolo_label(Pictured.original(name.name, width, height, record.key, objects))
            files[f"{_VAL_IMAGES}/{name}"] = partial(val.read, record.key)
            files[f"{_VAL_LABELS}/{name.stem}.txt"] = partial(str, label)
    if unreadable:
        left = number_of(len(unreadable), f"image of {val.name} is", f"images of {val.name} are")
        warn(f"{left} left out, the first: {unreadable[0]}")
    warn_of_crowds(crowds, val.name, _VAL_LABELS)
    return files


def warn_of_crowds(count: int, name: str, folder: str) -> None:
    """Says how many objects of whole images are visible without a YOLO label."""
    if count:
        one, more = f"crowd or difficult object of {name} has", f"crowds and difficult objects of {name} have"
        warn(f"{number_of(count, one, more)} no label in {folder}/")


def _files(image: str, settings: ComposeSettings) -> tuple[str, ...]:
    """A distilled image and its labels."""
    return f"{IMAGES}/{image}.{settings.format}", f"{LABELS}/{image}.txt"


def _write(
    source: Source, _: Scenes, image: str, tiles: list[Tile], out: Path, settings: ComposeSettings
) -> None:
    path, label = (out / name for name in _files(image, settings))
    if not label.exists():
        write_whole(label, yolo_label(_pictured(image, tiles, settings)))
    if not path.exists():
        picture = draw(source, tiles, settings.size)
        write_whole(path, encode(picture, settings.format, settings.quality))


def _annotations(source: Source, scenes: Scenes, settings: ComposeSettings) -> str:
    images = (_pictured(image, tiles, settings) for image, tiles in scenes.images())
    return json_text(coco(images, source.class_names))


def _pictured(image: str, tiles: list[Tile], settings: ComposeSettings) -> Pictured:
    objects = [
        Annotated(one.label, one.box, {"image": tile.key, "id": one.id})
        for tile in tiles
        for one in tile.objects
        if one.kept
    ]
    return Pictured(f"{image}.{settings.format}", settings.size, settings.size, objects)


def draw(source: Source, tiles: list[Tile], size: int) -> Image.Image:
    """One distilled image: windows of the originals in their places, what has no label under grey masks."""
    canvas = Image.new("RGB", (size, size), GREY)
    for tile in tiles:
        left, top, right, bottom = tile.place
        canvas.paste(cut(source, tile, right - left, bottom - top), (left, top))
        hidden = np.array([one.box for one in tile.objects if not one.kept]).reshape(-1, 4)
        for box in mask_boxes(hidden, tile.place).tolist():
            canvas.paste(GREY, tuple(box))
    return canvas


BOXED = Drawing(
    open_detection_source,
    Scenes.from_table,
    _files,
    _write,
    {"annotations.json": _annotations},
)
"""`images/train/`, `labels/train/` and `annotations.json`."""

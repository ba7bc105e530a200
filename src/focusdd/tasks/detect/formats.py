"""Images with boxes for other tools: YOLO labels, COCO annotations, `data.yaml` and validation images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from focusdd.core.console import progress, warn
from focusdd.core.images import Box, UnreadableImage, decode
from focusdd.sources.base import DetectionSource, Objects
from focusdd.tasks.base import Content

IMAGES, LABELS = "images/train", "labels/train"
_VAL_IMAGES, _VAL_LABELS = "images/val", "labels/val"


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
    """What Ultralytics reads. JSON's strings are YAML's too, whatever a class is called.

    Args:
        val: the folder of validation images; without one, a comment says what to add. With the training
            images there, Ultralytics would show a flattering mAP.
    """
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(class_names))
    missing = (
        "# For `yolo detect train`, add a line with the folder of your validation images, such as\n"
        "# val: /data/images/val\n# or make this folder with --val, which copies them and their labels.\n"
    )
    return (f"val: {val}\n" if val else missing) + f"train: {IMAGES}\nnames:\n{names}"


def beside(source: DetectionSource, val: DetectionSource | None) -> dict[str, Content]:
    """`data.yaml`, and copies of validation images with their labels where there are any.

    Images that cannot be read are left out. Ultralytics knows no crowds: their boxes are left out.
    """
    yaml = data_yaml(source.class_names, _VAL_IMAGES if val is not None else "")
    files: dict[str, Content] = {"data.yaml": lambda: yaml}
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
        warn(f"{len(unreadable)} images of {val.name} are left out, the first: {unreadable[0]}")
    if crowds:
        warn(f"{crowds} crowds and difficult objects of {val.name} have no label in {_VAL_LABELS}/")
    return files

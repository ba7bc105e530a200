"""Images with boxes as other tools read them: YOLO labels, COCO annotations and `data.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from focusdd.core.images import Box

IMAGES, LABELS = "images/train", "labels/train"


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

"""Executes a plan of scenes: images, YOLO labels, COCO annotations and `data.yaml` that other tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from focusdd.composition.images import Drawing, cut
from focusdd.core.files import json_text, write_whole
from focusdd.core.images import encode
from focusdd.settings import ComposeSettings
from focusdd.sources.base import Source
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.scenes import Placed, Scenes, Tile, mask_boxes

GREY = (114, 114, 114)  # what YOLO pads with
IMAGES, LABELS = "images/train", "labels/train"


def _files(image: str, settings: ComposeSettings) -> tuple[str, ...]:
    """A distilled image and its labels."""
    return f"{IMAGES}/{image}.{settings.format}", f"{LABELS}/{image}.txt"


def _write(
    source: Source, _: Scenes, image: str, tiles: list[Tile], out: Path, settings: ComposeSettings
) -> None:
    path, label = (out / name for name in _files(image, settings))
    if not label.exists():
        write_whole(label, yolo_label(kept(tiles), settings.size))
    if not path.exists():
        picture = draw(source, tiles, settings.size)
        write_whole(path, encode(picture, settings.format, settings.quality))


def _annotations(source: Source, scenes: Scenes, settings: ComposeSettings) -> str:
    return json_text(coco(list(scenes.images()), settings, source.class_names))


def _data_yaml(source: Source, *_: object) -> str:
    return data_yaml(source.class_names)


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


def kept(tiles: list[Tile]) -> list[Placed]:
    """The labelled objects of a distilled image."""
    return [one for tile in tiles for one in tile.objects if one.kept]


def yolo_label(objects: list[Placed], size: int) -> str:
    """A line for each object: class, and centre and size of its box in shares of the canvas."""
    lines = []
    for one in objects:
        x0, y0, x1, y1 = (value / size for value in one.box)
        lines.append(f"{one.label} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n")
    return "".join(lines)


def coco(
    images: list[tuple[str, list[Tile]]], settings: ComposeSettings, class_names: Sequence[str]
) -> dict[str, object]:
    """COCO annotations, each with the image and the object that it comes from."""
    annotations: list[dict[str, object]] = []
    for number, (_, tiles) in enumerate(images, 1):
        for tile in tiles:
            for one in tile.objects:
                if not one.kept:
                    continue
                x0, y0, x1, y1 = one.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": one.label + 1,
                        "bbox": [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)],
                        "area": round((x1 - x0) * (y1 - y0), 3),
                        "iscrowd": 0,
                        "source": {"image": tile.key, "id": one.id},
                    }
                )
    return {
        "images": [
            {
                "id": number,
                "file_name": f"{name}.{settings.format}",
                "width": settings.size,
                "height": settings.size,
            }
            for number, (name, _) in enumerate(images, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names, 1)],
    }


def data_yaml(class_names: Sequence[str]) -> str:
    """What Ultralytics reads, but for `val`: with the training images there it would show a flattering mAP.

    JSON's strings are YAML's too, whatever a class is called.
    """
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(class_names))
    return (
        "# For `yolo detect train`, add a line with the folder of your validation images, such as\n"
        f"# val: /data/images/val\ntrain: {IMAGES}\nnames:\n{names}"
    )


BOXED = Drawing(
    open_detection_source,
    Scenes.from_table,
    _files,
    _write,
    {"annotations.json": _annotations, "data.yaml": _data_yaml},
)
"""`images/train/`, `labels/train/`, `annotations.json` and `data.yaml`."""

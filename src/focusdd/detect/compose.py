"""Executes a plan of scenes: images, YOLO labels, COCO annotations and `data.yaml` that other tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from focusdd.compose import cut, in_parallel, write_plan
from focusdd.console import progress
from focusdd.detect.scenes import Placed, Scenes, Tile, mask_boxes
from focusdd.images import encode
from focusdd.run import make_folder, write_json, write_whole
from focusdd.settings import ComposeSettings
from focusdd.sources.base import Source

GREY = (114, 114, 114)  # what YOLO pads with
IMAGES, LABELS = "images/train", "labels/train"


def compose_scenes(
    source: Source, scenes: Scenes, out: Path, settings: ComposeSettings, class_names: Sequence[str]
) -> int:
    """Writes `images/train/`, `labels/train/`, `data.yaml`, `annotations.json` and `plan.parquet`.

    Images that are there already are kept: files are written whole, so they are complete.

    Returns:
        The number of distilled images.

    Raises:
        FocusError: an image of the plan can no longer be read.
    """
    images = list(scenes.images())
    for folder in (IMAGES, LABELS):
        make_folder(out / folder)
    write_plan(out, scenes.table())
    write_json(out / "annotations.json", coco(images, settings, class_names))
    write_whole(out / "data.yaml", data_yaml(class_names))

    def make(job: tuple[str, list[Tile]]) -> None:
        name, tiles = job
        path = out / IMAGES / f"{name}.{settings.format}"
        if not path.exists():
            write_whole(out / LABELS / f"{name}.txt", yolo_label(kept(tiles), settings.size))
            picture = draw(source, tiles, settings.size)
            write_whole(path, encode(picture, settings.format, settings.quality))

    with progress("compose", len(images), "images") as advance:
        in_parallel(make, images, advance)
    return len(images)


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
    """What Ultralytics reads. JSON's strings are YAML's too, whatever a class is called."""
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(class_names))
    return (
        "# for `yolo detect train`; put the path of your validation images behind val\n"
        f"train: {IMAGES}\nval: {IMAGES}\nnames:\n{names}"
    )

"""Executes a plan of scenes: images, YOLO labels, COCO annotations and `data.yaml` that other tools read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from focusdd.composition.images import Drawing, cut
from focusdd.core.files import json_text, write_whole
from focusdd.core.images import encode
from focusdd.settings import ComposeSettings
from focusdd.sources.base import Source
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.formats import IMAGES, LABELS, Annotated, Pictured, coco, yolo_label
from focusdd.tasks.detect.scenes import Scenes, Tile, mask_boxes

GREY = (114, 114, 114)  # what YOLO pads with


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

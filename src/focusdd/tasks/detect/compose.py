"""Executes a plan of scenes: images, YOLO labels, COCO annotations and `data.yaml` that other tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from focusdd.composition.images import SHARD, composing, cut, in_parallel, make_missing, of_shards, write_plan
from focusdd.core.console import Advance
from focusdd.core.files import make_folder, write_json, write_whole
from focusdd.core.images import encode
from focusdd.execute import Work
from focusdd.execute.remote import SourceName, require_shared
from focusdd.settings import ComposeSettings, EngineSettings
from focusdd.sources.base import Source
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.scenes import Placed, Scenes, Tile, mask_boxes

GREY = (114, 114, 114)  # what YOLO pads with
IMAGES, LABELS = "images/train", "labels/train"


def compose_scenes(
    source: Source,
    scenes: Scenes,
    out: Path,
    settings: ComposeSettings,
    class_names: Sequence[str],
    key: str = "",
    engine: EngineSettings | None = None,
) -> int:
    """Writes `images/train/`, `labels/train/`, `data.yaml`, `annotations.json` and `plan.parquet`.

    Images that are there already are kept: files are written whole, so they are complete.

    Args:
        key: of the stage that fills `out`.
        engine: where the images are made; default: here.

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

    paths = [_paths(out, name, settings) for name, _ in images]
    work = partial(_draw_all, source, scenes, out, settings, SHARD)
    name = SourceName.of(source, open_detection_source)
    worker = _Worker(name, out.absolute(), key, composing(settings), SHARD)
    make_missing(paths, SHARD, work, worker, engine)
    return len(images)


def files_of(scenes: Scenes, settings: ComposeSettings) -> list[str]:
    """The files that `compose_scenes` writes, by their names below `out`."""
    images = [path.as_posix() for name, _ in scenes.images() for path in _paths(Path(), name, settings)]
    return ["annotations.json", "data.yaml", "plan.parquet", *images]


@dataclass(frozen=True)
class _Worker:
    """Composes in another process as `compose_scenes` does in its own, from the plan beside the images."""

    source: SourceName
    out: Path
    key: str
    settings: ComposeSettings
    shard: int

    def __call__(self) -> Work:
        require_shared(self.out, self.key)
        scenes = Scenes.from_table(pq.read_table(self.out / "plan.parquet"))
        return partial(_draw_all, self.source.reopen(), scenes, self.out, self.settings, self.shard)


def _draw_all(
    source: Source,
    scenes: Scenes,
    out: Path,
    settings: ComposeSettings,
    shard: int,
    numbers: Sequence[int],
    advance: Advance,
) -> None:
    """Writes the distilled images of some shards with their labels."""

    def make(job: tuple[str, list[Tile]]) -> None:
        name, tiles = job
        path, label = _paths(out, name, settings)
        if not label.exists():
            write_whole(label, yolo_label(kept(tiles), settings.size))
        if not path.exists():
            picture = draw(source, tiles, settings.size)
            write_whole(path, encode(picture, settings.format, settings.quality))

    in_parallel(make, of_shards(list(scenes.images()), numbers, shard), advance)


def _paths(out: Path, image: str, settings: ComposeSettings) -> tuple[Path, Path]:
    """A distilled image and its labels."""
    return out / IMAGES / f"{image}.{settings.format}", out / LABELS / f"{image}.txt"


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

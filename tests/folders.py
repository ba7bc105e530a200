"""Looking at folders, and folders of images as users have them."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from focusdd.sources import DemoSource


def everything(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def write_photos(folder: Path, split: str, per_class: int) -> None:
    """The demo's images as <split>/<class>/<number>.png."""
    source = DemoSource(per_class, split)
    for number, record in enumerate(source.records):
        place = folder / split / source.classes[record.label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03d}.png").write_bytes(source.read(record.key))


def write_coco(folder: Path, split: str, per_class: int) -> None:
    """The demo's images with their boxes, in the layout of COCO."""
    source = DemoSource(per_class, split)
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, boxes = [], []
    for number, record in enumerate(source.records):
        data = source.read(record.key)
        (folder / split / f"{number:03d}.png").write_bytes(data)
        width, height = Image.open(io.BytesIO(data)).size
        images.append({"id": number, "file_name": f"{number:03d}.png", "width": width, "height": height})
        objects = source.objects(record.key, width, height)
        for label, (x0, y0, x1, y1) in zip(objects.labels, objects.boxes, strict=True):
            box = [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]
            one = {"id": len(boxes), "image_id": number, "category_id": int(label), "bbox": box}
            boxes.append(one | {"area": box[2] * box[3], "iscrowd": 0})
    classes = [{"id": label, "name": name} for label, name in enumerate(source.classes)]
    whole = {"images": images, "annotations": boxes, "categories": classes}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(whole))

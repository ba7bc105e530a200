"""From annotation files as people have them to pixels: nothing that a reader drops stays visible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_scenes import random_source, settings_of
from test_detect_compose import unlabelled

from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.compose import draw
from focusdd.tasks.detect.select import pasted_scenes, random_scenes

KINDS = ("plain", "polygon", "rle", "negative", "none", "empty")


def annotation(box: np.ndarray, size: tuple[int, int], kind: str) -> dict[str, Any]:
    """The place of an object in a COCO file, told in one of the ways in which people tell it."""
    x0, y0, x1, y1 = (int(value) for value in box)
    whole = [x0, y0, x1 - x0, y1 - y0]
    if kind == "polygon":
        return {"bbox": [0, 0, 0, 0], "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
    if kind == "rle":  # runs down the columns
        mask = np.zeros((size[1], size[0]), int)
        mask[y0:y1, x0:x1] = 1
        flat = np.concatenate([[0], mask.T.ravel(), [1 - mask.T.ravel()[-1]]])
        edges = np.flatnonzero(np.diff(flat))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        return {"bbox": [], "segmentation": {"size": [size[1], size[0]], "counts": counts}}
    if kind == "negative":
        return {"bbox": [x1, y1, x0 - x1, y0 - y1]}
    if kind == "none":
        return {"segmentation": []}
    if kind == "empty":
        return {"bbox": [x0, y0, 0, 0]}
    return {"bbox": whole}


def write_coco(folder: Path, seed: int) -> Path:
    """`train.json` and `train/` of drawn images, every object told in a random way."""
    source, rng = random_source(seed, images=12), np.random.default_rng(seed)
    (folder / "train").mkdir(parents=True)
    images, annotations = [], []
    for number, (key, (size, objects)) in enumerate(source.scenes.items(), 1):
        (folder / "train" / key).write_bytes(source.read(key))
        images.append({"id": number, "file_name": key, "width": size[0], "height": size[1]})
        # half of the images have nothing odd, so that there is something to show
        kinds = rng.choice(KINDS if number % 2 else KINDS[:4], len(objects.boxes))
        for box, label, kind in zip(objects.boxes, objects.labels, kinds, strict=True):
            own = {"id": len(annotations) + 1, "image_id": number, "category_id": int(label), "iscrowd": 0}
            annotations.append(own | annotation(box, size, str(kind)))
    categories = [{"id": number, "name": f"kind{number}"} for number in range(3)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("method", ["random", "paste"])
def test_objects_that_readers_drop_are_not_visible(seed: int, method: Any, tmp_path: Path) -> None:
    source = open_detection_source(write_coco(tmp_path / "coco", seed))
    own = settings_of(method=method, size=160)
    scenes = (random_scenes if method == "random" else pasted_scenes)(source, own, 160, 12)
    assert scenes.tiles
    for _, tiles in scenes.images():
        assert not unlabelled(draw(source, tiles, 160), tiles).any()


def test_voc_with_swapped_corners(tmp_path: Path) -> None:
    source = random_source(3)
    for key, (size, objects) in source.scenes.items():
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / key).write_bytes(source.read(key))
        found = "".join(
            f"<object><name>kind{label}</name><bndbox><xmin>{x1:.0f}</xmin><ymin>{y0 + 1:.0f}</ymin>"
            f"<xmax>{x0 + 1:.0f}</xmax><ymax>{y1:.0f}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label in zip(objects.boxes, objects.labels, strict=True)
        )
        sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        text = f"<annotation><filename>{key}</filename>{sides}{found}</annotation>"
        (tmp_path / "train" / f"{Path(key).stem}.xml").write_text(text)
    opened = open_detection_source(tmp_path)
    scenes = random_scenes(opened, settings_of(method="random"), 160, 6)
    for _, tiles in scenes.images():
        assert not unlabelled(draw(opened, tiles, 160), tiles).any()

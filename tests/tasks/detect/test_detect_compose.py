"""Composing scenes: pixels, labels and annotation files agree, and nothing visible is unlabelled."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import yaml
from drawn_scenes import Drawn, colour, random_source, settings_of, table_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd.composition.images import compose
from focusdd.core.images import decode
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import Objects
from focusdd.tasks.detect.compose import BOXED, GREY, Annotated, Pictured, coco, draw, yolo_label
from focusdd.tasks.detect.scenes import Placed, Scenes, Tile
from focusdd.tasks.detect.select import focus_scenes, pasted_scenes, random_scenes
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill


def scenes_of(source: Drawn, own: DetectDistillSettings) -> Scenes:
    if own.method == "focus":
        return focus_scenes(
            table_of(source), own, own.size, [1 if count else 0 for count in source.class_counts]
        )
    return (random_scenes if own.method == "random" else pasted_scenes)(source, own, own.size, 3)


def kept(tiles: list[Tile]) -> list[Placed]:
    """The labelled objects of a distilled image."""
    return [one for tile in tiles for one in tile.objects if one.kept]


def unlabelled(image: Image.Image, tiles: list[Tile]) -> np.ndarray:
    """The pixels (h, w) of an object's colour outside all labelled boxes."""
    pixels = np.asarray(image).astype(int)
    green = (pixels[..., 1] - pixels[..., 0] > 30) & (pixels[..., 1] - pixels[..., 2] > 30)
    for one in kept(tiles):
        x0, y0, x1, y1 = one.box
        green[max(0, int(y0) - 2) : int(y1) + 3, max(0, int(x0) - 2) : int(x1) + 3] = False
    return green


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["focus", "random", "paste"]), st.sampled_from(["grid", "pack"])
)
def test_nothing_unlabelled_is_visible(seed: int, method: str, layout: str) -> None:
    """Whatever has an object's colour lies in a box that is labelled, and boxes lie inside their image."""
    source = random_source(seed, ignored=0.2)
    own = settings_of(method=method, layout=layout, size=160, format="png", seed=seed)
    for _, tiles in scenes_of(source, own).images():
        for one in kept(tiles):
            x0, y0, x1, y1 = one.box
            assert 0 <= x0 < x1 <= own.size and 0 <= y0 < y1 <= own.size
        assert not unlabelled(draw(source, tiles, own.size), tiles).any()


def test_written_labels_agree_with_the_plan_and_with_each_other(tmp_path: Any) -> None:
    source = random_source(1, images=8)
    own = settings_of(method="paste", ipc=2, size=160, format="png", seed=1)
    out = distill(source, tmp_path / "tiny", own, task=DETECT).folder
    info = json.loads((out / "distilled.json").read_text())
    annotations = json.loads((out / "annotations.json").read_text())
    data = yaml.safe_load((out / "data.yaml").read_text())
    assert data["names"] == dict(enumerate(source.class_names))
    assert (out / data["train"]).is_dir() and "val" not in data
    files = sorted(path.name for path in (out / "images/train").iterdir())
    assert files == sorted(image["file_name"] for image in annotations["images"])
    assert info["images"] == len(files) == 6
    assert sum(info["objects"].values()) == len(annotations["annotations"])
    for image in annotations["images"]:
        lines = (out / "labels/train" / image["file_name"].replace("png", "txt")).read_text().splitlines()
        mine = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
        assert len(lines) == len(mine)
        for line, annotation in zip(lines, mine, strict=True):
            label, cx, cy, w, h = (float(word) for word in line.split())
            x, y, width, height = annotation["bbox"]
            assert int(label) + 1 == annotation["category_id"]
            np.testing.assert_allclose(
                [(cx - w / 2) * 160, (cy - h / 2) * 160, w * 160, h * 160], [x, y, width, height], atol=0.01
            )
            key, number = annotation["source"]["image"], annotation["source"]["id"]
            assert number in source.scenes[key][1].ids
    pixels = decode((out / "images/train" / files[0]).read_bytes())[0]
    assert pixels.size == (160, 160)


def test_every_written_box_lies_on_its_object(tmp_path: Any) -> None:
    """Pixels tell: half a pixel inside the written box is the object's colour, outside it is not."""
    boxes = np.array([[30.0, 40, 70, 90]])
    one = Objects(boxes, np.zeros(1, np.int32), np.zeros(1, bool), np.array([3]))
    source = Drawn({f"{n}.png": ((200, 150), one) for n in range(4)})
    own = settings_of(method="random", ipc=1, size=320, format="png")
    for _, tiles in random_scenes(source, own, 320, 3).images():
        pixels = np.asarray(draw(source, tiles, 320)).astype(int)
        x0, y0, x1, y1 = kept(tiles)[0].box
        ours = np.abs(pixels - np.array(colour(3))).max(2) < 60
        rows, columns = np.flatnonzero(ours.any(1)), np.flatnonzero(ours.any(0))
        measured = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(measured, [x0, y0, x1, y1], atol=1)


def test_written_boxes_do_not_leave_their_image() -> None:
    """Rounded sides would: 100.0005 + 219.9995 becomes 100.001 + 220."""
    rng = np.random.default_rng(0)
    boxes = [(100.0005, 0.00049, 320.0, 200.0), *((x, 0.0, 320.0, 9.0) for x in rng.uniform(0, 319, 200))]
    image = Pictured("a.png", 320, 200, [Annotated(0, box, {}) for box in boxes])
    for one in coco([image], ["a"])["annotations"]:
        x, y, width, height = one["bbox"]
        assert x >= 0 and y >= 0 and x + width <= 320 + 1e-9 and y + height <= 200 + 1e-9
    for line in yolo_label(image).splitlines():
        _, x, y, width, height = map(float, line.split())
        assert abs(x + width / 2 - 1) <= 1e-6 and y - height / 2 + 1e-6 >= 0


def test_yolo_label_of_nothing_is_an_empty_file() -> None:
    assert yolo_label(Pictured("a.png", 100, 80, [])) == ""


def test_interrupted_composing_goes_on(tmp_path: Any) -> None:
    source = random_source(2)
    own = settings_of(method="random", ipc=2, size=96, format="png")
    scenes = random_scenes(source, own, 96, 6)
    compose(source, scenes, tmp_path / "a", own, BOXED)
    first = tmp_path / "a/images/train" / f"{scenes.tiles[0].image}.png"
    before = first.read_bytes()
    first.unlink()
    compose(source, scenes, tmp_path / "a", own, BOXED)
    assert first.read_bytes() == before
    assert GREY == (114, 114, 114)

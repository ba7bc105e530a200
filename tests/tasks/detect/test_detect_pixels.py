"""From files of every kind to pixels: each pixel tells where it was and whether it is of an object."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn_scenes import make_objects, settings_of, table_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_detect_readers import annotation

from focusdd.core.images import ORIENTATION, decode
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import DetectionSource, Objects
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.compose import GREY, draw
from focusdd.tasks.detect.scenes import Original, Scenes, Tile, make_tile
from focusdd.tasks.detect.select import focus_scenes, pasted_scenes, random_scenes, selected_scenes

CANVAS, CONTEXT = 160, 0.3
OBJECT = 200  # of green; what is not of an object has none
KINDS = ("plain", "plain", "polygon", "rle", "negative", "crowd", "ignore", "none")
TURNS = {  # how a file of each EXIF orientation is made of the upright image
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

Truth = dict[str, tuple[tuple[int, int], np.ndarray]]
"""Size and boxes of all objects of every image, whatever is told of them."""


def paint(path: Path, size: tuple[int, int], boxes: np.ndarray, orientation: int) -> None:
    """An image whose red is x and whose blue is y, with green objects."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = np.arange(size[0]), np.arange(size[1])[:, None]
    for x0, y0, x1, y1 in boxes.astype(int):
        pixels[y0:y1, x0:x1, 1] = OBJECT
    image = Image.fromarray(pixels)
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    (image.transpose(turn) if turn is not None else image).save(path, exif=exif)


def write(folder: Path, seed: int) -> Truth:
    """A COCO dataset: turned files, images without objects, boxes, masks, outlines, crowds, lost boxes."""
    rng = np.random.default_rng(seed)
    (folder / "train").mkdir()
    truth: Truth = {}
    images, annotations = [], []
    for number in range(10):
        size = (int(rng.integers(60, 240)), int(rng.integers(60, 240)))
        objects = make_objects(rng, size, 0 if number in (3, 7) else int(rng.integers(1, 6)))
        key = f"{number}.png"
        paint(folder / "train" / key, size, objects.boxes, int(rng.integers(1, 9)))
        truth[key] = size, objects.boxes
        images.append({"id": number, "file_name": key, "width": size[0], "height": size[1]})
        kinds = rng.choice(KINDS[: 8 if number % 3 == 0 else 7], len(objects.boxes))
        for box, label, kind in zip(objects.boxes, objects.labels, kinds.tolist(), strict=True):
            mark = {"crowd": {"iscrowd": 1}, "ignore": {"ignore": 1}}.get(kind, {})
            told = annotation(box, size, "rle" if kind == "crowd" else kind)
            own = {"id": len(annotations), "image_id": number, "category_id": int(label)}
            annotations.append(own | mark | told)
    categories = [{"id": number, "name": f"kind{number}"} for number in range(3)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(content))
    return truth


def scenes_of(source: DetectionSource, truth: Truth, own: DetectDistillSettings) -> Scenes:
    if own.method in ("random", "full"):
        return random_scenes(source, own, CANVAS, 5)
    if own.method == "paste":
        return pasted_scenes(source, own, CANVAS, 5)
    sizes = {record.key: truth[record.key][0] for record in source.records}
    read = {key: (size, source.objects(key, *size)) for key, size in sizes.items()}
    table = table_of(SimpleNamespace(classes=source.classes, scenes=read))  # type: ignore[arg-type]
    choose = focus_scenes if own.method == "focus" else selected_scenes
    return choose(table, own, CANVAS, [2 if count else 0 for count in source.class_counts])


def check_tile(pixels: np.ndarray, tile: Tile, boxes: np.ndarray, context: float) -> None:
    """Everything that is promised of a tile, from its pixels and from all objects of its image.

    Args:
        pixels: int (h, w, 3) of the distilled image.
        boxes: (n, 4) in the source image.
    """
    left, top, right, bottom = tile.place
    x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    here = pixels[top:bottom, left:right]
    masked = (here == GREY).all(2)
    from_x, from_y = here[..., 0], here[..., 2]  # the pixel of the source
    pixel = (tile.box[2] - tile.box[0]) / (right - left)  # in those of the source
    labelled = [one for one in tile.objects if one.kept]

    # whatever is of an object has a label that is there, and that is of the object
    explained = np.zeros(x.shape, bool)
    for one in labelled:
        x0, y0, x1, y1 = one.box
        assert left <= x0 < x1 <= right and top <= y0 < y1 <= bottom
        # a pixel that the label touches: two objects may meet in one
        there = (x0 - 0.5 < x) & (x < x1 + 0.5) & (y0 - 0.5 < y) & (y < y1 + 0.5)
        x0, y0, x1, y1 = one.source
        slack = 1 + pixel
        same = (x0 - slack <= from_x) & (from_x <= x1 + slack)
        same &= (y0 - slack <= from_y) & (from_y <= y1 + slack)
        explained |= there & same
    assert not ((here[..., 1] > 0.75 * OBJECT) & ~explained).any()

    # a label begins and ends where its object does, and there is an object all over it
    for one in labelled:
        assert any(np.abs(np.array(one.source) - box).max() < 0.01 for box in boxes)
        x0, y0, x1, y1 = one.box
        columns, rows = (int(x0) - left, int(x1 - 0.01) - left), (int(y0) - top, int(y1 - 0.01) - top)
        shown = np.maximum(one.source[:2], tile.box[:2]), np.minimum(one.source[2:], tile.box[2:])
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            at = rows[row], columns[column]
            if not masked[at]:
                # half a pixel of the source, and one that the label's edge may part
                assert abs(from_x[at] + 0.5 - shown[column][0]) <= 1 + 1.5 * pixel
                assert abs(from_y[at] + 0.5 - shown[row][1]) <= 1 + 1.5 * pixel
        inner = slice(rows[0] + 2, rows[1] - 1), slice(columns[0] + 2, columns[1] - 1)
        assert ((here[inner][..., 1] > 0.75 * OBJECT) | masked[inner]).all()

    # the surroundings of what a window is made for
    if tile.kind == "patch" and context:
        (target,) = (one for one in labelled if one.id == tile.target)
        x0, y0, x1, y1 = target.source
        margin = context * max(x1 - x0, y1 - y0)
        slack = 1 + pixel
        for seen, wanted in (
            (from_x[:, 0][~masked[:, 0]], max(0, x0 - margin)),
            (from_y[0][~masked[0]], max(0, y0 - margin)),
        ):
            assert not len(seen) or seen.min() <= wanted + slack
        for seen, wanted in (
            (from_x[:, -1][~masked[:, -1]], min(tile.width, x1 + margin)),
            (from_y[-1][~masked[-1]], min(tile.height, y1 + margin)),
        ):
            assert not len(seen) or seen.max() + 1 >= wanted - slack


@settings(max_examples=40, deadline=None)
@example(105, ("focus", "grid"))
@given(
    st.integers(0, 10_000),
    st.sampled_from(
        [("focus", "pack"), ("focus", "grid"), ("selection", "pack"), ("random", "pack"), ("full", "pack"),
         ("paste", "pack")]
    ),
)  # fmt: skip
def test_pixels_are_what_labels_say(seed: int, how: tuple[Any, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        truth = write(Path(folder), seed)
        source = open_detection_source(folder)
        context = CONTEXT if how[0] == "focus" else 0.0
        own = settings_of(method=how[0], layout=how[1], seed=seed, context=context)
        for _, tiles in scenes_of(source, truth, own).images():
            pixels = np.asarray(draw(source, tiles, CANVAS)).astype(int)
            for tile in tiles:
                check_tile(pixels, tile, truth[tile.key][1], context)


@pytest.mark.parametrize("orientation", TURNS)
def test_turned_files_are_upright(orientation: int, tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    paint(tmp_path / "a.png", (90, 60), np.array([[10, 20, 30, 25]]), orientation)
    pixels = np.asarray(decode((tmp_path / "a.png").read_bytes())[0])
    assert pixels.shape == (60, 90, 3)
    assert pixels[24, 29].tolist() == [29, OBJECT, 24] and pixels[25, 29].tolist() == [29, 0, 25]


@pytest.mark.parametrize("wrong", ["unlabelled", "shifted", "elsewhere"])
def test_the_check_finds_what_is_wrong(wrong: str, tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (160, 120), np.array([[40, 20, 80, 60]]), 1)
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB").resize((160, 120))).astype(int)
    boxes = np.array([[40.0, 20, 80, 60]])
    objects = Objects(boxes, np.zeros(1, np.int32), np.zeros(1, bool), np.zeros(1, np.int64))
    original = Original("a", 160, 120, objects)
    tile = make_tile("a", 0, "whole", original, original.window, (0, 0, 160, 120), settings_of())
    assert tile is not None
    check_tile(pixels, tile, boxes, 0)
    (one,) = tile.objects
    if wrong == "unlabelled":
        one = one._replace(kept=False)
    elif wrong == "shifted":
        one = one._replace(box=(44.0, 20.0, 84.0, 60.0))
    else:
        one = one._replace(source=(90.0, 20.0, 130.0, 60.0))
    with pytest.raises(AssertionError):
        check_tile(pixels, replace(tile, objects=(one,)), boxes, 0)

"""Detection: windows, places, boxes and masks, over random scenes and against slow references."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.settings import DetectDistillSettings
from focusdd.settings.resolve import resolve
from focusdd.sources.base import Objects, Record
from focusdd.tasks.detect.baselines import pasted_scenes, random_scenes
from focusdd.tasks.detect.compose import GREY, compose_scenes, draw, kept, yolo_label
from focusdd.tasks.detect.packing import Shelves
from focusdd.tasks.detect.scenes import Scenes, fitted, mask_boxes, onto, place_objects
from focusdd.tasks.detect.select import quotas
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.detect.windows import object_window, relative_size, whole
from focusdd.tasks.distill import distill

SIDES = st.integers(20, 400)


class Drawn:
    """A source of drawn scenes: every object a rectangle of a colour that nothing else has."""

    def __init__(self, scenes: dict[str, tuple[tuple[int, int], Objects]], num_classes: int = 3) -> None:
        self.name, self.split, self.fingerprint = "drawn", "train", "f"
        self.classes = tuple(f"class{n}" for n in range(num_classes))
        self.class_names = tuple(f'name "{n}": ü' for n in range(num_classes))
        self.scenes = scenes
        self.records = tuple(Record(key, -1) for key in scenes)
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.problems: tuple[tuple[str, str], ...] = ()

    def objects(self, key: str, width: int, height: int) -> Objects:
        assert self.scenes[key][0] == (width, height)
        return self.scenes[key][1]

    def read(self, key: str) -> bytes:
        size, objects = self.scenes[key]
        image = Image.new("RGB", size, (255, 255, 255))
        pen = ImageDraw.Draw(image)
        for box, number in zip(objects.boxes, objects.ids, strict=True):
            x0, y0, x1, y1 = np.rint(box)
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour(int(number)))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()


def colour(number: int) -> tuple[int, int, int]:
    return (0, 40 + 10 * (number % 20), 0)


def make_objects(
    rng: np.random.Generator, size: tuple[int, int], count: int, ignored: float = 0.0
) -> Objects:
    """Random objects with whole-pixel boxes."""
    ends = np.array(size)
    sides = np.maximum(2, rng.uniform(0.05, 0.5, (count, 2)) * ends).astype(int)
    start = (rng.uniform(0, 1, (count, 2)) * (ends - sides)).astype(int)
    boxes = np.concatenate([start, start + sides], 1).astype(float)
    labels = rng.integers(0, 3, count).astype(np.int32)
    return Objects(boxes, labels, rng.random(count) < ignored, np.arange(count, dtype=np.int64))


def random_source(seed: int, images: int = 6, most: int = 5, ignored: float = 0.0) -> Drawn:
    rng = np.random.default_rng(seed)
    scenes = {}
    for number in range(images):
        size = (int(rng.integers(60, 300)), int(rng.integers(60, 300)))
        scenes[f"{number}.png"] = size, make_objects(rng, size, int(rng.integers(1, most + 1)), ignored)
    return Drawn(scenes)


@given(st.integers(0, 10_000), SIDES, SIDES, st.integers(1, 12), st.floats(8, 300), st.floats(0, 1))
def test_a_window_shows_its_object_whole(
    seed: int, width: int, height: int, count: int, least: float, context: float
) -> None:
    rng = np.random.default_rng(seed)
    objects = make_objects(rng, (width, height), count)
    attention = rng.random((7, 7))
    x0, y0, x1, y1 = object_window(
        objects.boxes, 0, (width, height), attention / attention.sum(), least, 160, context, 1.5, 0.6
    )
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    box = objects.boxes[0]
    assert x0 <= box[0] + 1e-6 and y0 <= box[1] + 1e-6 and x1 >= box[2] - 1e-6 and y1 >= box[3] - 1e-6
    sides, ends = (x1 - x0, y1 - y0), (width, height)
    # a square, but for what the image does not have
    assert abs(sides[0] - sides[1]) < 1e-6 or any(
        abs(side - end) < 1e-6 for side, end in zip(sides, ends, strict=True)
    )
    assert all(side >= min(least, end) - 1e-6 for side, end in zip(sides, ends, strict=True))


def cut(boxes: np.ndarray, window: tuple[float, ...], visible: float) -> float:
    """What a window does to the objects, one by one."""
    total = 0.0
    for x0, y0, x1, y1 in boxes:
        w = max(0.0, min(x1, window[2]) - max(x0, window[0]))
        h = max(0.0, min(y1, window[3]) - max(y0, window[1]))
        share = w * h / ((x1 - x0) * (y1 - y0))
        if 1e-6 < share < visible:
            total += 1
        elif visible <= share < 1 - 1e-6:
            total += 0.1
    return total


@given(st.integers(0, 10_000), st.integers(2, 8))
def test_a_window_that_cuts_nothing_is_found_where_there_is_one(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    size = (200, 160)
    objects = make_objects(rng, size, count)
    flat = np.full((4, 4), 1 / 16)
    window = object_window(objects.boxes, 0, size, flat, 60, 60, 0.2, 1.0, 0.6)
    w, h = window[2] - window[0], window[3] - window[1]
    box = objects.boxes[0]
    found = cut(objects.boxes, window, 0.6)
    others = []
    for _ in range(100):
        x = rng.uniform(max(0, box[2] - w), min(box[0], size[0] - w) + 1e-9)
        y = rng.uniform(max(0, box[3] - h), min(box[1], size[1] - h) + 1e-9)
        others.append(cut(objects.boxes, (x, y, x + w, y + h), 0.6))
    assert found <= np.median(others) + 1e-6
    assert found == 0 or min(others) > 0


def test_a_window_grows_so_as_not_to_cut() -> None:
    boxes = np.array([[40.0, 40, 60, 60], [62, 40, 84, 60]])
    flat = np.full((4, 4), 1 / 16)
    # 44 pixels to both sides are taken: at its smallest the window would have to cut the second object
    small = object_window(boxes, 0, (88, 100), flat, 44, 44, 0.1, 1.0, 0.6)
    large = object_window(boxes, 0, (88, 100), flat, 44, 44, 0.1, 1.5, 0.6)
    crowded = np.array([[40.0, 40, 60, 60], [62, 40, 84, 60], [10, 40, 38, 60]])
    assert cut(boxes, small, 0.6) == 0 and large == small
    assert cut(crowded, object_window(crowded, 0, (88, 100), flat, 30, 30, 0.1, 1.0, 0.6), 0.6) > 0
    assert cut(crowded, object_window(crowded, 0, (88, 100), flat, 56, 56, 0.1, 1.5, 0.6), 0.6) == 0


def test_among_windows_that_cut_nothing_attention_decides() -> None:
    boxes = np.array([[90.0, 90, 110, 110]])
    for corner in range(4):
        attention = np.full((8, 8), 0.1)
        row, column = (1 if corner < 2 else 6), (1 if corner % 2 == 0 else 6)
        attention[row, column] = 50
        x0, y0, x1, y1 = object_window(
            boxes, 0, (200, 200), attention / attention.sum(), 120, 120, 0.1, 1.0, 0.6
        )
        middle = ((column + 0.5) * 25, (row + 0.5) * 25)
        assert x0 <= middle[0] <= x1 and y0 <= middle[1] <= y1


def test_many_objects_in_one_image_are_no_burden() -> None:
    rng = np.random.default_rng(0)
    objects = make_objects(rng, (4000, 3000), 50_000)
    window = object_window(objects.boxes, 7, (4000, 3000), np.full((8, 8), 1 / 64), 160, 160, 0.5, 1.5, 0.6)
    placed = place_objects(objects, window, (0, 0, 160, 160), 0.6, 4)
    assert placed is None or any(one.id == 7 for one in placed)


def slow_placing(
    objects: Objects, window: tuple[float, ...], place: tuple[int, ...], visible: float, least: float
) -> list[tuple[int, list[float], bool]]:
    """Every object by itself: (id, box on the canvas, whether it keeps its label)."""
    across = (place[2] - place[0]) / (window[2] - window[0])
    down = (place[3] - place[1]) / (window[3] - window[1])
    found = []
    for box, number, ignored in zip(objects.boxes, objects.ids, objects.ignored, strict=True):
        x0, x1 = max(box[0], window[0]), min(box[2], window[2])
        y0, y1 = max(box[1], window[1]), min(box[3], window[3])
        if x1 - x0 <= 0 or y1 - y0 <= 0:
            continue
        here = [
            place[0] + (x0 - window[0]) * across, place[1] + (y0 - window[1]) * down,
            place[0] + (x1 - window[0]) * across, place[1] + (y1 - window[1]) * down,
        ]  # fmt: skip
        share = (x1 - x0) * (y1 - y0) / ((box[2] - box[0]) * (box[3] - box[1]))
        big = min(here[2] - here[0], here[3] - here[1]) >= least
        found.append((int(number), here, bool(share >= visible and big and not ignored)))
    return found


@given(st.integers(0, 10_000), st.integers(0, 12), st.floats(0.1, 1), st.floats(1, 12))
def test_placed_objects_are_those_of_the_slow_reference(
    seed: int, count: int, visible: float, least: float
) -> None:
    rng = np.random.default_rng(seed)
    objects = make_objects(rng, (300, 200), count, ignored=0.2)
    x, y = rng.uniform(0, 200), rng.uniform(0, 120)
    window = (x, y, x + rng.uniform(20, 100), y + rng.uniform(20, 80))
    left, top = (int(value) for value in rng.integers(0, 50, 2))
    place = (left, top, left + int(rng.integers(20, 200)), top + int(rng.integers(20, 200)))
    placed = place_objects(objects, window, place, visible, least)
    assume(placed is not None)
    wanted = slow_placing(objects, window, place, visible, least)
    assert [(one.id, one.kept) for one in placed] == [(number, keep) for number, _, keep in wanted]
    for one, (_, here, _) in zip(placed, wanted, strict=True):
        np.testing.assert_allclose(one.box, here, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(40, 300), st.integers(40, 300))
def test_there_and_back_is_the_identity(seed: int, width: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    objects = make_objects(rng, (width, height), 6)
    window = (0.0, 0.0, float(width), float(height))
    place = fitted(window, (10, 20, 170, 180))
    here = onto(objects.boxes, window, place)
    scale = np.array([width / (place[2] - place[0]), height / (place[3] - place[1])] * 2)
    np.testing.assert_allclose((here - np.array([*place[:2]] * 2)) * scale, objects.boxes, atol=1e-6)


@given(SIDES, SIDES, st.integers(16, 200), st.integers(16, 200))
def test_a_place_keeps_the_shape_of_its_window(width: int, height: int, across: int, down: int) -> None:
    left, top, right, bottom = fitted((0.0, 0.0, width, height), (5, 7, 5 + across, 7 + down))
    assert 5 <= left < right <= 5 + across and 7 <= top < bottom <= 7 + down
    assert right - left == across or bottom - top == down  # as large as can be
    scale = min(across / width, down / height)
    assert abs(right - left - max(1, width * scale)) <= 1 and abs(bottom - top - max(1, height * scale)) <= 1


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), max_size=60), st.integers(64, 128))
def test_shelves_never_overlap(sizes: list[tuple[int, int]], side: int) -> None:
    shelves, taken = Shelves(side), np.zeros((side, side), int)
    for width, height in sizes:
        place = shelves.put(width, height)
        if place is not None:
            left, top, right, bottom = place
            assert (right - left, bottom - top) == (width, height)
            assert left >= 0 and top >= 0 and right <= side and bottom <= side
            taken[top:bottom, left:right] += 1
    assert taken.max(initial=0) <= 1


def test_whole_and_size() -> None:
    boxes = np.array([[10.0, 10, 20, 20], [0, 5, 20, 20], [0, 0, 100, 50]])
    sizes = np.tile([100, 50], (3, 1))
    assert whole(boxes, sizes).tolist() == [1, 0.5, 0.0625]
    np.testing.assert_allclose(relative_size(boxes, sizes), np.sqrt([100 / 5000, 300 / 5000, 1]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["random", "paste"]))
def test_nothing_unlabelled_is_visible(seed: int, method: str) -> None:
    """Whatever has an object's colour lies in a box that is labelled."""
    source = random_source(seed, ignored=0.2)
    own = DetectDistillSettings(method=method, ipc=1, size=160, format="png", seed=seed)
    scenes = (random_scenes if method == "random" else pasted_scenes)(source, own)
    for _, tiles in scenes.images():
        pixels = np.asarray(draw(source, tiles, own.size)).astype(int)
        green = (pixels[..., 1] - pixels[..., 0] > 30) & (pixels[..., 1] - pixels[..., 2] > 30)
        for one in kept(tiles):
            x0, y0, x1, y1 = one.box
            green[max(0, int(y0) - 2) : int(y1) + 3, max(0, int(x0) - 2) : int(x1) + 3] = False
        assert not green.any()


def test_a_cut_object_is_masked_and_a_whole_one_labelled(tmp_path: Any) -> None:
    boxes = np.array([[10.0, 10, 40, 40], [70, 20, 100, 50]])
    objects = Objects(boxes, np.array([0, 1], np.int32), np.zeros(2, bool), np.array([5, 6]))
    # the window shows a third of the second object
    placed = place_objects(objects, (0.0, 0.0, 80.0, 80.0), (0, 0, 160, 160), 0.6, 4)
    assert placed is not None
    assert [(one.id, one.kept, round(one.visible, 3)) for one in placed] == [(5, True, 1), (6, False, 0.333)]
    assert placed[0].box == (20, 20, 80, 80) and placed[1].box == (140, 40, 160, 100)
    # and when a mask would hide a labelled object, there is no such tile
    boxes = np.array([[10.0, 10, 40, 40], [30, 10, 200, 40]])
    objects = objects._replace(boxes=boxes)
    assert place_objects(objects, (0.0, 0.0, 80.0, 80.0), (0, 0, 160, 160), 0.6, 4) is None


def test_masks_cover_every_pixel_that_is_touched() -> None:
    masks = mask_boxes(np.array([[3.2, 4.9, 7.1, 8.0]]), (0, 0, 10, 10))
    assert masks.tolist() == [[3, 4, 8, 8]]


def test_the_plan_is_what_it_was_after_a_file(tmp_path: Any) -> None:
    scenes = random_scenes(random_source(3), DetectDistillSettings(method="random", ipc=2, size=96))
    again = Scenes.from_table(scenes.table())
    for old, new in zip(scenes.tiles, again.tiles, strict=True):
        assert old[:8] == new[:8] and old.target == new.target and old.objects == new.objects


def test_written_labels_agree_with_the_plan_and_with_each_other(tmp_path: Any) -> None:
    source = random_source(1, images=8)
    own = DetectDistillSettings(method="paste", ipc=2, size=160, format="png", seed=1)
    out = distill(source, tmp_path / "tiny", own, task=DETECT).folder
    info = json.loads((out / "distilled.json").read_text())
    annotations = json.loads((out / "annotations.json").read_text())
    data = yaml.safe_load((out / "data.yaml").read_text())
    assert data["names"] == dict(enumerate(source.class_names))
    assert (out / data["train"]).is_dir()
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
    own = DetectDistillSettings(method="random", ipc=1, size=320, format="png")
    for _, tiles in random_scenes(source, own).images():
        pixels = np.asarray(draw(source, tiles, 320)).astype(int)
        x0, y0, x1, y1 = kept(tiles)[0].box
        ours = np.abs(pixels - np.array(colour(3))).max(2) < 60
        rows, columns = np.flatnonzero(ours.any(1)), np.flatnonzero(ours.any(0))
        measured = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(measured, [x0, y0, x1, y1], atol=1)


@pytest.mark.parametrize(
    ("given_", "images", "wanted"),
    [
        ({"ipc": 4}, 50, [4, 4, 4]),
        ({}, 50, [10, 10, 10]),
        ({"budget": 8}, 50, [3, 3, 2]),
        ({"ratio": 0.1}, 50, [2, 2, 1]),
    ],
)
def test_budgets(given_: dict[str, Any], images: int, wanted: list[int]) -> None:
    assert quotas(resolve(DetectDistillSettings(**given_)).settings, images, 3) == wanted


@pytest.mark.parametrize(
    ("given_", "words"),
    [({"ipc": 1, "budget": 4}, "--ipc and --budget"), ({"ratio": 0.02}, "fewer than the 3 classes")],
)
def test_budgets_that_make_no_sense(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(FocusError, match=words):
        quotas(resolve(DetectDistillSettings(**given_)).settings, 50, 3)


def test_yolo_label_of_nothing_is_an_empty_file() -> None:
    assert yolo_label([], 100) == ""


def test_interrupted_composing_goes_on(tmp_path: Any) -> None:
    source = random_source(2)
    own = DetectDistillSettings(method="random", ipc=2, size=96, format="png")
    scenes = random_scenes(source, own)
    compose_scenes(source, scenes, tmp_path / "a", own, source.class_names)
    first = tmp_path / "a/images/train" / f"{scenes.tiles[0].image}.png"
    before = first.read_bytes()
    first.unlink()
    compose_scenes(source, scenes, tmp_path / "a", own, source.class_names)
    assert first.read_bytes() == before
    assert GREY == (114, 114, 114)

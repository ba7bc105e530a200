"""Detection: windows, places, boxes and masks, over random scenes and against slow references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from drawn_scenes import make_objects, random_source, settings_of
from hypothesis import assume, given
from hypothesis import strategies as st

from focusdd.sources.base import Objects
from focusdd.tasks.detect.scenes import Scenes, fitted, mask_boxes, onto, place_objects
from focusdd.tasks.detect.select import random_scenes

SIDES = st.integers(20, 400)


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
    scenes = random_scenes(random_source(3), settings_of(method="random"), 96, 6)
    again = Scenes.from_table(scenes.table())
    for old, new in zip(scenes.tiles, again.tiles, strict=True):
        assert replace(old, score=0) == replace(new, score=0)

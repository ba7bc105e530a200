"""Which windows and images are chosen: budgets, scale, and what cannot be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_scenes import Drawn, random_source, settings_of, table_of
from hypothesis import given
from hypothesis import strategies as st

from focusdd import detect
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import Objects
from focusdd.tasks.detect.scale import default_size, object_sizes, window_scales
from focusdd.tasks.detect.scenes import Scenes
from focusdd.tasks.detect.select import focus_scenes, pasted_scenes, quotas, random_scenes, selected_scenes
from focusdd.tasks.detect.task import check, choose_scenes, defaults_of


def small_objects(side: int, images: int = 60, seed: int = 0, size: tuple[int, int] = (1200, 800)) -> Drawn:
    """Images of one class with a few objects of about one size, some half as large, some twice."""
    rng = np.random.default_rng(seed)
    scenes = {}
    for number in range(images):
        count = int(rng.integers(1, 4))
        sides = side * 2 ** rng.uniform(-1, 1, (count, 1)) * [1.5, 0.75]
        start = rng.uniform(0, 1, (count, 2)) * (np.array(size) - sides)
        objects = Objects(
            np.concatenate([start, start + sides], 1),
            np.zeros(count, np.int32),
            np.zeros(count, bool),
            np.arange(count, dtype=np.int64),
        )
        scenes[f"{number:03d}.png"] = size, objects
    return Drawn(scenes, 1)


def sizes_of(scenes: Scenes) -> np.ndarray:
    """Square root of the area of every labelled object on the canvas."""
    boxes = np.array([one.box for tile in scenes.tiles for one in tile.objects if one.kept])
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))


def num_images(scenes: Scenes) -> int:
    return len(list(scenes.images()))


@pytest.mark.parametrize("side", [30, 45, 70])
@pytest.mark.parametrize("canvas", [320, 640])
def test_small_objects_are_drawn_as_validation_shows_them(side: int, canvas: int) -> None:
    """On the log scale the distributions of sizes are near each other, whatever the canvas."""
    source = small_objects(side)
    table = table_of(source)
    scenes = focus_scenes(table, settings_of(views=0), canvas, [6])
    seen = np.log2(sizes_of(scenes))
    boxes = table.all.boxes
    there = np.log2(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)) * canvas / 1200)
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    distance = np.abs(np.quantile(seen, quantiles) - np.quantile(there, quantiles))
    assert distance.mean() < 0.3, (np.quantile(seen, quantiles), np.quantile(there, quantiles))
    assert np.abs(np.median(seen) - np.median(there)) < 0.3


@given(
    share=st.floats(0.02, 1), mix=st.floats(1, 4), context=st.floats(0, 2), grid=st.integers(1, 4),
    place=st.floats(-1, 1),
)  # fmt: skip
def test_zooms_reach_as_far_below_validation_as_above(
    share: float, mix: float, context: float, grid: int, place: float
) -> None:
    settings = settings_of(mix=mix, context=context, grid=grid, min_size=0.01, max_upsample=2.0)
    extent, image, canvas = np.array([share, share / 2]) * 1000, (1000, 700), 320
    (wanted, least), (opposite, _) = (
        window_scales(at, extent, image, canvas, settings) for at in (place, -place)
    )
    whole = canvas / 1000
    cell = canvas / grid / (share * 1000 * (1 + 2 * context))
    if cell <= whole:
        assert wanted == opposite == least == pytest.approx(cell)
    else:
        assert wanted * opposite == pytest.approx(whole**2)
        assert whole / mix - 1e-9 <= least <= wanted <= min(cell, whole * mix) + 1e-9


def test_objects_that_fill_a_cell_keep_the_size_of_validation() -> None:
    table = table_of(small_objects(200))
    settings = settings_of(views=0, context=0.25)
    boxes = table.all.boxes[:, 2:] - table.all.boxes[:, :2]
    fits = boxes.max(1) / 1200 * (1 + 2 * settings.context) <= 1 / settings.grid
    scenes = focus_scenes(table, settings, 320, [6])
    shown = {(tile.key, one.id): one for tile in scenes.tiles for one in tile.objects if one.visible > 0.999}
    ratios = [
        max(one.box[2] - one.box[0], one.box[3] - one.box[1])
        / max(one.source[2] - one.source[0], one.source[3] - one.source[1])
        * (1200 / 320)
        for one in shown.values()
    ]
    assert fits.mean() > 0.4
    assert np.median(ratios) > 0.85


def test_large_objects_are_drawn_smaller_so_that_there_is_room() -> None:
    source = small_objects(300)
    scenes = focus_scenes(table_of(source), settings_of(views=0), 320, [4])
    assert len(scenes.tiles) >= 3 * 4


@pytest.mark.parametrize("layout", ["grid", "pack"])
@pytest.mark.parametrize("seed", range(5))
def test_the_context_holds(layout: Any, seed: int) -> None:
    source = random_source(seed, images=20)
    settings = settings_of(layout=layout, context=0.3)
    scenes = focus_scenes(table_of(source), settings, 320, [2, 2, 2])
    for tile in scenes.tiles:
        if tile.kind == "patch":
            (target,) = [one for one in tile.objects if one.id == tile.target]
            x0, y0, x1, y1 = target.source
            margin = 0.3 * max(x1 - x0, y1 - y0) - 1e-6
            assert tile.box[0] <= max(0, x0 - margin) and tile.box[1] <= max(0, y0 - margin)
            assert tile.box[2] >= min(tile.width, x1 + margin)
            assert tile.box[3] >= min(tile.height, y1 + margin)


@pytest.mark.parametrize("layout", ["grid", "pack"])
def test_a_window_is_not_enlarged_beyond_its_limit(layout: Any) -> None:
    source = small_objects(20, size=(200, 100))
    for limit in (1.0, 4.0):
        settings = settings_of(layout=layout, max_upsample=limit, views=0, mix=2.0)
        scenes = focus_scenes(table_of(source), settings, 320, [4])
        largest = max((tile.place[2] - tile.place[0]) / (tile.box[2] - tile.box[0]) for tile in scenes.tiles)
        assert (largest > 320 / 200 * 1.1) == (limit > 2)


def test_the_default_size_shows_small_objects() -> None:
    assert default_size(object_sizes(small_objects(images=9, side=100))) == 320
    middle = default_size(object_sizes(small_objects(images=9, side=40)))
    assert 320 < middle < 640 and middle % 32 == 0
    assert default_size(object_sizes(small_objects(images=9, side=8))) == 640
    # never larger than the images are
    assert default_size(object_sizes(small_objects(images=9, side=8, size=(300, 200)))) == 320
    assert default_size(object_sizes(small_objects(images=9, side=8, size=(90, 60)))) == 96
    given = DetectDistillSettings()
    assert defaults_of(small_objects(images=9, side=8), given) == {"size": 640, "context": 0.5}
    given = DetectDistillSettings(size=333, context=0.4)
    assert defaults_of(small_objects(images=9, side=8), given) == {}


@pytest.mark.parametrize("side", [30, 180, 230, 300, 500])
@pytest.mark.parametrize("grid", [1, 2, 3])
def test_as_much_around_an_object_as_fits_a_tile_by_default(side: int, grid: int) -> None:
    source = small_objects(side, images=30)
    context = defaults_of(source, DetectDistillSettings(size=320, grid=grid))["context"]
    boxes = np.concatenate([objects.boxes for _, objects in source.scenes.values()])
    longer = np.median((boxes[:, 2:] - boxes[:, :2]).max(1)) / 1200
    assert context == 0.1 or (1 + 2 * context) * longer <= 1 / grid
    assert context == 0.5 or (1 + 2 * (context + 0.05)) * longer > 1 / grid


@pytest.mark.parametrize("method", ["focus", "selection", "random", "paste"])
def test_classes_without_objects_take_no_share(method: Any) -> None:
    source = random_source(1, images=30)
    source.classes += ("none",)
    source.class_counts += (0,)
    settings = settings_of(method=method, budget=7, size=160)
    table = table_of(source)
    wanted = quotas(settings, 30, source.class_counts)
    assert wanted == [3, 2, 2, 0]
    if method in ("focus", "selection"):
        scenes = (focus_scenes if method == "focus" else selected_scenes)(table, settings, 160, wanted)
    else:
        scenes = choose_scenes(source, settings, None)
    assert num_images(scenes) == 7


@pytest.mark.parametrize("choose", [focus_scenes, selected_scenes])
def test_what_a_class_cannot_fill_goes_to_the_others(choose: Any) -> None:
    """All objects of class 1 are too small for a label."""
    source = random_source(2, images=30)
    for _, objects in source.scenes.values():
        tiny = objects.labels == 1
        objects.boxes[tiny, 2:] = objects.boxes[tiny, :2] + 0.5
    scenes = choose(table_of(source), settings_of(), 160, [2, 3, 2])
    assert num_images(scenes) == 7
    assert scenes.lacking == ("class1",) or choose is selected_scenes
    assert len({tile.image for tile in scenes.tiles}) == 7


@pytest.mark.parametrize("method", ["random", "paste"])
@pytest.mark.parametrize("why", ["ignored", "tiny"])
def test_nothing_to_show_is_an_error_and_not_an_endless_search(method: Any, why: str) -> None:
    source = random_source(3)
    for _, objects in source.scenes.values():
        if why == "ignored":
            objects.ignored[:] = True
        else:
            objects.boxes[:, 2:] = objects.boxes[:, :2] + 1.5
    settings = settings_of(method=method, ipc=1, size=96)
    with pytest.raises(FocusError, match="can be shown with its label on 96 px: use a lower --min-size"):
        choose_scenes(source, settings, None)


def test_objects_that_cannot_be_shown_are_left_out_of_pastes() -> None:
    source = random_source(4)
    for number, (_, objects) in enumerate(source.scenes.values()):
        objects.ignored[:] = number > 0
        objects.boxes[1:, 2:] = objects.boxes[1:, :2] + 1.2
    scenes = pasted_scenes(source, settings_of(method="paste"), 128, 3)
    assert num_images(scenes) == 3
    assert {tile.key for tile in scenes.tiles} == {"0.png"} and {tile.target for tile in scenes.tiles} == {0}


@pytest.mark.parametrize("method", ["random", "full", "paste"])
def test_images_that_cannot_be_read_are_listed(method: Any) -> None:
    class Torn(Drawn):
        def objects(self, key: str, width: int, height: int) -> Objects:
            if key == "2.png":
                raise UnreadableImage("annotated as 9 x 9 pixels")
            return super().objects(key, width, height)

    source = Torn(random_source(5).scenes)
    make = pasted_scenes if method == "paste" else random_scenes
    scenes = make(source, settings_of(method=method), 128, 6)
    assert scenes.skipped == (("2.png", "annotated as 9 x 9 pixels"),)
    assert "2.png" not in {tile.key for tile in scenes.tiles}


def test_settings_are_checked_before_anything_is_spent() -> None:
    source = random_source(6)
    for changes, words in (
        ({"budget": 2}, "2 images are fewer than the 3 classes with objects"),
        ({"views": 5}, "5 views leave no room"),
        ({"size": 32}, "tiles under 32 px"),
    ):
        with pytest.raises(FocusError, match=words):
            check(source, settings_of(**{"size": 160} | changes))


def test_every_object_is_shown_once_before_any_is_shown_again() -> None:
    source = random_source(7, images=40)
    table = table_of(source)
    few = focus_scenes(table, settings_of(), 160, [1, 0, 0])
    many = focus_scenes(table, settings_of(), 160, [40, 0, 0])
    shown = [(tile.key, tile.target) for tile in few.tiles if tile.kind == "patch"]
    assert len(set(shown)) == len(shown) and not few.short
    assert many.short == ("class0",)


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
    assert quotas(settings_of(**given_), images, [7, 1, 2]) == wanted


@pytest.mark.parametrize(
    ("given_", "words"),
    [({"ipc": 1, "budget": 4}, "--ipc and --budget"), ({"ratio": 0.02}, "fewer than the 3 classes")],
)
def test_budgets_that_make_no_sense(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(FocusError, match=words):
        quotas(settings_of(**given_), 50, [7, 1, 2])


def test_sizes_of_objects_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They give defaults before anything is chosen, and are told beside those of the result."""
    read: list[bytes] = []

    def counted(data: bytes, least_side: int) -> object:
        read.append(data)
        return decode(data, least_side)

    monkeypatch.setattr("focusdd.tasks.detect.scale.decode", counted)
    made = detect.distill("demo:3", tmp_path / "tiny", method="random", ipc=1)
    assert made.info["object_size"]["source"] and len(read) == made.info["source_images"] == 30

"""Selection: pure table work, from an index made by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index, from_bytes, open_index, read_notes, to_bytes, write_part
from focusdd.extraction.patches import attention_area, key_patches
from focusdd.selection import focus
from focusdd.selection.focus import clusters_first, duplicates_last
from focusdd.selection.plan import Plan, Tile
from focusdd.settings import ExtractSettings, SelectSettings
from focusdd.settings.resolve import resolve

MakeIndex = Callable[..., Index]
COUNTS = {"ant": 40, "bee": 40, "cat": 40}


def select(index: Index, settings: SelectSettings, tile: int) -> Plan:
    return focus.select(index, resolve(settings).settings, tile)


def by_image(plan: Plan) -> dict[str, list[Tile]]:
    images = dict(plan.images())
    assert len(images) == len(list(groupby(plan.tiles, key=lambda tile: tile.image))), (
        "an image in two pieces"
    )
    return images


def patch_keys(plan: Plan, folder: str) -> list[str]:
    return [tile.key for tile in plan.tiles if tile.kind == "patch" and tile.image.startswith(folder + "/")]


def test_no_image_is_opened(make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("an image was opened")

    index = make_index(COUNTS)
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr("focusdd.core.images.decode", refuse)
    for tile in (112, 64):  # as the index has them, and found again
        assert len(select(index, SelectSettings(ipc=2, grid=2), tile).tiles) == 3 * 2 * 4


@pytest.mark.parametrize(
    ("ipc", "grid", "views", "view_source"),
    [
        (1, 1, 0, "other"),
        (3, 1, 1, "other"),
        (5, 2, 1, "other"),
        (5, 2, 2, "same"),
        (2, 3, 0, "other"),
        (2, 3, 9, "other"),
    ],
)
def test_the_layout_is_as_asked(
    make_index: MakeIndex, ipc: int, grid: int, views: int, view_source: str
) -> None:
    index = make_index(COUNTS)
    plan = select(index, SelectSettings(ipc=ipc, grid=grid, views=views, view_source=view_source), 112)
    images = by_image(plan)
    assert plan.grid == grid
    assert plan.short == ()
    assert list(images) == [f"{name}/{name}_{n:05d}" for name in COUNTS for n in range(ipc)]
    rows = {row["key"]: row for row in index.table(["key", "label", "width", "height"]).to_pylist()}
    for name, tiles in images.items():
        assert [(tile.row, tile.column) for tile in tiles] == [divmod(cell, grid) for cell in range(grid**2)]
        assert Counter(tile.kind for tile in tiles) == Counter(patch=grid**2 - views, view=views)
        for tile in tiles:
            row = rows[tile.key]
            assert tile.key.split("/")[0] == name.split("/")[0] == index.classes[tile.label]
            assert (tile.label, tile.width, tile.height) == (row["label"], row["width"], row["height"])
            if tile.kind == "view":
                assert tile.box == (0, 0, tile.width, tile.height)
            else:
                assert 0 <= tile.box[0] < tile.box[2] <= tile.width
                assert 0 <= tile.box[1] < tile.box[3] <= tile.height
        keys = {kind: [tile.key for tile in tiles if tile.kind == kind] for kind in ("patch", "view")}
        assert len(set(keys["patch"])) == len(keys["patch"])
        assert len(set(keys["view"])) == len(keys["view"])
        if view_source == "same":
            assert set(keys["view"]) <= set(keys["patch"])
    used = {kind: [tile.key for tile in plan.tiles if tile.kind == kind] for kind in ("patch", "view")}
    assert len(set(used["patch"])) == len(used["patch"]), "an image is used once while there are enough"
    if view_source == "other":
        assert not set(used["patch"]) & set(used["view"])
        assert len(set(used["view"])) == len(used["view"])


def test_the_most_realistic_come_first(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)
    settings = SelectSettings(
        ipc=4, grid=2, views=1, keep=0, confidence_power=2.0, mass_power=0.5, area_power=1.0
    )
    plan = select(index, settings, 112)
    scores: dict[str, float] = {}
    for row in index.table(["key", "confidence", "mass", "area"]).to_pylist():
        scores[row["key"]] = row["confidence"] ** 2 * row["mass"] ** 0.5 * (1 - row["area"])
    for folder in COUNTS:
        best = sorted((key for key in scores if key.startswith(folder)), key=lambda key: -scores[key])
        assert patch_keys(plan, folder) == best[:12]
        views = [tile.key for tile in plan.tiles if tile.kind == "view" and tile.image.startswith(folder)]
        assert views == best[12:16]
    for tile in plan.tiles:
        assert tile.score == pytest.approx(scores[tile.key], rel=1e-5)


def test_keep_draws_from_the_best_by_seed(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)

    def keys(**settings: float) -> list[str]:
        return patch_keys(select(index, SelectSettings(ipc=2, grid=2, views=0, **settings), 112), "bee")

    assert keys(keep=0, seed=1) == keys(keep=0, seed=2)
    assert keys(keep=1, seed=1) == keys(keep=1, seed=1)
    assert set(keys(keep=1, seed=1)) != set(keys(keep=1, seed=2))
    assert keys(keep=1, seed=1) != keys(keep=0)
    half = set(
        patch_keys(select(index, SelectSettings(ipc=5, views=0, keep=0), 112), "bee")
    )  # the best 20 of 40
    for seed in range(5):
        assert set(keys(keep=0.5, seed=seed)) <= half
    # a share smaller than what is needed takes what is needed, in another order
    assert set(keys(keep=0.01, seed=3)) == set(keys(keep=0))


def test_the_default_shows_whole_images_that_stand_for_clusters(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)
    for ipc in (1, 5):
        plan = select(index, SelectSettings(ipc=ipc), 112)
        for tiles in by_image(plan).values():
            assert Counter(tile.kind for tile in tiles) == {"view": 4}
        spread = select(index, SelectSettings(ipc=ipc, clusters=True), 112)
        drawn = select(index, SelectSettings(ipc=ipc, clusters=False), 112)
        assert plan.tiles == spread.tiles != drawn.tiles
        assert plan.tiles != select(index, SelectSettings(ipc=ipc, seed=4), 112).tiles


def test_skip_passes_over_the_easiest(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)

    def keys(ipc: int, **settings: float) -> list[str]:
        return patch_keys(select(index, SelectSettings(ipc=ipc, grid=2, views=0, **settings), 112), "bee")

    ranking = keys(10, keep=0)
    for clusters in (False, True):  # a draw from all of the class is from all but those
        assert set(keys(7, skip=0.25, clusters=clusters)) <= set(ranking[10:])
        assert set(keys(8, skip=0.25, clusters=clusters)) == set(ranking[10:] + ranking[:2])
    assert keys(2, keep=0, skip=0.25) == ranking[10:18]
    assert set(keys(2, keep=0.3, skip=0.25)) <= set(ranking[10:22])
    # what was passed over comes back where there is nothing else
    assert keys(10, keep=0, skip=0.25) == ranking[10:] + ranking[:10]


def test_clusters_are_all_represented() -> None:
    """Tight groups of unequal size: one row of each, the nearest to its middle, whatever the seed."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), (100, 50, 20, 10, 5, 3))
    middles = rng.normal(size=(6, 8)) * 10
    features = middles[groups] + rng.normal(size=(len(groups), 8)) * 0.05
    order = rng.permutation(len(groups)) + 1000
    found = clusters_first(order, features[order - 1000], 1.0, 6, np.random.default_rng(1))
    assert sorted(found) == sorted(order)
    assert sorted(groups[found[:6] - 1000]) == list(range(6))
    for row in found[:6] - 1000:
        mine = features[groups == groups[row]]
        away = np.linalg.norm(mine - mine.mean(0), axis=1)
        assert np.linalg.norm(features[row] - mine.mean(0)) == pytest.approx(away.min(), rel=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(-1, 1), st.integers(1, 40))
def test_near_duplicates_come_last(seed: int, rows: int, most: float, need: int) -> None:
    """Against the definition, pair by pair."""
    rng = np.random.default_rng(seed)
    features, order = rng.normal(size=(rows, 3)).astype(np.float16), rng.permutation(rows) + 7
    exact = features.astype(np.float64)
    alike = exact @ exact.T / np.outer(*2 * [np.linalg.norm(exact, axis=1)])
    assume(np.abs(alike - most).min() > 1e-5)
    first: list[int] = []
    for row in range(rows):
        if len(first) < need and all(alike[row, other] <= most for other in first):
            first.append(row)
    rest = [row for row in range(rows) if row not in first]
    assert duplicates_last(order, features, most, need).tolist() == order[first + rest].tolist()


def test_near_duplicates_are_left_for_the_end_of_a_plan(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)

    def bees(ipc: int, most: float) -> list[str]:
        settings = SelectSettings(ipc=ipc, grid=2, views=0, keep=0, max_similarity=most)
        return patch_keys(select(index, settings, 112), "bee")

    ranking = bees(10, 1.0)  # all of them
    keys = index.table(["key"]).column("key").to_pylist()
    features = index.features()[[keys.index(key) for key in ranking]]
    expected = np.array(ranking)[duplicates_last(np.arange(40), features, 0.9, 8)[:8]].tolist()
    assert bees(2, 0.9) == expected != ranking[:8] == bees(2, 1.0)


def test_clusters_are_those_of_what_is_kept(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)

    def keys(**settings: float) -> list[str]:
        return patch_keys(select(index, SelectSettings(ipc=2, grid=2, views=0, **settings), 112), "bee")

    spread_out = keys(clusters=True, keep=0.5)
    assert spread_out == keys(clusters=True, keep=0.5)
    assert len(set(spread_out)) == 8
    ranking = patch_keys(select(index, SelectSettings(ipc=10, views=0, keep=0), 112), "bee")
    assert set(spread_out) <= set(ranking[:20])
    # as many clusters as rows: all of them
    assert set(keys(clusters=True, keep=0.2)) == set(ranking[:8])


@pytest.mark.parametrize(
    "options",
    [{}, {"window": "tile"}, {"patches": 3, "share": 0.3}, {"window": "tile", "patches": 2, "max_iou": 0.0}],
)
def test_stored_patches_equal_those_found_again(make_index: MakeIndex, options: dict[str, float]) -> None:
    index = make_index(COUNTS, tile=64, **options)
    settings = SelectSettings(ipc=3, views=3, **options)
    stored = select(index, settings, 64)
    table = index.table(["key", "width", "height", "attention"])
    sizes = np.stack([table.column(name).to_numpy() for name in ("width", "height")], axis=1)
    boxes, _ = key_patches(index.attention(table), sizes, ExtractSettings(**options), 64)
    found = dict(zip(table.column("key").to_pylist(), boxes, strict=True))
    for tile in stored.tiles:
        if tile.kind == "patch":
            assert np.abs(found[tile.key] - tile.box).max(1).min() < 1e-3

    # an index made for another tile gives the same plan, from its attention
    other = make_index(COUNTS, out=index.folder.parent / "other", tile=200, **options)
    again = select(other, settings, 64)
    unboxed = [[replace(tile, box=(0, 0, 1, 1), score=0) for tile in plan.tiles] for plan in (stored, again)]
    assert unboxed[0] == unboxed[1]
    for one, two in zip(stored.tiles, again.tiles, strict=True):
        assert one.box == pytest.approx(two.box, abs=1e-3)
        assert one.score == pytest.approx(two.score, rel=1e-4)


def test_another_tile_or_share_gives_other_patches(make_index: MakeIndex) -> None:
    index = make_index(COUNTS, sizes=(400, 300))
    plan = select(index, SelectSettings(ipc=2, views=0, window="tile"), 50)
    assert [tile.box[2] - tile.box[0] for tile in plan.tiles] == pytest.approx([50] * len(plan.tiles))
    small, large = (
        np.mean(
            [
                tile.box[2] - tile.box[0]
                for tile in select(index, SelectSettings(ipc=2, views=3, share=share), 8).tiles
            ]
        )
        for share in (0.2, 0.8)
    )
    assert small < large


@pytest.mark.parametrize("patches", [2, 4])
def test_several_patches_of_an_image_go_to_different_distilled_images(
    make_index: MakeIndex, patches: int
) -> None:
    index = make_index(COUNTS, sizes=(400, 300), tile=50, window="tile", patches=patches)
    plan = select(index, SelectSettings(ipc=6, views=3, window="tile", patches=patches), 50)
    boxes = Counter((tile.key, tile.box) for tile in plan.tiles)
    assert set(boxes.values()) == {1}, "a window is used once"
    for tiles in by_image(plan).values():
        assert len({tile.key for tile in tiles}) == len(tiles), "a distilled image shows an image once"
    assert max(Counter(patch_keys(plan, "ant")).values()) > 1, "more than one patch of an image is used"
    assert plan.short == ()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 39])
def test_a_class_with_too_few_images_uses_all_of_them_again(make_index: MakeIndex, count: int) -> None:
    index = make_index({"ant": 40, "bee": count})
    plan = select(index, SelectSettings(ipc=10, views=3), 112)
    assert plan.short == ("bee",)
    mine = [tile for tile in plan.tiles if tile.label == 1]
    assert len(mine) == 40
    assert len({tile.key for tile in mine}) == count, "every image is used"
    kinds = {kind: Counter(tile.key for tile in mine if tile.kind == kind) for kind in ("patch", "view")}
    for uses in kinds.values():
        assert max(uses.values()) - min(uses.values()) <= 1, "all about as often"
    if count > 1:
        assert not kinds["patch"].keys() & kinds["view"].keys()
    if count >= 7:
        for tiles in by_image(plan).values():
            assert len({tile.key for tile in tiles}) == len(tiles)


def test_just_enough_images_are_enough(make_index: MakeIndex) -> None:
    plan = select(make_index({"ant": 40, "bee": 41}), SelectSettings(ipc=10), 112)
    assert plan.short == ()
    assert max(Counter(tile.key for tile in plan.tiles).values()) == 1


def test_layouts_without_sense_are_refused(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)
    with pytest.raises(FocusError, match="views is 5, but a 2 x 2 grid has 4"):
        select(index, SelectSettings(views=5), 112)
    with pytest.raises(FocusError, match="3 views of the images of 1 patch"):
        select(index, SelectSettings(views=3, view_source="same"), 112)


def test_a_class_without_a_readable_image_is_named(make_index: MakeIndex) -> None:
    with pytest.raises(FocusError, match="class bee has no readable image: add one"):
        select(make_index({"ant": 4, "bee": 0}), SelectSettings(ipc=1), 112)


# the files between


def test_the_plan_there_and_back(make_index: MakeIndex) -> None:
    plan = select(make_index(COUNTS), SelectSettings(ipc=3), 64)  # boxes found anew, in double precision
    again = Plan.from_table(plan.table())
    assert again.grid == plan.grid
    assert again.tiles == plan.tiles, "exactly: what is composed is what is on record"


def test_attention_there_and_back() -> None:
    grids = np.random.default_rng(0).random((6, 5, 7)) ** 3
    grids /= grids.sum((1, 2), keepdims=True)
    again = from_bytes(to_bytes(grids))
    np.testing.assert_allclose(again.sum((1, 2)), 1)
    assert np.abs(again - grids).max() < grids.max() / 255
    np.testing.assert_array_equal(to_bytes(again), to_bytes(grids))
    area = attention_area(grids, 0.65)
    np.testing.assert_allclose(attention_area(again, 0.65), area, atol=1.01 / 35)


def test_an_index_is_read_back(make_index: MakeIndex) -> None:
    index = make_index(COUNTS)
    assert index.classes == tuple(COUNTS)
    table = index.table(["key", "label"])
    assert table.column("key").to_pylist() == [f"{name}/{n:03d}.png" for name in COUNTS for n in range(40)]
    part = index.folder / "parts" / "part-00003.parquet"
    notes = {"skipped": [["a/ü.jpg", "cut short"], ["b", 'a "reason"']], "fallback": 3}
    write_part(part, table.slice(0, 0), notes)
    assert read_notes(part) == notes
    assert len(index.table(["key"])) == 120 - 16


def test_no_index_is_a_sentence(make_index: MakeIndex, tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="is not an index"):
        open_index(tmp_path)
    index = make_index(COUNTS)
    (index.folder / "index.json").unlink()
    with pytest.raises(FocusError, match=r"index\.json"):
        open_index(index.folder)

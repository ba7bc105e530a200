"""Records of views follow their recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd.labels.views import Views, crop_boxes, crop_regions, draw_views
from focusdd.settings import AugmentSettings


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_views_are_those_of_the_recipe() -> None:
    recipe = AugmentSettings(tile_crops=0.25, mix_prob=0.5, crop=0.5)
    views = draw_views(2000, 50, 64, 2, recipe, generator(1)).records()
    x0, y0, x1, y1 = views["crop"].astype(int).T
    area = (x1 - x0) * (y1 - y0) / 64**2
    assert np.mean(area <= 0.25) == pytest.approx(0.25, abs=0.04)
    assert np.mean(views["flip"]) == pytest.approx(0.5, abs=0.04)
    mixed = views["mix"].any(1)
    assert np.mean(mixed) == pytest.approx(0.5, abs=0.04)
    assert (views["mix"][mixed, :2] >= views["crop"][mixed, :2]).all()
    assert (views["mix"][mixed, 2:] <= views["crop"][mixed, 2:]).all()
    assert set(views["shift"]) == set(range(1, 50))
    calm = AugmentSettings(tile_crops=1, flip=False, mix_prob=0, shuffle_tiles=False, crop=1)
    still = draw_views(9, 1, 50, 3, calm, generator(1))
    assert not still.flip.any()
    assert not still.mix.any()
    assert not still.shift.any()
    assert (still.order == torch.arange(9)).all()
    assert (still.lam == 1).all()


def test_records_are_drawn_as_they_always_were() -> None:
    """Stored labels are of these views: another draw would make them labels of others."""
    views = draw_views(3, 7, 64, 2, AugmentSettings(tile_crops=0.5), generator(3))
    assert views.order.tolist() == [[2, 3, 0, 1], [3, 0, 1, 2], [0, 3, 1, 2]]
    assert views.crop.tolist() == [[1, 0, 32, 32], [4, 0, 27, 31], [0, 4, 64, 62]]
    assert views.flip.tolist() == [True] * 3
    assert views.shift.tolist() == [4, 4, 6]
    assert views.mix.tolist() == [[1, 0, 12, 18], [8, 8, 23, 28], [36, 14, 61, 38]]


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 9), st.integers(8, 70))
def test_records_come_back_from_the_file(seed: int, grid: int, images: int, side: int) -> None:
    views = draw_views(4, images, side, grid, AugmentSettings(tile_crops=1, mix_prob=0.5), generator(seed))
    for one, other in zip(views, Views.of(views.records()), strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other)


def test_views_depend_on_the_generator_alone() -> None:
    first, second, other = (
        draw_views(4, 9, 32, 2, AugmentSettings(tile_crops=1), generator(s)) for s in (5, 5, 6)
    )
    assert (first.records() == second.records()).all()
    assert (first.records() != other.records()).any()


def test_tiles_that_are_not_of_one_size_keep_their_places() -> None:
    assert (
        draw_views(20, 5, 10, 3, AugmentSettings(tile_crops=1), generator()).order == torch.arange(9)
    ).all()


def test_crop_boxes_lie_inside_and_have_their_area() -> None:
    regions = torch.tensor([[0.0, 0.0, 80.0, 50.0]]).repeat(4000, 1)
    boxes = crop_boxes(regions, 0.4, generator())
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 80 + 1e-4).all()
    assert (boxes[:, 3] <= 50 + 1e-4).all()
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = width * height / 4000
    unclipped = (width < 79.9) & (height < 49.9)
    assert unclipped.sum() > 500
    assert (share[unclipped] >= 0.4 - 1e-4).all()
    assert (width / height)[unclipped].min() > 0.74
    assert (width / height)[unclipped].max() < 1.34


def test_a_share_of_the_crops_lies_within_one_tile() -> None:
    regions = crop_regions(2000, 100, 3, 0.25, generator())
    whole = (regions == torch.tensor([0.0, 0.0, 100.0, 100.0])).all(1)
    assert whole.float().mean() == pytest.approx(0.75, abs=0.05)
    tiles = {tuple(box) for box in regions[~whole].tolist()}
    edges = [(0, 33), (33, 67), (67, 100)]
    assert tiles == {(x0, y0, x1, y1) for x0, x1 in edges for y0, y1 in edges}

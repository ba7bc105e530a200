"""Geometry: where the view, the tokens and the original pixels are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd.core.images import Box, letterbox
from focusdd.extraction.geometry import (
    View,
    area,
    clip,
    cover,
    cumulative,
    intersection,
    iou,
    without_padding,
)

sides = st.integers(1, 20_000)
fits = st.sampled_from(["squash", "letterbox"])
shares = st.floats(0, 1)
grids = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=200, deadline=None)
@given(sides, sides, fits, shares, shares)
def test_there_and_back_is_the_identity(width: int, height: int, fit: str, x: float, y: float) -> None:
    view = View.of(width, height, fit)
    px, py = x * width, y * height
    across, down = view.to_view(px, py)
    assert -1e-9 <= across <= 1 + 1e-9
    assert -1e-9 <= down <= 1 + 1e-9
    assert view.to_original(across, down) == pytest.approx((px, py), abs=1e-3)
    assert view.to_view(*view.to_original(x, y)) == pytest.approx((x, y), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(sides, sides)
def test_a_letterboxed_view_keeps_the_aspect(width: int, height: int) -> None:
    view = View.of(width, height, "letterbox")
    x0, y0 = view.to_view(0, 0)
    x1, y1 = view.to_view(width, height)
    assert max(x1 - x0, y1 - y0) == pytest.approx(1)
    assert (x1 - x0) * height == pytest.approx((y1 - y0) * width)
    assert (x0 + x1, y0 + y1) == pytest.approx((1, 1)), "centred"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 64, 65, 224]))
def test_a_letterboxed_image_lies_where_its_view_says(width: int, height: int, side: int) -> None:
    """To within a pixel of the view: its pixels are whole."""
    pixels = letterbox(Image.new("RGB", (width, height), (255, 0, 0)), side)
    rows, columns = np.nonzero(pixels[..., 1] == 0)
    view = View.of(width, height, "letterbox")
    x0, y0 = view.to_view(0, 0)
    x1, y1 = view.to_view(width, height)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == pytest.approx((x0 * side, y0 * side, x1 * side, y1 * side), abs=1)


@settings(max_examples=60, deadline=None)
@given(sides, sides, fits, grids)
def test_token_boxes_tile_the_image(width: int, height: int, fit: str, grid: tuple[int, int]) -> None:
    view = View.of(width, height, fit)
    boxes = [[view.token_box(row, column, grid) for column in range(grid[1])] for row in range(grid[0])]
    for row in boxes:
        for x0, y0, x1, y1 in row:
            assert 0 <= x0 <= x1 <= width
            assert 0 <= y0 <= y1 <= height
    assert boxes[0][0][:2] == (0, 0)
    assert boxes[-1][-1][2:] == pytest.approx((width, height), abs=1e-9 * max(width, height))
    for above, below in pairwise(boxes):
        assert [box[3] for box in above] == [box[1] for box in below]
    for row in boxes:
        assert [box[2] for box in row[:-1]] == [box[0] for box in row[1:]]
    total = sum(area(box) for row in boxes for box in row)
    assert total == pytest.approx(width * height)


def test_token_boxes_of_padding_are_empty() -> None:
    view = View.of(400, 100, "letterbox")
    assert area(view.token_box(0, 0, (4, 4))) == 0
    assert view.token_box(1, 0, (4, 4)) == pytest.approx((0, 0, 100, 50))
    assert view.token_box(2, 3, (4, 4)) == pytest.approx((300, 50, 400, 100))


numbers = st.floats(-30_000, 30_000)


@settings(max_examples=200, deadline=None)
@given(st.tuples(numbers, numbers, numbers, numbers), sides, sides)
def test_clipped_boxes_are_inside(corners: Box, width: int, height: int) -> None:
    box = (
        min(corners[0], corners[2]),
        min(corners[1], corners[3]),
        max(corners[0], corners[2]),
        max(corners[1], corners[3]),
    )
    x0, y0, x1, y1 = clip(box, width, height)
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height
    assert area((x0, y0, x1, y1)) == pytest.approx(intersection(box, (0, 0, width, height)))
    assert clip((x0, y0, x1, y1), width, height) == (x0, y0, x1, y1)


def pixels_of(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


small = st.integers(0, 9)
small_boxes = st.tuples(small, small, small, small)  # some of them turned inside out, so empty


@settings(max_examples=300, deadline=None)
@given(small_boxes, small_boxes)
def test_areas_count_pixels(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> None:
    first, second = pixels_of(a), pixels_of(b)
    assert area(a) == len(first)
    assert intersection(a, b) == len(first & second)
    assert iou(a, b) == pytest.approx(len(first & second) / len(first | second) if first | second else 0)
    assert cover(a, b) == pytest.approx(len(first & second) / len(second) if second else 0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32)
)
def test_without_padding_keeps_the_density_over_the_image(
    width: int, height: int, h: int, w: int, seed: int
) -> None:
    """Against many points of the image, each of which asks the view's token that it lies in."""
    attention = np.random.default_rng(seed).random((h, w)) ** 3 + 0.01
    attention /= attention.sum()
    view = View.of(width, height, "letterbox")
    fine = 120  # points per side; edges of view tokens fall between them
    wanted = np.zeros((h, w))
    for i in range(fine):
        for j in range(fine):
            x, y = view.to_view((j + 0.5) / fine * width, (i + 0.5) / fine * height)
            wanted[i * h // fine, j * w // fine] += attention[min(int(y * h), h - 1), min(int(x * w), w - 1)]
    wanted /= wanted.sum()
    found = without_padding(attention, view)
    assert found.shape == (h, w)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_without_padding_of_a_squashed_or_square_image_is_the_same() -> None:
    attention = np.random.default_rng(0).random((5, 5))
    for view in (View.of(300, 100, "squash"), View.of(100, 100, "letterbox")):
        assert without_padding(attention, view) is attention


def test_without_padding_survives_attention_that_is_all_on_the_padding() -> None:
    attention = np.zeros((4, 4))
    attention[0] = 0.25
    found = without_padding(attention, View.of(400, 100, "letterbox"))
    np.testing.assert_allclose(found, 1 / 16)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_cumulative_is_the_sum_above_and_left(count: int, h: int, w: int) -> None:
    attention = np.random.default_rng([count, h, w]).random((count, h, w))
    total = cumulative(attention)
    for y in range(h + 1):
        for x in range(w + 1):
            np.testing.assert_allclose(total[:, y, x], attention[:, :y, :x].sum((1, 2)))

"""Geometry: where the view, the tokens and the original pixels are."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import Resize, area, cover, intersection, iou, to_view, token_box
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd.core.images import Box, letterbox
from focusdd.extraction.coverage import _cover
from focusdd.extraction.geometry import margins, token_cover, without_padding

sides = st.integers(1, 20_000)
fits = st.sampled_from(["squash", "letterbox"])


@settings(max_examples=200, deadline=None)
@given(sides, sides, fits)
def test_an_image_lies_between_its_margins(width: int, height: int, fit: Resize) -> None:
    left, top = margins(width, height, fit)
    assert to_view(0, 0, width, height, fit) == pytest.approx((left, top))
    assert to_view(width, height, width, height, fit) == pytest.approx((1 - left, 1 - top))
    assert (1 - 2 * left) * height == pytest.approx((1 - 2 * top) * width) or fit == "squash"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 64, 65, 224]))
def test_a_letterboxed_image_lies_where_its_view_says(width: int, height: int, side: int) -> None:
    """To within a pixel of the view: its pixels are whole."""
    pixels = letterbox(Image.new("RGB", (width, height), (255, 0, 0)), side)
    rows, columns = np.nonzero(pixels[..., 1] == 0)
    left, top = margins(width, height, "letterbox")
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == pytest.approx((left * side, top * side, (1 - left) * side, (1 - top) * side), abs=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), fits, st.integers(1, 9), st.integers(1, 9), st.data())
def test_tokens_are_covered_as_their_parts_of_the_image_are(
    width: int, height: int, fit: Resize, h: int, w: int, data: st.DataObject
) -> None:
    """A box, mapped into the view by the margins, against every token's box in the image."""
    x0, x1 = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    y0, y1 = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    before = np.array(margins(width, height, fit) * 2)
    found = token_cover(np.array([[x0, y0, x1, y1]]) * (1 - 2 * before) + before, (h, w))[0]
    box: Box = (x0 * width, y0 * height, x1 * width, y1 * height)
    whole = token_box(0, 0, width, height, "squash", (1, 1))
    assert area(whole) == width * height
    longest = max(width, height)
    size = width * height / (h * w) if fit == "squash" else longest**2 / (h * w)
    for row in range(h):
        for column in range(w):
            wanted = intersection(box, token_box(row, column, width, height, fit, (h, w))) / size
            assert found[row, column] == pytest.approx(wanted, abs=1e-6)


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
    if first and second:
        assert _cover(a, b) == cover(a, b)


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
    fine = 120  # points per side; edges of view tokens fall between them
    wanted = np.zeros((h, w))
    for i in range(fine):
        for j in range(fine):
            x, y = to_view((j + 0.5) / fine * width, (i + 0.5) / fine * height, width, height, "letterbox")
            wanted[i * h // fine, j * w // fine] += attention[min(int(y * h), h - 1), min(int(x * w), w - 1)]
    wanted /= wanted.sum()
    found = without_padding(attention, *margins(width, height, "letterbox"))
    assert found.shape == (h, w)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_without_padding_of_a_squashed_or_square_image_is_the_same() -> None:
    attention = np.random.default_rng(0).random((5, 5))
    for empty in (margins(300, 100, "squash"), margins(100, 100, "letterbox")):
        assert without_padding(attention, *empty) is attention


def test_without_padding_survives_attention_that_is_all_on_the_padding() -> None:
    attention = np.zeros((4, 4))
    attention[0] = 0.25
    found = without_padding(attention, *margins(400, 100, "letterbox"))
    np.testing.assert_allclose(found, 1 / 16)

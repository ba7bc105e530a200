"""Key patches against a reference that tries windows densely and adds up token overlaps one by one."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import Resize, cover, intersection, iou, token_box
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd.core.images import Box
from focusdd.extraction.geometry import margins, without_padding
from focusdd.extraction.patches import attention_area, key_patches
from focusdd.settings import ExtractSettings

OBJECT = ExtractSettings(window="object", share=0.65, tile=112, max_upsample=1.5, patches=1, max_iou=0.25)
TILE = ExtractSettings(window="tile", share=0.65, tile=112, max_upsample=1.5, patches=1, max_iou=0.25)


def true_mass(attention: np.ndarray, box: Box, width: float, height: float) -> float:
    """Attention inside a box: every token's share of overlap, added up in plain loops."""
    h, w = attention.shape
    mass = 0.0
    for row in range(h):
        for column in range(w):
            token = (column * width / w, row * height / h, (column + 1) * width / w, (row + 1) * height / h)
            mass += cover(box, token) * attention[row, column]
    return mass


def densest(attention: np.ndarray, side: float, width: float, height: float) -> float:
    """The most attention of any square window of this side, trying a position every 1/64 of a token."""

    def overlaps(tokens: int, length: float) -> np.ndarray:
        steps = max(2, round(64 * tokens * (1 - side / length)) + 1)
        starts = np.linspace(0, length - side, steps)[:, None]
        edges = np.arange(tokens + 1) * length / tokens
        inside = np.minimum(starts + side, edges[1:]) - np.maximum(starts, edges[:-1])
        return np.clip(inside, 0, None) / (length / tokens)

    h, w = attention.shape
    return float((overlaps(h, height) @ attention @ overlaps(w, width).T).max())


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Attention (B, h, w) from uniform to a single peak, and sizes from 1 px to very wide ones."""
    count, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    peaks = draw(st.sampled_from([0.0, 1.0, 4.0, 12.0, 200.0]))
    attention = np.exp(peaks * rng.random((count, h, w)))
    sides = st.one_of(st.integers(1, 40), st.integers(41, 500), st.integers(501, 20_000))
    sizes = np.array([[draw(sides), draw(sides)] for _ in range(count)])
    return attention / attention.sum((1, 2), keepdims=True), sizes


option_sets = st.builds(
    ExtractSettings,
    window=st.sampled_from(["object", "tile"]),
    share=st.sampled_from([0.05, 0.3, 0.65, 0.9, 1.0]),
    tile=st.sampled_from([8, 56, 112, 400]),
    max_upsample=st.sampled_from([1.0, 1.5, 4.0]),
    patches=st.sampled_from([1, 1, 2, 5]),
    max_iou=st.sampled_from([0.0, 0.25, 0.6]),
)


@settings(max_examples=50, deadline=None)
@given(batches(), option_sets)
def test_boxes_are_square_windows_inside_the_image_with_the_mass_they_claim(
    batch: tuple[np.ndarray, np.ndarray], options: ExtractSettings
) -> None:
    attention, sizes = batch
    boxes, mass = key_patches(attention, sizes, options, options.tile)
    assert boxes.shape == (len(sizes), options.patches, 4)
    for image, (width, height) in enumerate(sizes):
        shortest = min(width, height)
        for number, (x0, y0, x1, y1) in enumerate(boxes[image]):
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            side = x1 - x0
            assert side == pytest.approx(y1 - y0, abs=1e-6)
            assert side >= min(options.tile / options.max_upsample, shortest) - 1e-6
            if options.window == "tile":
                assert side == pytest.approx(min(options.tile, shortest), abs=1e-6)
            wanted = true_mass(attention[image], (x0, y0, x1, y1), width, height)
            if number and mass[image, number] == 0:
                assert (boxes[image, number] == boxes[image, 0]).all()
                continue
            assert mass[image, number] == pytest.approx(wanted, abs=1e-9)
            for earlier in boxes[image, :number]:
                assert iou(tuple(earlier), (x0, y0, x1, y1)) <= options.max_iou + 1e-6


def centred(attention: np.ndarray, x0: float, y0: float, side: float, width: float, height: float) -> float:
    """Attention in a window counted by nearness to its middle, summed over 400 points along each token."""

    def nearness(start: float, tokens: int, length: float) -> np.ndarray:
        points = (np.arange(400 * tokens) + 0.5) * length / (400 * tokens)
        tent = np.maximum(0, 1 - np.abs(points - start - side / 2) / (side / 2))
        return tent.reshape(tokens, 400).mean(1)

    h, w = attention.shape
    return float(nearness(y0, h, height) @ attention @ nearness(x0, w, width))


@settings(max_examples=25, deadline=None)
@given(batches(), option_sets, st.integers(0, 2**32))
def test_no_other_window_of_the_same_size_holds_more_around_its_middle(
    batch: tuple[np.ndarray, np.ndarray], options: ExtractSettings, seed: int
) -> None:
    attention, sizes = batch
    boxes, _ = key_patches(attention, sizes, options, options.tile)
    rng = np.random.default_rng(seed)
    for image, (width, height) in enumerate(sizes):
        x0, y0, x1, _ = boxes[image, 0]
        side = x1 - x0
        if side < max(width, height) / 20:
            continue  # too small for the points of the reference
        mine = centred(attention[image], x0, y0, side, width, height)
        for x, y in rng.random((30, 2)) * (width - side, height - side):
            assert centred(attention[image], x, y, side, width, height) <= mine * 1.04


@settings(max_examples=50, deadline=None)
@given(batches(), option_sets)
def test_an_object_window_is_of_the_smallest_size_that_holds_the_share(
    batch: tuple[np.ndarray, np.ndarray], options: ExtractSettings
) -> None:
    attention, sizes = batch
    options = options.model_copy(update={"window": "object"})
    boxes, _ = key_patches(attention, sizes, options, options.tile)
    for image, (width, height) in enumerate(sizes):
        shortest = min(width, height)
        side = boxes[image, 0, 2] - boxes[image, 0, 0]
        if side < shortest * (1 - 1e-9):
            assert densest(attention[image], side, width, height) >= options.share * 0.99
        smaller = side - shortest / 64
        if smaller > options.tile / options.max_upsample:
            assert densest(attention[image], smaller, width, height) < options.share


def test_stray_attention_does_not_push_the_object_to_the_edge_of_the_window() -> None:
    """A window with the most attention would reach for all of it; the object belongs in its middle."""
    attention = np.full((1, 16, 16), 0.0005)
    attention[0, 6:9, 6:9] = 0.08
    attention[0, 2, 12:14] = 0.03  # a spot in the background
    attention /= attention.sum()
    options = ExtractSettings(window="tile", share=0.65, tile=800, max_upsample=1.5, patches=1, max_iou=0.25)
    boxes, mass = key_patches(attention, np.array([[1600, 1600]]), options, options.tile)
    x0, y0, x1, y1 = boxes[0, 0]
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((750, 750), abs=110)
    assert mass[0, 0] < densest(attention[0], 800, 1600, 1600)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(["object", "tile"]), st.sampled_from(["squash", "letterbox"]))
def test_a_peak_over_an_object_puts_the_patch_on_the_object(
    data: st.DataObject, window: str, fit: Resize
) -> None:
    """Attention is made from the object's box through the view, as a ViT would see it."""
    width, height = data.draw(st.integers(200, 4000)), data.draw(st.integers(200, 4000))
    side = min(width, height) * data.draw(st.floats(0.15, 0.5))
    x, y = data.draw(st.floats(0, 1)) * (width - side), data.draw(st.floats(0, 1)) * (height - side)
    target = (x, y, x + side, y + side)
    tokens = [
        [token_box(row, column, width, height, fit, (14, 14)) for column in range(14)] for row in range(14)
    ]
    # of a token that is partly padding, only the part on the image can look at the object
    attention = np.array([[intersection(target, box) for box in row] for row in tokens])
    attention = without_padding(
        0.9 * attention / attention.sum() + 0.1 / attention.size, *margins(width, height, fit)
    )
    options = ExtractSettings(window=window, share=0.65, tile=112, max_upsample=1.5, patches=1, max_iou=0.25)
    boxes, _ = key_patches(attention[None], np.array([[width, height]]), options, options.tile)
    box = tuple(boxes[0, 0])
    # attention knows places to a token
    token = max(width, height) / 14
    for start, end in ((0, 2), (1, 3)):
        middle = (target[start] + target[end]) / 2
        assert box[start] - token / 2 <= middle <= box[end] + token / 2
    if side > 2 * token:  # the smaller of the two is mostly inside the larger
        assert max(cover(target, box), cover(box, target)) > 0.6


def test_a_window_as_large_as_the_image_leaves_no_room_for_a_second() -> None:
    attention = np.full((1, 4, 4), 1 / 16)
    options = ExtractSettings(window="tile", share=0.65, tile=112, max_upsample=1.5, patches=3, max_iou=0.25)
    boxes, mass = key_patches(attention, np.array([[100, 100]]), options, options.tile)
    assert boxes[0].tolist() == [[0, 0, 100, 100]] * 3
    assert mass[0].tolist() == pytest.approx([1, 0, 0])


def test_patches_are_found_until_the_room_is_used_up() -> None:
    attention = np.array([[[0.28, 0.26], [0.24, 0.22]]])
    options = ExtractSettings(window="tile", share=0.65, tile=50, max_upsample=1.5, patches=5, max_iou=0.0)
    boxes, mass = key_patches(attention, np.array([[100, 100]]), options, options.tile)
    assert boxes[0, :4].tolist() == [[0, 0, 50, 50], [50, 0, 100, 50], [0, 50, 50, 100], [50, 50, 100, 100]]
    assert mass[0].tolist() == pytest.approx([0.28, 0.26, 0.24, 0.22, 0])
    assert boxes[0, 4].tolist() == boxes[0, 0].tolist()


def test_a_second_patch_without_attention_falls_back_to_the_first() -> None:
    attention = np.zeros((1, 6, 6))
    attention[0, 1, 4] = 1.0
    options = ExtractSettings(window="tile", share=0.65, tile=100, max_upsample=1.5, patches=2, max_iou=0.5)
    boxes, mass = key_patches(attention, np.array([[300, 300]]), options, options.tile)
    assert mass[0].tolist() == pytest.approx([1, 0])
    assert boxes[0, 1].tolist() == boxes[0, 0].tolist()


def test_the_second_patch_is_on_the_second_object() -> None:
    attention = np.zeros((1, 10, 10))
    attention[0, 1:3, 1:3] = 0.15
    attention[0, 7:9, 6:8] = 0.1
    options = ExtractSettings(window="tile", share=0.65, tile=200, max_upsample=1.5, patches=2, max_iou=0.25)
    boxes, mass = key_patches(attention, np.array([[1000, 1000]]), options, options.tile)
    assert boxes[0, 0].tolist() == pytest.approx([100, 100, 300, 300])
    assert boxes[0, 1].tolist() == pytest.approx([600, 700, 800, 900])
    assert mass[0].tolist() == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize("options", [OBJECT, TILE])
def test_one_pixel(options: ExtractSettings) -> None:
    boxes, mass = key_patches(np.full((1, 3, 3), 1 / 9), np.array([[1, 1]]), options, options.tile)
    assert boxes.tolist() == [[[0, 0, 1, 1]]]
    assert mass[0, 0] == pytest.approx(1)


@pytest.mark.parametrize("options", [OBJECT, TILE])
def test_a_very_wide_image(options: ExtractSettings) -> None:
    attention = np.zeros((1, 4, 8))
    attention[0, :, 5] = 0.25
    boxes, _ = key_patches(attention, np.array([[20_000, 100]]), options, options.tile)
    x0, y0, x1, y1 = boxes[0, 0]
    assert (y0, y1, x1 - x0) == pytest.approx((0, 100, 100))
    assert (x0 + x1) / 2 == pytest.approx(20_000 * 5.5 / 8, abs=20_000 / 64)


@pytest.mark.parametrize("options", [OBJECT, TILE])
def test_uniform_attention_takes_the_middle(options: ExtractSettings) -> None:
    for grid in ((1, 1), (5, 5), (7, 3)):
        boxes, _ = key_patches(
            np.full((1, *grid), 1 / (grid[0] * grid[1])), np.array([[600, 500]]), options, options.tile
        )
        x0, y0, x1, y1 = boxes[0, 0]
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((300, 250))


@pytest.mark.parametrize("options", [OBJECT, TILE])
def test_attention_in_one_token_is_in_the_middle_of_a_smaller_window(options: ExtractSettings) -> None:
    """A window smaller than the token could lie anywhere in it; only its middle makes sense."""
    attention = np.zeros((1, 4, 4))
    attention[0, 1, 2] = 1.0
    boxes, _ = key_patches(attention, np.array([[2000, 2400]]), options, options.tile)
    x0, y0, x1, y1 = boxes[0, 0]
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((1250, 900), abs=500 / 4)


def test_images_of_a_batch_do_not_matter_to_each_other() -> None:
    rng = np.random.default_rng(3)
    attention = rng.random((5, 6, 6)) ** 4
    attention /= attention.sum((1, 2), keepdims=True)
    sizes = rng.integers(20, 900, (5, 2))
    options = ExtractSettings(window="object", share=0.5, tile=64, max_upsample=2.0, patches=3, max_iou=0.2)
    boxes, mass = key_patches(attention, sizes, options, options.tile)
    for image in range(5):
        alone = key_patches(attention[image : image + 1], sizes[image : image + 1], options, options.tile)
        np.testing.assert_allclose(boxes[image], alone[0][0], atol=1e-9)
        np.testing.assert_allclose(mass[image], alone[1][0], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(batches(), st.sampled_from([0.05, 0.3, 0.65, 0.99, 1.0]))
def test_attention_area(batch: tuple[np.ndarray, np.ndarray], share: float) -> None:
    attention, _ = batch
    found = attention_area(attention, share)
    for grid, area in zip(attention, found, strict=True):
        held, tokens = 0.0, 0
        for value in sorted(grid.ravel().tolist(), reverse=True):
            if held >= share - 1e-9:
                break
            held, tokens = held + value, tokens + 1
        assert area == pytest.approx(tokens / grid.size)
        assert 0 < area <= 1


def test_attention_area_of_single_precision_is_at_most_the_image() -> None:
    """Sums in single precision end a little below 1."""
    attention = np.full((1, 14, 14), np.float32(1 / 196) * np.float32(1 - 1e-6), np.float32)
    assert attention_area(attention, 1.0)[0] == 1.0

"""Windows around objects: what they hold, what they cut, and where attention moves them."""

from __future__ import annotations

import numpy as np
from drawn_scenes import make_objects
from hypothesis import given
from hypothesis import strategies as st

from focusdd.tasks.detect.scenes import place_objects, sides
from focusdd.tasks.detect.windows import lattice_extents, object_window, relative_size, whole

SIDES = st.integers(20, 400)


def square(*lengths: float) -> np.ndarray:
    return np.array([[side, side] for side in lengths], float)


@given(
    st.integers(0, 10_000),
    SIDES,
    SIDES,
    st.integers(1, 12),
    st.tuples(st.floats(8, 300), st.floats(8, 300)),
    st.floats(0, 1),
)
def test_a_window_shows_its_object_with_its_surroundings(
    seed: int, width: int, height: int, count: int, extent: tuple[float, float], context: float
) -> None:
    rng = np.random.default_rng(seed)
    size = np.array([width, height])
    boxes = make_objects(rng, (width, height), count).boxes
    box, attention = boxes[0], rng.random((7, 7))
    wanted = np.maximum(extent, sides(box))
    extents = np.stack([wanted, 1.5 * wanted])
    window = np.array(
        object_window(boxes, 0, (width, height), attention / attention.sum(), extents, context, 0.6)
    )
    found = sides(window)
    assert (window >= -1e-9).all() and (window[2:] <= size + 1e-9).all()
    assert any(np.allclose(found, np.minimum(extent, size)) for extent in extents)
    # the context holds on every side, but for what the window or the image does not have
    margin = np.minimum(context * sides(box).max(), (found - sides(box)) / 2)
    assert (window[:2] <= np.maximum(box[:2] - margin, 0) + 1e-6).all()
    assert (window[2:] >= np.minimum(box[2:] + margin, size) - 1e-6).all()


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
    window = object_window(
        objects.boxes, 0, size, flat, square(max(60, sides(objects.boxes[0]).max())), 0, 0.6
    )
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
    boxes = np.array([[40.0, 40, 60, 60], [62, 40, 84, 60], [10, 40, 38, 60]])
    flat = np.full((4, 4), 1 / 16)
    small = object_window(boxes, 0, (88, 100), flat, square(30), 0.1, 0.6)
    grown = object_window(boxes, 0, (88, 100), flat, square(30, 84), 0.1, 0.6)
    assert cut(boxes, small, 0.6) > 0
    assert cut(boxes, grown, 0.6) == 0
    # and not where the smaller cuts nothing
    assert object_window(boxes[:2], 0, (88, 100), flat, square(30, 84), 0.1, 0.6)[2] <= 70


def test_among_windows_that_cut_nothing_attention_decides() -> None:
    boxes = np.array([[90.0, 90, 110, 110]])
    for corner in range(4):
        attention = np.full((8, 8), 0.1)
        row, column = (1 if corner < 2 else 6), (1 if corner % 2 == 0 else 6)
        attention[row, column] = 50
        x0, y0, x1, y1 = object_window(
            boxes, 0, (200, 200), attention / attention.sum(), square(120), 0.1, 0.6
        )
        middle = ((column + 0.5) * 25, (row + 0.5) * 25)
        assert x0 <= middle[0] <= x1 and y0 <= middle[1] <= y1


def test_many_objects_in_one_image_are_no_burden() -> None:
    rng = np.random.default_rng(0)
    objects = make_objects(rng, (4000, 3000), 50_000)
    window = object_window(objects.boxes, 7, (4000, 3000), np.full((8, 8), 1 / 64), square(2000), 0.5, 0.6)
    placed = place_objects(objects, window, (0, 0, 160, 160), 0.6, 4)
    assert placed is None or any(one.id == 7 for one in placed)


def test_whole_and_size() -> None:
    boxes = np.array([[10.0, 10, 20, 20], [0, 5, 20, 20], [0, 0, 100, 50]])
    sizes = np.tile([100, 50], (3, 1))
    assert whole(boxes, sizes).tolist() == [1, 0.5, 0.0625]
    np.testing.assert_allclose(relative_size(boxes, sizes), np.sqrt([100 / 5000, 300 / 5000, 1]))


@given(st.floats(1, 400), st.floats(1, 400), st.integers(8, 80), st.floats(1, 3))
def test_extents_are_whole_units(width: float, height: float, unit: int, grow: float) -> None:
    least, grown = lattice_extents(np.array([width, height]), unit, 8 * unit, grow)
    for side, need, larger in zip(least, (width, height), grown, strict=True):
        assert side % unit == 0 and side <= 8 * unit
        assert side >= min(need, 8 * unit) - 1e-3 and side < need + unit
        assert side <= larger <= max(side, side * grow)

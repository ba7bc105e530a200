"""Room on a canvas."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd.tasks.detect.fill import Canvas

EXTENTS = st.lists(st.tuples(st.floats(1, 12), st.floats(1, 12)), max_size=15)


@settings(deadline=None)
@given(EXTENTS, st.integers(8, 16), st.floats(0.3, 1))
def test_places_are_free_and_inside_and_as_large_as_there_is_room_for(
    extents: list[tuple[float, float]], side: int, least: float
) -> None:
    canvas, taken = Canvas(side), np.zeros((side, side), int)
    for width, height in extents:
        place = canvas.find(np.array([width, height]), least)
        scale = largest(taken, width, height)
        if place is None:
            assert scale < least + 1e-6
            continue
        canvas.take(place)
        left, top, right, bottom = place
        assert left >= 0 and top >= 0 and right <= side and bottom <= side
        assert abs(right - left - max(1, width * scale)) <= 0.5 + 1e-6
        assert abs(bottom - top - max(1, height * scale)) <= 0.5 + 1e-6
        taken[top:bottom, left:right] += 1
    assert taken.max(initial=0) <= 1


def largest(taken: np.ndarray, width: float, height: float) -> float:
    """By trying all free rectangles: the largest factor, at most 1, at which a rectangle has room."""
    free = np.pad((taken == 0).astype(int), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    best, side = 0.0, len(taken)
    for rows in range(1, side + 1):
        # the widest free band of so many rows
        runs = free[rows:, None, :] - free[:-rows, None, :]
        filled = runs[:, 0, :]
        for band in filled:
            full = np.diff(band) == rows
            edges = np.flatnonzero(np.diff(np.concatenate([[0], full.astype(int), [0]])))
            widest = int((edges[1::2] - edges[::2]).max(initial=0))
            best = max(best, min(1.0, widest / width, rows / height))
    return best


def test_room_is_kept_until_it_is_taken() -> None:
    canvas = Canvas(100)
    for _ in range(3):
        assert canvas.find(np.array([100.0, 100.0])) == (0, 0, 100, 100)
    canvas.take((0, 0, 100, 40))
    assert canvas.find(np.array([100.0, 61.0])) is None
    assert canvas.find(np.array([100.0, 80.0]), 0.5) == (0, 40, 75, 100)

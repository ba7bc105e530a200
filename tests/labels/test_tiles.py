"""The label of a view from those of the tiles it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling import CPU, RECIPE, TEACHER
from painting import painted
from scipy.special import softmax

from focusdd import TrainSettings
from focusdd.labels.reader import LabelledViews
from focusdd.labels.tiles import compose, shares, tile_boxes, visible
from focusdd.labels.views import draw_views
from focusdd.models.load import load_model
from focusdd.settings import AugmentSettings
from focusdd.settings.resolve import resolve

recipes = st.builds(
    AugmentSettings,
    crop=st.floats(0.01, 1),
    tile_crops=st.sampled_from([0.0, 0.5, 1.0]),
    shuffle_tiles=st.booleans(),
    mix_prob=st.sampled_from([0.0, 0.5, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(recipes, st.integers(1, 4), st.integers(16, 40), st.integers(0, 1000))
def test_tiles_are_weighted_by_the_pixels_that_show_them(
    recipe: AugmentSettings, grid: int, side: int, seed: int
) -> None:
    views = draw_views(4, 5, side, grid, resolve(recipe).settings, torch.Generator().manual_seed(seed))
    boxes = tile_boxes(grid, side)[-(grid**2) :]
    numbers = np.zeros((side, side), int)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        numbers[y0:y1, x0:x1] = number
    own, other = visible(views, grid, side)
    weights = shares(views, grid, side)
    logits = np.random.default_rng(seed).normal(size=(2, 4, len(weights[0][0]), 3)).astype(np.float32)
    composed = compose(torch.from_numpy(logits[0]), torch.from_numpy(logits[1]), weights, 2.0)
    for row, view in enumerate(views.records()):
        shown = painted(view, numbers, numbers + 100, grid)
        counts = np.bincount(shown.ravel(), minlength=100 + grid**2) / shown.size
        assert views.lam[row].item() == pytest.approx(counts[: grid**2].sum(), abs=1e-6)
        np.testing.assert_allclose(own[row], counts[: grid**2], atol=1e-6)
        np.testing.assert_allclose(other[row], counts[100 : 100 + grid**2], atol=1e-6)
        whole = shown.size / side**2 if grid > 1 else 0.0
        expected = np.zeros(3)
        for part, tiles in enumerate((counts[: grid**2], counts[100 : 100 + grid**2])):
            p = softmax(logits[part, row].astype(float) / 2, -1)
            expected += (1 - whole) * tiles @ p[-(grid**2) :] + whole * tiles.sum() * p[0]
        np.testing.assert_allclose(composed[row], expected, atol=1e-5)


def test_a_composed_label_is_near_the_teachers(labelled: Path) -> None:
    """Composed from tiles, a label is far nearer to what the teacher says of the view than nothing is."""
    teacher = load_model(TEACHER, CPU, 64)
    data = LabelledViews(labelled, TrainSettings(labels="tiles", **RECIPE | {"epochs": 5, "mix_prob": 0.0}))
    pixels, target = data.batch(torch.arange(100) % 20, torch.arange(100) // 20)
    said = (teacher.logits(pixels) / 20).softmax(1)
    far = (said * (said * 10).log()).sum(1).mean()
    near = (said * (said / target).log()).sum(1).mean()
    assert near < 0.4 * far

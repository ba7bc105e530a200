"""How far a student is from its teacher."""

import math

import pytest
import torch

from focusdd.training.distances import DISTANCES, divergence


def test_distances_by_hand():
    predicted, target = torch.tensor([[1.0, 3.0, -2.0]]), torch.tensor([[0.5, 2.0, 0.0]])
    student, teacher = ([math.exp(x / 4) for x in row] for row in (predicted[0].tolist(), target[0].tolist()))
    student, teacher = ([x / sum(row) for x in row] for row in (student, teacher))
    expected = 16 * sum(t * math.log(t / s) for s, t in zip(student, teacher, strict=True))
    assert DISTANCES["kl"](predicted, target, 4.0).item() == pytest.approx(expected, rel=1e-5)
    assert divergence(predicted, torch.tensor([teacher]), 4.0).item() == pytest.approx(expected, rel=1e-5)
    assert DISTANCES["mse"](predicted, target, 4.0).item() == pytest.approx((0.25 + 1 + 4) / 3)

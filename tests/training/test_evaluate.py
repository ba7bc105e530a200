"""Top-1 and top-5."""

import numpy as np
import pytest
import torch
from torch import nn

from focusdd.sources.pixels import Pixels
from focusdd.training.evaluate import evaluate


def test_evaluate_counts_by_hand():
    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            level = images.mean((1, 2, 3))
            return -(level[:, None] - torch.linspace(0, 1, 7)[None]).abs()

    levels = torch.tensor([0, 42, 85, 128, 170, 212, 255])
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 6])  # one is wrong, and not near
    images = levels[:, None, None, None].expand(7, 3, 4, 4).to(torch.uint8)
    score = evaluate(Mean(), Pixels(images, labels, ()), (0, 0, 0), (1, 1, 1), torch.device("cpu"), 7)
    assert score.top1 == pytest.approx(6 / 7)
    assert score.top5 == pytest.approx(6 / 7)
    assert score.per_class[0] == pytest.approx(0.5)
    assert np.isnan(score.per_class[5])

"""How far a student's answers are from its teacher's: what knowledge distillation makes small.

Logits and probabilities are float32 (B, C).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F


def divergence(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of softened distributions, times T^2 (Hinton et al., 2015).

    Args:
        predicted: the student's logits.
        target: the teacher's probabilities at the temperature.
    """
    student = F.log_softmax(predicted / temperature, 1)
    return temperature**2 * F.kl_div(student, target, reduction="batchmean")


def divergence_of_logits(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """`divergence` from the teacher's logits."""
    return divergence(predicted, F.softmax(target / temperature, 1), temperature)


def squared_error(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean squared error of the logits, whatever the temperature: the way of EDC (Shao et al., 2024)."""
    return F.mse_loss(predicted, target)


DISTANCES: dict[str, Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "kl": divergence_of_logits,
    "mse": squared_error,
}

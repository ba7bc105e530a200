"""Losses of one batch: what a student has to make small, with a teacher at hand or with its stored labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from focusdd.labels.reader import LabelledViews
from focusdd.labels.views import Views, draw_views, plain_views, render
from focusdd.models.dense import DenseLogits, Logits, PooledLogits, on_one_grid
from focusdd.models.device import autocast
from focusdd.models.graphs import graphed, teacher_forward
from focusdd.models.load import Model, normalisation, normalise
from focusdd.settings import TrainSettings
from focusdd.sources.pixels import Pixels
from focusdd.training.loop import StepLoss, epoch_counter
from focusdd.training.ranks import ALONE, Ranks


def online_loss(
    net: nn.Module,
    pixels: Pixels,
    grid: int,
    teacher: Model | None,
    outputs: torch.Tensor | None,
    settings: TrainSettings,
    device: torch.device,
    ranks: Ranks = ALONE,
    smoothing: float = 0.0,
) -> StepLoss:
    """The loss of one batch: draw a view of every image, ask the teacher about the very pixels, compare.

    Every process draws the views of the whole batch and renders its own rows.

    Args:
        grid: tiles per side of the images.
        teacher: None: the class index is all there is to learn.
        outputs: (C,) the teacher's output of each class.
        settings: as the networks can follow them; with `dense_weight`, both give dense logits.
        smoothing: of the class index as a label.
    """
    images, labels = pixels.resident(device), pixels.labels.to(device)
    side = images.shape[-1]
    kind = DenseLogits if settings.dense_weight > 0 and teacher is not None else PooledLogits
    student = _student(net, kind, device, ranks)
    # beside other processes, recording would meet their messages
    ask = None if teacher is None else teacher_forward(teacher, kind, ranks.world_size == 1)

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if settings.augment:
            views = draw_views(len(rows), len(images), side, grid, settings, generator, settings.mix)
        else:
            views = plain_views(len(rows), side, grid)
        mine = ranks.shard(len(rows))
        rows, views = rows[mine], views.take(mine)
        seen = render(images, rows, views, settings.size, device)
        predicted = student(seen)
        soft = None
        if ask is not None and outputs is not None:
            whole, dense = ask(seen)
            target = whole[:, outputs], None if dense is None else dense[:, outputs]
            soft = distance(predicted, target, settings)
            if not settings.hard_weight:
                return soft
        hard = mixed_cross_entropy(predicted[0], labels, rows, views, smoothing)
        return hard if soft is None else (1 - settings.hard_weight) * soft + settings.hard_weight * hard

    return loss


def stored_loss(
    net: nn.Module,
    data: LabelledViews,
    settings: TrainSettings,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> StepLoss:
    """The loss of one batch with stored labels: every image in another of its views in every epoch.

    Args:
        settings: as student and labels can follow them; with `dense_weight`, both give dense logits.
    """
    dense = settings.dense_weight > 0
    student = _student(net, DenseLogits if dense else PooledLogits, device, ranks)
    views = len(data.views.flip)

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        mine = rows[ranks.shard(len(rows))]
        pixels, target = data.batch(mine, (mine + epoch_counter(generator)) % views, dense)
        predicted = student(pixels)
        if isinstance(target, tuple):
            return distance(predicted, target, settings)
        return divergence(predicted[0], target, settings.temperature)

    return loss


def _student(
    net: nn.Module, kind: type[PooledLogits], device: torch.device, ranks: Ranks
) -> Callable[[torch.Tensor], Logits]:
    """What a network in training answers to [0, 255] images (B, 3, S, S)."""
    mean, std = normalisation(net)
    trained = graphed(ranks.parallel(kind(net), device), device)

    def predict(pixels: torch.Tensor) -> Logits:
        with autocast(device):
            predicted: Logits = trained(normalise(pixels, mean, std))
            return predicted

    return predict


def mixed_cross_entropy(
    predicted: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor, views: Views, smoothing: float = 0.0
) -> torch.Tensor:
    """Mean cross-entropy of views with the labels of their images and partners, weighted by their shares.

    Args:
        predicted: (B, C) logits.
        labels: (n,) of all images, on the same device.
        rows: (B,) the images that the views are of.
    """
    own, partner = (
        F.cross_entropy(predicted, labels[of.to(labels.device)], reduction="none", label_smoothing=smoothing)
        for of in (rows, (rows + views.shift) % len(labels))
    )
    return torch.lerp(partner, own, views.lam.to(predicted.device)).mean()


def distance(predicted: Logits, target: Logits, settings: TrainSettings) -> torch.Tensor:
    """How far logits are from the teacher's: of the whole and, where both have them, of the locations."""
    distance_of, temperature = DISTANCES[settings.loss], settings.temperature
    whole = distance_of(predicted[0], target[0], temperature)
    if predicted[1] is None or target[1] is None:
        return whole
    dense = distance_of(*on_one_grid(predicted[1], target[1]), temperature)
    return (1 - settings.dense_weight) * whole + settings.dense_weight * dense


def divergence(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of softened distributions, times T^2 (Hinton et al., 2015).

    Args:
        predicted: the student's logits, float32 (B, C).
        target: the teacher's probabilities at the temperature, float32 (B, C).
    """
    student = F.log_softmax(predicted / temperature, 1)
    return temperature**2 * F.kl_div(student, target, reduction="batchmean")


def divergence_of_logits(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """`divergence` from the teacher's logits."""
    return divergence(predicted, F.softmax(target / temperature, 1), temperature)


def squared_error(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean squared error of the logits, whatever the temperature: the way of EDC (Shao et al., 2024)."""
    return F.mse_loss(predicted, target)


DISTANCES = {"kl": divergence_of_logits, "mse": squared_error}

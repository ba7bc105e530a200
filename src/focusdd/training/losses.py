"""Losses of one batch: what a student has to make small, with a teacher at hand or with its stored labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from focusdd.labels.reader import LabelledViews
from focusdd.labels.render import render
from focusdd.labels.views import Views, draw_views, plain_views
from focusdd.models.dense import DenseLogits, Logits, PooledLogits, on_one_grid
from focusdd.models.graphs import asked, replayed
from focusdd.models.load import Model, normalisation, normalise
from focusdd.models.precision import autocast
from focusdd.settings import TrainSettings
from focusdd.sources.pixels import Pixels
from focusdd.training.distances import DISTANCES, divergence
from focusdd.training.loop import StepLoss, turn
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
    mean, std = normalisation(net)
    kind = DenseLogits if settings.dense_weight > 0 and teacher is not None else PooledLogits
    student = replayed(ranks.parallel(kind(net), device), device)
    # beside other processes, recording would meet their messages
    ask = None if teacher is None else asked(teacher, kind, ranks.count == 1)

    side = images.shape[-1]

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if settings.augment:
            views = draw_views(len(rows), len(images), side, grid, settings, generator, settings.mix)
        else:
            views = plain_views(len(rows), side, grid)
        mine = ranks.rows(len(rows))
        rows, views = rows[mine], views.take(mine)
        seen = render(images, rows, views, settings.size, device)
        with autocast(device):
            predicted = student(normalise(seen, mean, std))
        soft = None
        if ask is not None and outputs is not None:
            whole, dense = ask(seen)
            target = whole[:, outputs].clone(), None if dense is None else dense[:, outputs].clone()
            soft = distance(predicted, target, settings)
            if not settings.hard_weight:
                return soft
        hard = mixed_cross_entropy(predicted[0], labels, rows, views, smoothing)
        return hard if soft is None else (1 - settings.hard_weight) * soft + settings.hard_weight * hard

    return loss


def mixed_cross_entropy(
    predicted: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor, views: Views, smoothing: float = 0.0
) -> torch.Tensor:
    """Mean cross-entropy of views with the labels of their images and partners, weighted by their shares.

    Args:
        predicted: (B, C) logits.
        labels: (n,) of all images, on the same device.
        rows: (B,) the images that the views are of.
    """
    losses = [
        F.cross_entropy(predicted, labels[of.to(labels.device)], reduction="none", label_smoothing=smoothing)
        for of in (rows, (rows + views.shift) % len(labels))
    ]
    return torch.lerp(losses[1], losses[0], views.own.to(predicted.device)).mean()


def distance(predicted: Logits, target: Logits, settings: TrainSettings) -> torch.Tensor:
    """How far logits are from the teacher's: of the whole and, where both have them, of the locations."""
    distance_of, temperature = DISTANCES[settings.loss], settings.temperature
    whole = distance_of(predicted[0], target[0], temperature)
    if predicted[1] is None or target[1] is None:
        return whole
    dense = distance_of(*on_one_grid(predicted[1], target[1]), temperature)
    return (1 - settings.dense_weight) * whole + settings.dense_weight * dense


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
    mean, std = normalisation(net)
    student = replayed(
        ranks.parallel((DenseLogits if settings.dense_weight > 0 else PooledLogits)(net), device), device
    )
    views = len(data.views.flip)

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        mine = rows[ranks.rows(len(rows))]
        numbers = (mine + turn(generator)) % views
        pixels, target = data.batch(mine, numbers, dense=settings.dense_weight > 0)
        with autocast(device):
            predicted = student(normalise(pixels, mean, std))
        if isinstance(target, tuple):
            return distance(predicted, target, settings)
        return divergence(predicted[0], target, settings.temperature)

    return loss

"""Losses of one batch: what a student has to make small, with a teacher at hand or with its stored labels."""

from __future__ import annotations

import torch
from torch import nn

from focusdd.labels.augment import (
    MIXING,
    Mixed,
    augment,
    mixed_cross_entropy,
    resized_crops,
    shuffle_extents,
    shuffle_tiles,
    tile_crops_of,
)
from focusdd.labels.reader import LabelledViews
from focusdd.models.graphs import asked, replayed
from focusdd.models.load import Model, normalisation, normalise
from focusdd.models.precision import autocast
from focusdd.models.regions import Answer, Regions, Whole, paired
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
    pixels_extents: torch.Tensor | None = None,
) -> StepLoss:
    """The loss of one batch: augment, ask the teacher about the very crops the student sees, compare.

    Every process augments the whole batch: an image may get a part of any other, and next to a pass through
    the networks that costs little.

    Args:
        grid: tiles per side of the images.
        teacher: None: the class index is all there is to learn.
        outputs: (C,) the teacher's output of each class.
        settings: as the networks can follow them; with `regions`, both have these.
    """
    images, labels = pixels.resident(device), pixels.labels.to(device)
    mean, std = normalisation(net)
    kind = Regions if settings.regions > 0 and teacher is not None else Whole
    student = replayed(ranks.spread(kind(net), device), device)
    # beside other processes, recording would meet their messages
    ask = None if teacher is None else asked(teacher, kind, ranks.count == 1)

    current: dict = {}

    def view(batch: torch.Tensor, generator: torch.Generator) -> Mixed:
        if not settings.augment:
            whole = torch.tensor([0.0, 0.0, batch.shape[-1], batch.shape[-2]]).expand(len(batch), 4)
            return Mixed(resized_crops(batch, whole, settings.size), torch.arange(len(batch)), 1.0)
        mine = None
        if settings.scale_crops:
            mine = pixels_extents[current["rows"]]
        if settings.shuffle_tiles:
            if mine is None:
                batch = shuffle_tiles(batch, grid, generator)
            else:
                batch, mine = shuffle_extents(batch, mine, grid, generator)
        return augment(
            batch,
            settings.size,
            settings.crop,
            settings.flip,
            settings.mixup,
            generator,
            grid,
            tile_crops_of(settings, settings.regions > 0),
            MIXING[settings.mix],
            mine,
        )

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        current["rows"] = rows
        mixed = view(images[rows.to(images.device)].to(device), generator)
        mine = ranks.rows(len(rows))
        seen = mixed.images[mine]
        with autocast(device):
            predicted = student(normalise(seen, mean, std))
        soft = None
        if ask is not None and outputs is not None:
            whole, places = ask(seen)
            target = whole[:, outputs].clone(), None if places is None else places[:, outputs].clone()
            soft = distance(predicted, target, settings)
            if not settings.hard_weight:
                return soft
        hard = mixed_cross_entropy(predicted[0], labels[rows.to(device)], mixed, part=mine)
        return hard if soft is None else (1 - settings.hard_weight) * soft + settings.hard_weight * hard

    return loss


def distance(predicted: Answer, target: Answer, settings: TrainSettings) -> torch.Tensor:
    """How far logits are from the teacher's: of the whole and, where both know them, of the places."""
    apart, temperature = DISTANCES[settings.loss], settings.temperature
    whole = apart(predicted[0], target[0], temperature)
    if predicted[1] is None or target[1] is None:
        return whole
    of_places = apart(*paired(predicted[1], target[1]), temperature)
    return (1 - settings.regions) * whole + settings.regions * of_places


def stored_loss(
    net: nn.Module,
    data: LabelledViews,
    settings: TrainSettings,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> StepLoss:
    """The loss of one batch with stored labels: every image in another of its views in every epoch.

    Args:
        settings: as student and labels can follow them; with `regions`, both have these.
    """
    mean, std = normalisation(net)
    student = replayed(ranks.spread((Regions if settings.regions > 0 else Whole)(net), device), device)
    views = len(data.views.flip)

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        mine = rows[ranks.rows(len(rows))]
        numbers = (mine + turn(generator)) % views
        pixels, target = data.batch(mine, numbers, by_region=settings.regions > 0)
        with autocast(device):
            predicted = student(normalise(pixels, mean, std))
        if isinstance(target, tuple):
            return distance(predicted, target, settings)
        return divergence(predicted[0], target, settings.temperature)

    return loss

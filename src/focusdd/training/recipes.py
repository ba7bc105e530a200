"""What suits a student: the optimiser of its family, and the labels that it can follow."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from focusdd.core.console import say
from focusdd.core.errors import FocusError
from focusdd.models.dense import has_dense_logits
from focusdd.models.families import family
from focusdd.models.load import Model
from focusdd.settings import TrainSettings
from focusdd.settings.recipes import Recipe, recipe_of
from focusdd.settings.resolve import flag, resolve
from focusdd.settings.train import DENSE, WHOLE_VIEWS


def recipe(settings: TrainSettings) -> Recipe:
    """The defaults of the student's family. Raises FocusError when there is no such student."""
    return recipe_of(family(settings.student))


def followed(
    asked: TrainSettings,
    facts: dict[str, Any],
    net: nn.Module,
    teacher: Model | None,
    device: torch.device,
) -> TrainSettings:
    """The settings as networks and labels can follow them: dense labels only where all can.

    Args:
        facts: what the settings derive their defaults from.
    """
    settings = resolve(asked, **facts).settings
    nets = [net] if teacher is None else [net, teacher.net]
    dense = asked.dense_weight > 0 and facts["taught"] == DENSE
    if dense and not all(has_dense_logits(one, settings.size, device) for one in nets):
        say(f"{asked.student} is taught by whole views: it or its teacher has no dense logits")
        dense = False
    if dense:
        return settings
    if teacher is not None:  # crops that stored labels were made for stay as they are
        settings = resolve(asked, **facts | {"taught": WHOLE_VIEWS}).settings
    return settings.model_copy(update={"dense_weight": 0.0})


def require_storable(settings: TrainSettings) -> None:
    """Raises FocusError unless stored labels can be learned so: they are distributions of CutMix views."""
    for name in ("mix", "loss", "hard_weight"):
        if getattr(settings, name) != (usual := TrainSettings.model_fields[name].default):
            raise FocusError(
                f"stored labels can only be learnt with {flag(name)} {usual}: use that, or --labels soft"
            )

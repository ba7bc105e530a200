"""The stage that trains one network, in one process or in all of a torchrun: what `fit` and `train` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from focusdd.core.run_record import RunRecord
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.models.device import device_name, peak_device_memory_mb
from focusdd.settings import FitSettings, TrainSettings
from focusdd.sources.pixels import Pixels
from focusdd.training.loop import RESUME, Rate, StepLoss, run_epochs
from focusdd.training.ranks import Ranks

Learn = Callable[[nn.Module, Pixels, StepLoss], nn.Module | None]
"""learn(network, images, loss): the trained network, or None in all processes but the first."""


def run_training(
    stage: Stage,
    out: Path,
    make: Callable[[Workspace, Learn], dict[str, Any]],
    settings: FitSettings | TrainSettings,
    rate: Rate,
    device: torch.device,
    ranks: Ranks,
    overwrite: bool,
    record: RunRecord,
) -> None:
    """`run_stage` in the first process for all: the others only call `make`, which writes in the first alone.

    Args:
        make: as for `run_stage`; what it is given beside the workspace runs the loop and records its cost.
        settings: those of the loop.

    Raises:
        FocusError: as `run_stage`; or the processes have other settings or see other data.
    """
    ranks.require_same(stage.key, "settings or data")

    def make_together(work: Workspace) -> dict[str, Any]:
        if ranks.rank == 0:
            ranks.broadcast(work)

        def learn(net: nn.Module, pixels: Pixels, loss: StepLoss) -> nn.Module | None:
            ranks.require_same(pixels.skipped, "readable images")
            peak_device_memory_mb(device)  # from here on
            names = ("epochs", "batch_size", "lr", "weight_decay", "seed", "ema")
            trained, work.record.seconds["train"] = run_epochs(
                net,
                loss,
                len(pixels),
                **{name: getattr(settings, name) for name in names},
                rate=rate,
                device=device,
                checkpoint=work.out / RESUME,
                what=stage.name,
                ranks=ranks,
            )
            work.record.note(
                device=device_name(device),
                threads=torch.get_num_threads(),
                device_memory_mb=peak_device_memory_mb(device),
                epochs=settings.epochs,
                images=len(pixels),
                processes=ranks.world_size,
            )
            return trained if ranks.rank == 0 else None

        return make(work, learn)

    if ranks.rank == 0:
        run_stage(stage, out, make_together, overwrite, record)
        ranks.broadcast()  # complete, now or before
    elif (work := ranks.broadcast()) is not None:
        make_together(work)
        ranks.broadcast()

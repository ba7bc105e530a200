"""`fit`: trains or fine-tunes a teacher or an extractor on a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from focusdd.core.console import say
from focusdd.core.distributed import local_world_size
from focusdd.core.files import read_json
from focusdd.core.run_record import RunRecord
from focusdd.core.spelling import number_of
from focusdd.core.stage import Stage, Workspace, stage_in
from focusdd.models.checkpoint import CHECKPOINT, save_checkpoint
from focusdd.models.checks import checked_outputs
from focusdd.models.device import pick_device
from focusdd.models.load import load_model, new_net, normalisation
from focusdd.models.start import inherited, start_of
from focusdd.settings import FitSettings, TrainSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import resolve_and_warn
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.sources.disk import require_apart
from focusdd.sources.identity import num_shared
from focusdd.sources.pixels import load_source, require_memory
from focusdd.sources.understood import fact, understood, understood_validation
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import RESUME, warm_cosine
from focusdd.training.losses import online_loss
from focusdd.training.ranks import Ranks, process_group
from focusdd.training.stage import Learn, run_training

VERSION = 3
_SMOOTHING = 0.1  # of the labels


@with_keywords(settings=FitSettings)
def fit(
    source: Source | Path | str,
    out: Path | str,
    settings: FitSettings,
    *,
    val: Source | Path | str | None = None,
    overwrite: bool = False,
) -> Path:
    """Trains a model on a source and writes a `local-dir:` checkpoint folder.

    The processes of a `torchrun` train one model together.

    Args:
        val: where the accuracy is measured, once, with the final weights.

    Returns:
        The checkpoint folder.

    Raises:
        FocusError: an unknown model, weights that cannot be had, or a teacher that does not know the classes.
    """
    source = open_source(source)
    val = open_source(val, "val") if val is not None else None
    device = pick_device(settings.device)
    require_apart(Path(out), source, val)
    understood(source)
    if val is not None:
        understood_validation(val, source)
    with process_group(device) as ranks:
        return _fit(ranks, source, Path(out), settings, val, device, overwrite)


def _fit(
    ranks: Ranks,
    source: Source,
    out: Path,
    settings: FitSettings,
    val: Source | None,
    device: torch.device,
    overwrite: bool,
) -> Path:
    # a little larger than the crops, so that a crop is seldom enlarged
    side = round(settings.size * 1.25)
    if not (out / "done.json").exists():
        require_memory(len(source.records), side, source.name, local_world_size())  # before it is loaded
    run = RunRecord()
    teacher = load_model(settings.teacher, device, settings.size) if settings.teacher else None
    start = start_of(
        settings.model, settings.init, _pretrained(settings, out, overwrite), settings.model_args
    )
    own = resolve_and_warn(settings, pretrained=start.pretrained).key
    inputs = {"source": source.fingerprint} | ({"teacher": teacher.weights} if teacher else {}) | start.inputs

    def make(work: Workspace, learn: Learn) -> dict[str, Any]:
        fact("writes", f"{out}: a checkpoint of {settings.model or settings.init}, input {settings.size} px")
        outputs = checked_outputs(teacher, source, "teacher", settings.anyway)[0] if teacher else None
        net, arguments = new_net(
            start.name,
            len(source.classes),
            settings.size,
            device,
            settings.seed,
            start.pretrained,
            {name.replace("-", "_"): value for name, value in settings.model_args.items()},
            source.classes,
        )
        if start.pretrained:
            say(inherited(start.name, net))
        with run.measure("read"):
            pixels = load_source(source, side, "read", local_world_size())
        loss = online_loss(net, pixels, 1, teacher, outputs, _recipe(settings), device, ranks, _SMOOTHING)
        trained = learn(net, pixels, loss)
        if trained is None:
            return {}
        facts = {"made_by": "focusdd fit", "source": source.name, "images": len(pixels), "val_top1": None}
        if val is not None:
            with run.measure("evaluate"):
                held_out = load_source(val, settings.size, "evaluate")
                facts["val_shared"] = num_shared(pixels.hashes, held_out.hashes, val.name)
                score = evaluate(trained, held_out, *normalisation(net), device, len(source.classes))
            facts["val_top1"], facts["val_balanced"] = round(score.top1, 5), round(score.balanced, 5)
            say(f"{start.name}: {score} on {number_of(score.images, 'image')} of {val.name}")
        facts["settings"] = own
        work.declare(CHECKPOINT)
        save_checkpoint(
            work.out, trained, source.classes, source.class_names, settings.size, arguments, facts
        )
        return {"val_top1": facts["val_top1"]}

    stage = Stage("fit", VERSION, own, inputs, scratch=(RESUME,))
    run_training(stage, out, make, settings, warm_cosine, device, ranks, overwrite, run)
    return out


def _pretrained(settings: FitSettings, out: Path, overwrite: bool) -> bool | None:
    """Whether training starts from timm's weights: a stage that was begun goes on as it began."""
    begun = None if overwrite or settings.init else stage_in(out)
    if settings.pretrained is not None or begun is None:
        return settings.pretrained
    return begun.get("settings", {}).get("pretrained")


def near_chance(checkpoint: Path) -> bool:
    """Whether the validation accuracy that a checkpoint folder records is little above guessing."""
    config = read_json(checkpoint / "config.json")
    balanced = config.get("focusdd", {}).get("val_balanced")
    chance = 1 / config["num_classes"]
    return balanced is not None and balanced < chance + 0.5 * chance * (1 - chance)


def _recipe(settings: FitSettings) -> TrainSettings:
    """What `online_loss` takes: half of the loss is the teacher's distribution, where there is one."""
    return TrainSettings(
        size=settings.size,
        crop=settings.crop,
        tile_crops=0,
        flip=settings.flip,
        shuffle_tiles=False,
        mix_prob=settings.mix_prob,
        temperature=2.0,
        hard_weight=0.5,
        dense_weight=0.0,
    )

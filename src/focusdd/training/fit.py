"""`fit`: trains or fine-tunes a teacher or an extractor on a source."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F

from focusdd.core.console import say
from focusdd.core.distributed import local_world_size
from focusdd.core.errors import FocusError
from focusdd.core.run_record import Clock
from focusdd.core.stage import open_stage
from focusdd.labels.augment import augment, mixed_cross_entropy
from focusdd.models.checkpoint import new_net, save_checkpoint
from focusdd.models.checks import sample_accuracy
from focusdd.models.classes import matched_outputs
from focusdd.models.device import device_name, pick_device
from focusdd.models.graphs import asked, let_go, replayed
from focusdd.models.load import Model, load_model, normalisation, normalise
from focusdd.models.precision import autocast
from focusdd.models.regions import Whole
from focusdd.settings import FitSettings
from focusdd.sources.base import Source
from focusdd.sources.pixels import Pixels, load_source
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import RESUME, StepLoss, run_epochs, warm_cosine
from focusdd.training.ranks import ALONE, Ranks, joined, opened_together

VERSION = 2
_TEMPERATURE = 2.0
_NOT_IN_KEY = {"device", "teacher"}


def fit(
    source: Source,
    out: Path | str,
    settings: FitSettings,
    *,
    val: Source | None = None,
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
    device = pick_device(settings.device)
    if val is not None and val.classes != source.classes:
        raise FocusError(
            f"{val.name} and {source.name} have other classes: give a validation folder of the same"
        )
    try:
        with joined(device) as ranks:
            return _fit_together(ranks, source, Path(out), settings, val, device, overwrite)
    finally:
        let_go(device)


def _fit_together(
    ranks: Ranks,
    source: Source,
    out: Path,
    settings: FitSettings,
    val: Source | None,
    device: torch.device,
    overwrite: bool,
) -> Path:
    teacher = load_model(settings.teacher, device, settings.size) if settings.teacher else None
    inputs = {"source": source.fingerprint} | ({"teacher": teacher.weights} if teacher else {})
    clock = Clock()
    own = settings.model_dump(exclude=_NOT_IN_KEY)
    alone = open_stage(out, "fit", VERSION, own, inputs, overwrite, scratch=(RESUME,))
    with opened_together(ranks, alone, (own, inputs)) as stage:
        if stage.complete:
            say(f"{out} is complete already: nothing to do")
            return stage.out
        outputs = None
        if teacher is not None:
            matched = matched_outputs(teacher, source, "teacher")
            accuracy = sample_accuracy(teacher, matched, source, "teacher")
            say(f"teacher {teacher.name}: {accuracy:.1%} top-1 on a sample of {source.name}")
            outputs = torch.as_tensor(matched, device=device)
        net, arguments = new_net(
            settings.model,
            len(source.classes),
            settings.size,
            device,
            settings.seed,
            settings.pretrained,
            {name.replace("-", "_"): value for name, value in settings.model_args.items()},
        )
        if settings.init:
            from focusdd.models.load import create
            net, _ = create(
                f"local-dir:{settings.init}", settings.init, settings.size, True,
                {"num_classes": len(source.classes)},
            )
            net = net.to(device=device, memory_format=torch.channels_last)
        # a little larger than the crops, so that a crop is seldom enlarged
        with clock.measure("read"):
            pixels = load_source(source, round(settings.size * 1.25), "read", local_world_size())
        ranks.require_same(pixels.skipped, "readable images")
        average = copy.deepcopy(net) if settings.ema else None
        clock.seconds["train"] = run_epochs(
            net,
            _loss(net, pixels, teacher, outputs, settings, device, ranks),
            len(pixels),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            rate=warm_cosine,
            seed=settings.seed,
            device=device,
            checkpoint=stage.out / RESUME,
            what="fit",
            average=average,
            decay=settings.ema,
            ranks=ranks,
        )
        if ranks.rank > 0:
            return ranks.of_first()
        kept = average if average is not None else net
        facts = {"made_by": "focusdd fit", "source": source.name, "images": len(pixels), "val_top1": None}
        if val is not None:
            with clock.measure("evaluate"):
                held_out = load_source(val, settings.size, "evaluate")
                mean, std = normalisation(net)
                score = evaluate(kept, held_out, mean, std, device, len(source.classes))
            facts["val_top1"] = round(score.top1, 5)
            say(f"{settings.model}: {score.top1:.1%} top-1 on {len(held_out)} images of {val.name}")
        facts["settings"] = own
        save_checkpoint(
            stage.out,
            kept,
            settings.model,
            source.classes,
            source.class_names,
            settings.size,
            arguments,
            facts,
        )
        clock.write(
            stage.out,
            device=device_name(device),
            epochs=settings.epochs,
            images=len(pixels),
            processes=ranks.count,
        )
        stage.finish({"val_top1": facts["val_top1"]})
        return ranks.of_first(stage.out)


def _loss(
    net: torch.nn.Module,
    pixels: Pixels,
    teacher: Model | None,
    outputs: torch.Tensor | None,
    settings: FitSettings,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> StepLoss:
    """Cross-entropy with the labels; with a teacher, half of it and half of the teacher's distribution."""
    mean, std = normalisation(net)
    student = replayed(ranks.spread(Whole(net), device), device)
    taught = None if teacher is None else asked(teacher, Whole, ranks.count == 1)
    images, all_labels = pixels.resident(device), pixels.labels.to(device)

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        batch = images[rows.to(images.device)].to(device)
        labels = all_labels[rows.to(device)]
        mixed = augment(batch, settings.size, settings.crop, settings.flip, settings.mixup, generator)
        mine = ranks.rows(len(rows))
        seen = mixed.images[mine]
        with autocast(device):
            predicted, _ = student(normalise(seen, mean, std))
        own = mixed_cross_entropy(predicted, labels, mixed, 0.1, mine)
        if taught is None or outputs is None:
            return own
        target = F.log_softmax(taught(seen)[0][:, outputs].clone() / _TEMPERATURE, 1)
        answer = F.log_softmax(predicted / _TEMPERATURE, 1)
        soft = F.kl_div(answer, target, reduction="batchmean", log_target=True) * _TEMPERATURE**2
        return 0.5 * own + 0.5 * soft

    return loss

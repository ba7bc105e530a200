"""Stage 3: a student learns from a distilled dataset and is judged on the untouched validation set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from focusdd.checks import matched_outputs, sample_accuracy
from focusdd.console import say
from focusdd.dataset import Distilled, open_distilled
from focusdd.errors import FocusError
from focusdd.models import Model, autocast, load_model, normalisation, normalise, pick_device
from focusdd.run import Clock, open_stage, read_json, write_json
from focusdd.settings import TrainSettings
from focusdd.sources.base import Source
from focusdd.training.augment import augment, mixed_cross_entropy, shuffle_tiles
from focusdd.training.checkpoint import new_net, save_checkpoint
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import StepLoss, cosine, half_cosine, run_epochs
from focusdd.training.pixels import Pixels, load_files, load_source

VERSION = 2
_NOT_IN_KEY = {"device", "teacher"}  # the weights' hash stands for the teacher


def train(
    distilled: Distilled | Path | str,
    val: Source,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trains a student on a distilled dataset by knowledge distillation.

    The weights of the last epoch are scored once on all of `val`; nothing is chosen by it.

    Returns:
        The content of `result.json`: top-1 and top-5 as fractions, and what they were reached with.

    Raises:
        FocusError: the teacher or `val` has other classes, the teacher is near chance, or `out` holds
            something else.
    """
    settings = settings or TrainSettings()
    distilled = distilled if isinstance(distilled, Distilled) else open_distilled(distilled)
    if val.classes != distilled.classes:
        raise FocusError(
            f"{val.name} has other classes than {distilled.folder}: {len(val.classes)} and "
            f"{len(distilled.classes)}, the first {val.classes[0]!r} and {distilled.classes[0]!r}"
        )
    device = pick_device(settings.device)
    teacher = _teacher(settings, device)
    inputs = {"distilled": distilled.info["key"], "val": val.fingerprint}
    if teacher is not None:
        inputs["teacher"] = teacher.weights
    clock = Clock()
    own = settings.model_dump(exclude=_NOT_IN_KEY)
    with open_stage(Path(out), "train", VERSION, own, inputs, overwrite) as stage:
        if stage.complete:
            say(f"{out} is complete already: nothing to do")
            return read_json(stage.out / "result.json")
        outputs, accuracy = None, None
        if teacher is not None:
            with clock.measure("check"):
                matched = matched_outputs(teacher, val, "teacher")
                accuracy = sample_accuracy(teacher, matched, val, "teacher")
            say(f"teacher {teacher.name}: {accuracy:.1%} top-1 on a sample of {val.name}")
            outputs = torch.as_tensor(matched, device=device)
        with clock.measure("read"):
            pixels = load_files(distilled.files(), distilled.info["size"])
        net, arguments = new_net(
            settings.student, len(distilled.classes), settings.size, device, settings.seed
        )
        loss = _loss(net, pixels, distilled.info["grid"], teacher, outputs, settings, device)
        clock.seconds["train"] = run_epochs(
            net,
            loss,
            len(pixels),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            rate=cosine if settings.schedule == "cosine" else half_cosine,
            seed=settings.seed,
            device=device,
            checkpoint=stage.out / "resume.pt",
            what="train",
        )
        with clock.measure("evaluate"):
            held_out = load_source(val, settings.size, "evaluate")
            mean, std = normalisation(net)
            score = evaluate(net, held_out, mean, std, device, len(distilled.classes))
        result = {
            "student": settings.student,
            "top1": round(score.top1, 5),
            "top5": round(score.top5, 5),
            "per_class": dict(
                zip(distilled.classes, (_rounded(share) for share in score.per_class), strict=True)
            ),
            "val": {
                "name": val.name,
                "images": len(held_out),
                "skipped": [list(i) for i in held_out.skipped],
            },
            "distilled": {
                name: distilled.info[name] for name in ("key", "method", "ipc", "size", "grid", "seed")
            },
            "teacher": {"name": teacher.name, "sample_accuracy": accuracy} if teacher is not None else None,
            "settings": own,
        }
        facts = {"made_by": "focusdd train", "top1": result["top1"], "distilled": result["distilled"]}
        save_checkpoint(
            stage.out,
            net,
            settings.student,
            distilled.classes,
            val.class_names,
            settings.size,
            arguments,
            facts,
        )
        write_json(stage.out / "result.json", result)
        (stage.out / "resume.pt").unlink(missing_ok=True)
        stage.finish({"top1": result["top1"], "top5": result["top5"]})
        clock.write(stage.out, device=str(device), epochs=settings.epochs, images=len(pixels))
        return result


def _rounded(share: float) -> float | None:
    return None if math.isnan(share) else round(share, 4)


def _teacher(settings: TrainSettings, device: torch.device) -> Model | None:
    if settings.labels == "hard":
        return None
    if not settings.teacher:
        raise FocusError("soft labels need a teacher: give --teacher, or use --labels hard")
    return load_model(settings.teacher, device, settings.size)


def _loss(
    net: torch.nn.Module,
    pixels: Pixels,
    grid: int,
    teacher: Model | None,
    outputs: torch.Tensor | None,
    settings: TrainSettings,
    device: torch.device,
) -> StepLoss:
    """The loss of one batch: augment, ask the teacher about the very crops the student sees, compare."""
    images, labels = pixels.images.to(device), pixels.labels.to(device)
    mean, std = normalisation(net)

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows = rows.to(device)
        batch = images[rows]
        if settings.shuffle_tiles:
            batch = shuffle_tiles(batch, grid, generator)
        mixed = augment(
            batch,
            settings.size,
            settings.crop,
            settings.flip,
            settings.mixup,
            generator,
            grid,
            settings.tile_crops,
        )
        with autocast(device):
            predicted = net(normalise(mixed.images, mean, std)).float()
        if teacher is not None and outputs is not None:
            target = teacher.logits(mixed.images)[:, outputs].clone()
            log_student = F.log_softmax(predicted / settings.temperature, 1)
            log_teacher = F.log_softmax(target / settings.temperature, 1)
            return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return mixed_cross_entropy(predicted, labels[rows], mixed)

    return loss

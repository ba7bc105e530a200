"""Stage: a detector learns from a distilled dataset and is judged on the untouched validation set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from focusdd.composition.dataset import source_hashes
from focusdd.core.files import write_json
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.models.checkpoint import CHECKPOINT
from focusdd.models.device import device_name, peak_device_memory_mb, pick_device
from focusdd.settings import DetectTrainSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import resolve_and_warn
from focusdd.sources.base import DetectionSource
from focusdd.sources.detection import open_detection_source
from focusdd.sources.disk import require_apart
from focusdd.sources.identity import content_hashes, num_shared
from focusdd.sources.understood import fact, understood_validation
from focusdd.tasks.detect.detectors import (
    DetectionScore,
    Detector,
    Family,
    Metric,
    evaluate,
    family_of,
    save_detector,
)
from focusdd.tasks.detect.distilled import DistilledDetection, Sample, open_detection
from focusdd.training.loop import RESUME, StepLoss, epoch_counter, epoch_seed, run_epochs, warm_cosine
from focusdd.training.result import TrainedDetector

VERSION = 1
_FACTS = ("key", "method", "ipc", "images", "size", "seed")
_PARTS = 20  # of a training: what is saved and shown, and the last tenth of them goes without mosaics


@with_keywords(settings=DetectTrainSettings)
def train(
    distilled: DistilledDetection | Path | str,
    val: DetectionSource | Path | str,
    out: Path | str,
    settings: DetectTrainSettings | None = None,
    *,
    overwrite: bool = False,
) -> TrainedDetector:
    """Trains a detector from scratch on a distilled detection dataset.

    The weights of the last step are scored once on all of `val`; nothing is chosen by it.

    Returns:
        Average precision as fractions, and what it was reached with: the content of `result.json`.

    Raises:
        FocusError: `distilled` is no distilled detection dataset, `val` has other classes, the detector's
            library is not installed, or `out` holds something else.
    """
    data = open_detection(distilled)
    resolved = resolve_and_warn(settings or DetectTrainSettings(), size=input_size(data.info["size"]))
    settings, own = resolved.settings, resolved.key
    val = open_detection_source(val, "val")
    understood_validation(val, data, (data.info["source"]["fingerprint"], data.info["source"]["name"]))
    require_apart(Path(out), val)
    family = family_of(settings.detector)
    family.require()
    Metric(len(val.classes))  # what is not installed shows before anything is spent
    device = pick_device(settings.device)
    inputs = {"distilled": data.info["key"], "val": val.fingerprint}

    def make(work: Workspace) -> dict[str, Any]:
        record = work.record
        fact("writes", f"{out}: a {settings.detector} taught by {data.name}")
        with record.measure("read"):
            samples = data.samples(settings.size)
            hashes = content_hashes(val, (one.key for one in val.records))
            shared = num_shared(source_hashes(data.folder), [*hashes.values()], val.name)
        peak_device_memory_mb(device)  # from here on
        net = family.new_network(settings.detector, len(val.classes), device, settings.seed)
        parts, steps = split_steps(settings.steps)
        _, record.seconds["train"] = run_epochs(
            net,
            _loss(family, net, samples, parts, steps, settings, device),
            steps * settings.batch_size,
            epochs=parts,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            rate=warm_cosine,
            seed=settings.seed,
            device=device,
            checkpoint=work.out / RESUME,
            what="train",
            clip=family.clip / settings.batch_size,
        )
        detector = Detector(net, settings.detector, val.classes, val.class_names, settings.size, device)
        with record.measure("evaluate"):
            score = evaluate(detector, val)
        result = {
            "detector": settings.detector,
            "map": round(score.map, 5),
            "map50": round(score.map50, 5),
            "per_class": _per_class(val.classes, score),
            "val": {
                "name": val.name,
                "images": score.images,
                "shared": shared,
                "objects": score.objects,
                "skipped": [list(item) for item in score.skipped],
            },
            "distilled": {name: data.info[name] for name in _FACTS},
            "steps": parts * steps,
            "settings": own,
        }
        facts = {"made_by": "focusdd detect train", "map": result["map"], "distilled": result["distilled"]}
        work.declare([*CHECKPOINT, "result.json"])
        save_detector(work.out, detector, facts)
        write_json(work.out / "result.json", result)
        record.note(
            device=device_name(device),
            threads=torch.get_num_threads(),
            device_memory_mb=peak_device_memory_mb(device),
            steps=parts * steps,
            images=len(samples),
            **{family.package: version(family.package)},
        )
        return {"mAP50-95": result["map"], "mAP50": result["map50"]}

    stage = Stage("detect train", VERSION, own, inputs, scratch=(RESUME,))
    return TrainedDetector.read(run_stage(stage, out, make, overwrite))


def input_size(size: int) -> int:
    """Side of the detector's input for distilled images of a size: the nearest multiple of 32."""
    return min(max(32, round(size / 32) * 32), 1280)


def split_steps(steps: int) -> tuple[int, int]:
    """The number of parts of a training, and of steps in each: together as near to `steps` as can be."""
    parts = min(_PARTS, steps)
    return parts, round(steps / parts)


@lru_cache(maxsize=2)
def shown_rows(part: int, length: int, num_images: int, seed: int) -> np.ndarray:
    """Which images a part of the training shows: int64 (length,).

    All parts together walk through the dataset in ever new orders: in the end every image was shown equally
    often, give or take one, and the number of steps does not depend on that of images.
    """
    first, last = part * length, (part + 1) * length
    turns = range(first // num_images, (last - 1) // num_images + 1)
    orders = [np.random.default_rng([seed, 1, number]).permutation(num_images) for number in turns]
    start = first - turns[0] * num_images
    return np.concatenate(orders)[start : start + length]


def _loss(
    family: Family,
    net: nn.Module,
    samples: Sequence[Sample],
    parts: int,
    steps: int,
    settings: DetectTrainSettings,
    device: torch.device,
) -> StepLoss:
    """The loss of one batch; mosaics end with the last tenth of the training."""
    lessons = family.lessons(samples, settings.size, settings.mosaic, settings.flip)
    length = steps * settings.batch_size

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        part = epoch_counter(generator) - epoch_seed(settings.seed, 0)
        images = shown_rows(part, length, len(samples), settings.seed)[rows.numpy()].tolist()
        draw = int(torch.randint(2**31, (), generator=generator))
        return family.loss(net, lessons.batch(images, draw, part < parts - parts // 10), device)

    return loss


def _per_class(classes: Sequence[str], score: DetectionScore) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else round(value, 4)
        for name, value in zip(classes, score.per_class, strict=True)
    }

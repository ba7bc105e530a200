"""How methods of classification are compared: students by method, ipc, labels and seed."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow as pa

from focusdd.composition.dataset import Distilled
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json
from focusdd.core.stage import overwrite_if_other
from focusdd.models.checks import checked_outputs
from focusdd.models.device import pick_device
from focusdd.models.load import load_model
from focusdd.settings import CompareSettings, DistillSettings, EngineSettings, TrainSettings
from focusdd.settings.train import DENSE, WHOLE_VIEWS
from focusdd.sources.base import Source
from focusdd.sources.pixels import DecodedOnce
from focusdd.tasks.base import Comparison
from focusdd.tasks.trials import Budget, ComparisonContext, Trial, costs, distilling, every_trial, training
from focusdd.training.corruptions import CORRUPTIONS
from focusdd.training.robustness import robustness
from focusdd.training.train import train, train_on_source

_TEXT, _COUNT, _SHARE = pa.string(), pa.int32(), pa.float64()
SCHEMA = pa.schema(
    [
        ("method", _TEXT),
        ("ipc", _COUNT),  # for full: mean images per class
        ("seed", _COUNT),
        ("student", _TEXT),
        ("labels", _TEXT),
        ("augmented", pa.bool_()),
        ("size", _COUNT),  # side of the student's input, pixels
        ("epochs", _COUNT),
        ("lr", _SHARE),
        ("weight_decay", _SHARE),
        ("temperature", _SHARE),  # None for hard labels
        ("dense", pa.bool_()),  # what was learnt: dense labels, not those of whole views alone
        ("tile_crops", _SHARE),  # fraction of the crops within one tile; None without augmentation
        ("top1", _SHARE),  # fractions, 0 to 1
        ("balanced", _SHARE),  # top-1 of each class, the mean over classes
        ("top5", _SHARE),
        ("corrupted_top1", _SHARE),  # mean over corruptions and strengths
        *((f"{name}_top1", _SHARE) for name in CORRUPTIONS),  # mean over strengths
        ("other_top1", _SHARE),  # on the second source
        ("teacher_top1", _SHARE),  # on a sample of the validation images
        *costs("timm", "memory_distil_mb", "memory_train_mb", "device_memory_train_mb"),
    ]
)


def _asks_teacher(settings: CompareSettings) -> bool:
    return "soft" in settings.labels or "rded" in settings.methods


def _check(settings: CompareSettings) -> None:
    if not settings.teacher and _asks_teacher(settings):
        raise FocusError(
            "soft labels and method rded need a teacher: give --teacher, or compare other methods with "
            "--labels hard"
        )


def _ready(settings: CompareSettings, val: Source, engine: EngineSettings) -> None:
    """Checks the teacher before anything is spent; on this machine, whoever trains."""
    if _asks_teacher(settings):
        device = pick_device(settings.device if engine.engine == "local" else "cpu")
        teacher = load_model(settings.teacher, device, settings.train.size)
        checked_outputs(teacher, val, "teacher", settings.train.anyway)


def _trials(settings: CompareSettings) -> list[Trial]:
    budgets = [Budget("ipc", ipc) for ipc in sorted(set(settings.ipc))]
    return every_trial(settings, budgets, settings.students, settings.labels)


def _distilling(trial: Trial, settings: CompareSettings) -> DistillSettings | None:
    return distilling(trial, settings, teacher=settings.teacher) if trial.budget else None


def _folders(trial: Trial, context: ComparisonContext) -> list[Path]:
    """The student's and, where it is scored outside its distribution, that of these scores."""
    data = trial.data if trial.budget else f"{trial.method}-{_epochs(trial, context)}passes"
    plain = [] if trial.augmented else ["plain"]
    words = [data, trial.student.replace("/", "_"), trial.labels, *plain, f"seed{trial.seed}"]
    kinds = ["students"]
    if context.settings.corruptions or context.other is not None:
        kinds.append("robustness")
    return [context.out / kind / "-".join(words) for kind in kinds]


def _training(trial: Trial, context: ComparisonContext) -> TrainSettings:
    return training(
        trial,
        context,
        student=trial.student,
        teacher=context.settings.teacher,
        labels=trial.labels,
        augment=trial.augmented,
        epochs=_epochs(trial, context),
    )


def _facts(settings: CompareSettings) -> dict[str, str]:
    return {
        "labels_from": "teacher" if _asks_teacher(settings) else "hard labels",
        "taught": DENSE if "soft" in settings.labels else WHOLE_VIEWS,
    }


def _epochs(trial: Trial, context: ComparisonContext) -> int:
    """Passes over what a student learns from; full takes the steps of the largest ipc, in whole ones."""
    settings, batch = context.settings, context.settings.train.batch_size
    if trial.budget is not None:
        return settings.train.epochs
    if settings.full_epochs is not None:
        return settings.full_epochs
    steps = settings.train.epochs * math.ceil(max(settings.ipc) * len(context.source.classes) / batch)
    return math.ceil(steps / math.ceil(len(context.source.records) / batch))


def _work(trial: Trial, context: ComparisonContext) -> float:
    """Images that a student will have seen."""
    whole = len(context.source.records)
    images = trial.budget.value * len(context.source.classes) if trial.budget else whole
    return float(images * _epochs(trial, context))


def _train(trial: Trial, data: Distilled | None, context: ComparisonContext) -> None:
    recipe, settings = _training(trial, context), context.settings
    folder, *outside = _folders(trial, context)
    if data is None:
        side = settings.distill.size
        teach = partial(train_on_source, context.source, context.val, folder, recipe, side=side)
    else:
        teach = partial(train, data, context.val, folder, recipe)
    overwrite_if_other(teach, context.overwrite)
    for scores in outside:
        judge = partial(
            robustness,
            folder,
            context.val,
            scores,
            other=context.other,
            corruptions=settings.corruptions,
            device=settings.device,
        )
        overwrite_if_other(judge, context.overwrite)


def _row(trial: Trial, result: dict[str, Any], context: ComparisonContext) -> dict[str, Any]:
    _, *outside = _folders(trial, context)
    scores = read_json(outside[0] / "robustness.json") if outside else {}
    corrupted = scores.get("corruptions") or {}
    return {
        "ipc": result["distilled"]["ipc"],
        **{name: result["settings"][name] for name in ("size", "epochs", "lr", "weight_decay")},
        "temperature": result["settings"]["temperature"] if trial.labels == "soft" else None,
        "dense": result["taught"]["dense"],
        "tile_crops": result["taught"]["tile_crops"] if trial.augmented else None,
        "top1": result["top1"],
        "balanced": result["balanced"],
        "top5": result["top5"],
        "corrupted_top1": scores.get("corrupted_top1"),
        **{f"{name}_top1": round(mean(corrupted[name]), 5) if corrupted else None for name in CORRUPTIONS},
        "other_top1": (scores.get("other") or {}).get("top1"),
        "teacher_top1": round(result["teacher"]["sample_accuracy"], 5) if result["teacher"] else None,
    }


COMPARISON = Comparison(
    settings=CompareSettings,
    schema=SCHEMA,
    score="top1",
    columns={
        "top1": "Top-1",
        "balanced": "Balanced",
        "top5": "Top-5",
        "corrupted": "Top-1, corrupted",
        "other": "Top-1, second source",
    },
    check=_check,
    ready=_ready,
    facts=_facts,
    trials=_trials,
    distilling=_distilling,
    training=_training,
    folders=_folders,
    train=_train,
    row=_row,
    work=_work,
    exact=True,
    validation=DecodedOnce,
)

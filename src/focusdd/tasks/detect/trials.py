"""How methods of detection are compared: detectors by method, budget and seed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from focusdd.core.files import read_json
from focusdd.core.stage import overwrite_if_other
from focusdd.settings import DetectCompareSettings, DetectTrainSettings
from focusdd.tasks.base import Comparison
from focusdd.tasks.detect.distilled import DistilledDetection
from focusdd.tasks.detect.train import train
from focusdd.tasks.trials import Budget, ComparisonContext, Trial, costs, every_trial, training

_TEXT, _COUNT, _NUMBER = pa.string(), pa.int32(), pa.float64()
SCHEMA = pa.schema(
    [
        ("method", _TEXT),
        ("budget", _TEXT),  # "ipc 10", "0.034 of all", or "all" for full
        ("images", _COUNT),
        ("objects", _COUNT),  # labelled
        ("seed", _COUNT),
        ("detector", _TEXT),
        ("size", _COUNT),  # side of the detector's input, pixels
        ("steps", _COUNT),
        ("map", _NUMBER),  # mAP50-95 and mAP50, fractions, 0 to 1
        ("map50", _NUMBER),
        *costs("ultralytics", "memory_train_mb"),
    ]
)


def _trials(settings: DetectCompareSettings) -> list[Trial]:
    budgets = [Budget("ratio", ratio) for ratio in sorted(set(settings.ratio))]
    budgets += [Budget("ipc", ipc) for ipc in sorted(set(settings.ipc or (() if budgets else (10,))))]
    return every_trial(settings, budgets, settings.detectors)


def _training(trial: Trial, context: ComparisonContext) -> DetectTrainSettings:
    return training(trial, context, detector=trial.student)


def _folders(trial: Trial, context: ComparisonContext) -> list[Path]:
    return [context.out / "detectors" / f"{trial.data}-seed{trial.seed}-{trial.student}"]


def _train(trial: Trial, data: DistilledDetection, context: ComparisonContext) -> None:
    recipe = _training(trial, context)
    overwrite_if_other(partial(train, data, context.val, context.student(trial), recipe), context.overwrite)


def _row(trial: Trial, result: dict[str, Any], context: ComparisonContext) -> dict[str, Any]:
    dataset = context.dataset(trial)
    assert dataset is not None  # every trial of this task has one
    made = read_json(dataset / "distilled.json")
    return {
        "budget": _words(trial.budget),
        "images": made["images"],
        "objects": sum(made["objects"].values()),
        "detector": trial.student,
        "size": result["settings"]["size"],
        "steps": result["steps"],
        "map": result["map"],
        "map50": result["map50"],
    }


def _words(budget: Budget | None) -> str:
    if budget is None:
        return "all"
    return f"{budget.value:.3g} of all" if budget.name == "ratio" else f"{budget.name} {budget.value}"


COMPARISON = Comparison(
    settings=DetectCompareSettings,
    schema=SCHEMA,
    score="map",
    columns={"map": "mAP50-95", "map50": "mAP50"},
    trials=_trials,
    training=_training,
    folders=_folders,
    train=_train,
    row=_row,
)

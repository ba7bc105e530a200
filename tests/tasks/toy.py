"""A third task, to show what one takes: its rows hold an image's brightness, its student is a mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from focusdd.composition.images import Drawing
from focusdd.core.files import read_json, write_json
from focusdd.core.finished import Finished
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.extraction.index import Index
from focusdd.extraction.inference import DecodedImage, Inference
from focusdd.selection.baselines import random_plan
from focusdd.selection.plan import Plan, Tile, image_name
from focusdd.settings import CompareSettings, DistillSettings, ExtractorSettings
from focusdd.sources import open_source
from focusdd.tasks import base
from focusdd.tasks.trials import Budget, ComparisonContext, Trial, every_trial

ROWS = pa.schema({"key": pa.string(), "hash": pa.string(), "label": pa.int32(), "level": pa.float64()})
RESULTS = [("method", pa.string()), ("ipc", pa.int32()), ("seed", pa.int32()), ("level", pa.float64())]


def inference(source: Any, model: Any, _: Any, settings: Any) -> Inference:
    return Inference(source, model.input_size, settings, ROWS, rows, model.device)


def rows(images: list[DecodedImage]) -> dict[str, Any]:
    values = [(i.record.key, i.hash, i.record.label, float(np.mean(i.pixels))) for i in images]
    return dict(zip(ROWS.names, zip(*values, strict=True), strict=True))


def finish(out: Path, *_: Any) -> base.Extracted:
    return base.Extracted("probe", 1.0, {"images": len(Index(out, {}).table(["key"]))}, {})


def plan(source: Any, settings: DistillSettings, index: Index | None, *_: Any) -> Plan:
    if index is None:
        return random_plan(source, settings, "whole")
    table, tiles = index.table(["key", "label", "level"]).sort_by("level").to_pylist(), []
    for label, name in enumerate(source.classes):
        for number, row in enumerate([row for row in table if row["label"] == label][: settings.ipc]):
            piece = ("whole", row["key"], (0, 0, 8, 8), 8, 8, 0.0)
            tiles.append(Tile(*piece, image_name(name, number), label, 0, 0))
    return Plan(1, tuple(tiles))


def write(source: Any, _: Any, image: str, tiles: list[Tile], out: Path, __: Any) -> None:
    write_json(out / f"{image}.json", len(source.read(tiles[0].key)))


def train(trial: Trial, data: Finished, context: ComparisonContext) -> None:
    def make(work: Workspace) -> dict[str, Any]:
        work.declare(["result.json"])
        with work.record.measure("train"):
            level = np.mean([read_json(path) for path in sorted(data.folder.glob("*/*.json"))])
            write_json(work.out / "result.json", {"level": float(level) + trial.seed})
        return {}

    stage = Stage("toy train", 1, {"seed": trial.seed}, {"data": data.info["key"]})
    run_stage(stage, context.student(trial), make)


def trials(settings: CompareSettings) -> list[Trial]:
    return every_trial(settings, [Budget("ipc", settings.ipc[0])], ["table"])


TOY = base.Task(
    name="toy",
    words="brightness",
    prefix="toy ",
    open_source=open_source,
    extraction=base.Extraction(1, ExtractorSettings, inference, finish),
    distillation=base.Distillation(
        version=1,
        settings=DistillSettings,
        with_index=("focus",),
        plan=plan,
        drawing=Drawing(open_source, Plan.from_table, lambda image, _: (f"{image}.json",), write, {}),
        fields=("key", "task", "method", "settings", "classes", "class_names"),
        card=json.dumps,
        open=lambda folder: Finished(Path(folder), read_json(Path(folder) / "distilled.json")),
    ),
    comparison=base.Comparison(
        settings=CompareSettings,
        schema=pa.schema(RESULTS),
        score="level",
        columns={"level": "Level"},
        trials=trials,
        train=train,
        row=lambda trial, result, _: {"ipc": int(trial.budget.value), "level": result["level"]},
    ),
)

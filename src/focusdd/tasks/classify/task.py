"""Classification: one label for every image, and students that predict it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from focusdd.composition.dataset import card, open_distilled
from focusdd.composition.images import LABELLED
from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index, without_duplicates
from focusdd.models.load import Model
from focusdd.selection.focus import realism, select
from focusdd.selection.plan import Plan
from focusdd.selection.subset import Candidates
from focusdd.settings import DistillSettings, ExtractorSettings, ExtractSettings, PatchSettings
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.tasks.base import Distillation, Subsetting, Task
from focusdd.tasks.classify.rows import EXTRACTION
from focusdd.tasks.classify.trials import COMPARISON

_CHOSEN = "chosen"  # folder of an unfinished stage: what method rded has chosen so far
_WITH_INDEX = ("focus", "herding", "k-center")
_WHOLE = ("random", "herding", "k-center")  # a distilled image is one whole image


def _check(_: Source, settings: DistillSettings) -> None:
    if settings.method not in _WHOLE and settings.size // settings.grid < 8:
        raise FocusError(
            f"a {settings.grid} x {settings.grid} grid on {settings.size} px makes tiles under 8 px: "
            "use a smaller --grid or a larger --size"
        )


def _extract_settings(settings: DistillSettings, reading: ExtractorSettings) -> ExtractSettings:
    """Such that the index holds the key patches that `settings` ask for."""
    patches = {name: getattr(settings, name) for name in PatchSettings.model_fields}
    return ExtractSettings(**reading.model_dump(), **patches, tile=settings.size // settings.grid)


def _judge(settings: DistillSettings, reading: ExtractorSettings) -> Model | None:
    """The teacher that judges the crops of method rded."""
    if settings.method != "rded":
        return None
    from focusdd.models.device import pick_device
    from focusdd.models.load import load_model

    if not settings.teacher:
        raise FocusError("method rded needs a teacher to judge its crops: give --teacher")
    return load_model(settings.teacher, pick_device(reading.device), settings.size // settings.grid)


def _plan(
    source: Source, settings: DistillSettings, index: Index | None, judge: Model | None, folder: Path
) -> Plan:
    from focusdd.selection.baselines import random_plan, rded_plan
    from focusdd.selection.coresets import coreset_plan

    if judge is not None:
        return rded_plan(source, settings, judge, folder / _CHOSEN)
    if index is None:
        return random_plan(source, settings, "whole" if settings.method == "random" else "view")
    index = without_duplicates(index, settings.duplicates)
    if settings.method == "focus":
        return select(index, settings, settings.size // settings.grid)
    return coreset_plan(source, index, settings)


def _describe(_: Source, settings: DistillSettings, plan: Plan, __: Index | None) -> dict[str, Any]:
    return {"ipc": settings.ipc, "grid": plan.grid}


def _counts(info: dict[str, Any]) -> dict[str, Any]:
    classes = len(info["classes"])
    return {"images": info["ipc"] * classes, "classes": classes, "ipc": info["ipc"]}


DISTILLATION = Distillation(
    version=3,
    settings=DistillSettings,
    with_index=_WITH_INDEX,
    extract_settings=_extract_settings,
    plan=_plan,
    drawing=LABELLED,
    describe=_describe,
    fields=(
        *("key", "method", "ipc", "grid", "size", "seed", "settings", "source", "source_images"),
        *("extractor", "index", "judge", "classes", "class_names", "short_classes"),
    ),
    card=card,
    counts=_counts,
    open=open_distilled,
    images=lambda source, settings: settings.ipc * len(source.classes),
    check=_check,
    judge=_judge,
    scratch=(_CHOSEN,),
)


def _candidates(source: Source, index: Index | None) -> Candidates:
    if index is None:
        keys = [record.key for record in source.records]
        labels = np.array([record.label for record in source.records])
        score, features = np.zeros(len(keys)), None
    else:
        rows = index.table(["key", "label", "confidence", "mass", "area"])
        keys, labels = rows["key"].to_pylist(), rows["label"].to_numpy()
        confidence, mass, area = (rows[name].to_numpy() for name in ("confidence", "mass", "area"))
        score = realism(confidence, mass, area, (1, 1, 0))
        features = index.features()
    shown = [np.flatnonzero(labels == label) for label in range(len(source.classes))]
    return Candidates(keys, shown, labels, score, features, several=False)


SUBSETTING = Subsetting(_candidates, folder=lambda source, label: f"train/{source.classes[label]}")

CLASSIFY = Task(
    name="classify",
    words="classification",
    prefix="",
    open_source=open_source,
    extraction=EXTRACTION,
    distillation=DISTILLATION,
    comparison=COMPARISON,
    subsetting=SUBSETTING,
)

"""The stages of all tasks as public functions of each: paths are opened, and settings may be keywords."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from focusdd.composition.dataset import Distilled
from focusdd.extraction.index import Index
from focusdd.settings import EngineSettings, ExtractorSettings, Settings, SubsetSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import resolve_and_warn
from focusdd.tasks.base import Task
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.detect.distilled import DistilledDetection
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill as run_distill
from focusdd.tasks.extract import extract as run_extract
from focusdd.tasks.subset import subset as run_subset

R = TypeVar("R")
_SPLITS = {"source": "train", "val": "val", "other": "val"}


def for_task(
    function: Callable[..., R], task: Task, settings: Any, **more: type[Settings]
) -> Callable[..., R]:
    """A function with a parameter `task` as a public function of one task.

    Args:
        settings: the type of its parameter `settings`.
        more: the types of its other parameters that hold settings, beside `engine`.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(**given: Any) -> R:
        for name, split in _SPLITS.items():
            if given.get(name) is not None:
                given[name] = task.open_source(given[name], split)
        if given.get("engine") is not None:
            given["engine"] = resolve_and_warn(given["engine"]).settings
        return function(**given, task=task)

    own = [one for one in signature.parameters.values() if one.name != "task"]
    call.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    return with_keywords(settings=settings, **more, engine=EngineSettings)(call)


extract: Callable[..., Index] = for_task(run_extract, CLASSIFY, CLASSIFY.extraction.settings)
distill: Callable[..., Distilled] = for_task(
    run_distill, CLASSIFY, CLASSIFY.distillation.settings, extract=ExtractorSettings
)
subset: Callable[..., Path] = for_task(run_subset, CLASSIFY, SubsetSettings, extract=ExtractorSettings)
detect_extract: Callable[..., Index] = for_task(run_extract, DETECT, DETECT.extraction.settings)
detect_subset: Callable[..., Path] = for_task(run_subset, DETECT, SubsetSettings, extract=ExtractorSettings)
detect_distill: Callable[..., DistilledDetection] = for_task(
    run_distill, DETECT, DETECT.distillation.settings, extract=ExtractorSettings
)

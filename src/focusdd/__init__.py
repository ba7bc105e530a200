"""focusdd: a large image dataset in, a tiny one on which any architecture trains fast and well out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from focusdd.core.version import __version__ as __version__

if TYPE_CHECKING:
    from focusdd.comparison.compare import compare as compare
    from focusdd.core.errors import FocusError as FocusError
    from focusdd.core.status import status as status
    from focusdd.labels.label import label as label
    from focusdd.labels.reader import LabelledViews as LabelledViews
    from focusdd.reports.page import report as report
    from focusdd.settings import CompareSettings as CompareSettings
    from focusdd.settings import DistillSettings as DistillSettings
    from focusdd.settings import EngineSettings as EngineSettings
    from focusdd.settings import ExtractSettings as ExtractSettings
    from focusdd.settings import FitSettings as FitSettings
    from focusdd.settings import LabelSettings as LabelSettings
    from focusdd.settings import TrainSettings as TrainSettings
    from focusdd.sources import open_source as open_source
    from focusdd.tasks.classify.publish import publish as publish
    from focusdd.tasks.distill import distill as distill
    from focusdd.tasks.extract import extract as extract
    from focusdd.training.fit import fit as fit
    from focusdd.training.train import train as train

# Loaded on first use: importing torch costs seconds, `import focusdd` must not.
_PUBLIC = {
    "CompareSettings": "focusdd.settings",
    "DistillSettings": "focusdd.settings",
    "EngineSettings": "focusdd.settings",
    "ExtractSettings": "focusdd.settings",
    "FitSettings": "focusdd.settings",
    "FocusError": "focusdd.core.errors",
    "LabelSettings": "focusdd.settings",
    "LabelledViews": "focusdd.labels.reader",
    "TrainSettings": "focusdd.settings",
    "compare": "focusdd.comparison.compare",
    "distill": "focusdd.tasks.distill",
    "extract": "focusdd.tasks.extract",
    "fit": "focusdd.training.fit",
    "label": "focusdd.labels.label",
    "open_source": "focusdd.sources",
    "publish": "focusdd.tasks.classify.publish",
    "report": "focusdd.reports.page",
    "status": "focusdd.core.status",
    "train": "focusdd.training.train",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'focusdd' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__

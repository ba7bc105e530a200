"""focusdd: a large image dataset in, a tiny one on which any architecture trains fast and well out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from focusdd.core.lazy import attach
from focusdd.core.version import __version__ as __version__

if TYPE_CHECKING:
    from focusdd import detect as detect
    from focusdd.comparison.public import compare as compare
    from focusdd.comparison.run import run as run
    from focusdd.composition.dataset import Distilled as Distilled
    from focusdd.composition.dataset import open_distilled as open_distilled
    from focusdd.core.errors import FocusError as FocusError
    from focusdd.core.status import status as status
    from focusdd.extraction.index import Index as Index
    from focusdd.extraction.index import open_index as open_index
    from focusdd.labels.label import label as label
    from focusdd.labels.reader import LabelledViews as LabelledViews
    from focusdd.models.load import Model as Model
    from focusdd.models.load import load_model as load_model
    from focusdd.reports.page import report as report
    from focusdd.settings import CompareSettings as CompareSettings
    from focusdd.settings import DistillSettings as DistillSettings
    from focusdd.settings import EngineSettings as EngineSettings
    from focusdd.settings import ExtractorSettings as ExtractorSettings
    from focusdd.settings import ExtractSettings as ExtractSettings
    from focusdd.settings import FitSettings as FitSettings
    from focusdd.settings import LabelSettings as LabelSettings
    from focusdd.settings import RunSettings as RunSettings
    from focusdd.settings import SubsetSettings as SubsetSettings
    from focusdd.settings import TrainSettings as TrainSettings
    from focusdd.sources import Source as Source
    from focusdd.sources import open_source as open_source
    from focusdd.tasks.classify.publish import publish as publish
    from focusdd.tasks.public import distill as distill
    from focusdd.tasks.public import extract as extract
    from focusdd.tasks.public import subset as subset
    from focusdd.training.fit import fit as fit
    from focusdd.training.result import TrainedStudent as TrainedStudent
    from focusdd.training.train import train as train

__getattr__, __dir__, _names = attach(__name__, __file__)
__all__ = [*_names, "__version__"]

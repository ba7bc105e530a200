"""One frozen settings tree: the command line, the TOML file, the Python API and the key of every stage.

Field names are flag names, the text under a field is its help, and what a field depends on stands beside it.
"""

from focusdd.settings.base import Device as Device
from focusdd.settings.base import Settings as Settings
from focusdd.settings.compare import CompareSettings as CompareSettings
from focusdd.settings.compare import RunSettings as RunSettings
from focusdd.settings.detect import DetectCompareSettings as DetectCompareSettings
from focusdd.settings.detect import DetectDistillSettings as DetectDistillSettings
from focusdd.settings.detect import Detector as Detector
from focusdd.settings.detect import DetectTrainSettings as DetectTrainSettings
from focusdd.settings.detect import ObjectSettings as ObjectSettings
from focusdd.settings.distill import ComposeSettings as ComposeSettings
from focusdd.settings.distill import DistillSettings as DistillSettings
from focusdd.settings.distill import SelectSettings as SelectSettings
from focusdd.settings.distill import SubsetSettings as SubsetSettings
from focusdd.settings.engine import EngineSettings as EngineSettings
from focusdd.settings.extract import ExtractorSettings as ExtractorSettings
from focusdd.settings.extract import ExtractSettings as ExtractSettings
from focusdd.settings.extract import PatchSettings as PatchSettings
from focusdd.settings.source import HoldoutSettings as HoldoutSettings
from focusdd.settings.source import SourceSettings as SourceSettings
from focusdd.settings.train import AugmentSettings as AugmentSettings
from focusdd.settings.train import FitSettings as FitSettings
from focusdd.settings.train import LabelSettings as LabelSettings
from focusdd.settings.train import TrainSettings as TrainSettings

"""Object detection from Python: `focusdd.detect.distill`, `train`, `compare`, `extract` and the openers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from focusdd.core.lazy import attach

if TYPE_CHECKING:
    # ruff: noqa: F401
    from focusdd.comparison.public import detect_compare as compare
    from focusdd.settings import DetectCompareSettings as CompareSettings
    from focusdd.settings import DetectDistillSettings as DistillSettings
    from focusdd.settings import DetectTrainSettings as TrainSettings
    from focusdd.sources.detection import open_detection_source as open_source
    from focusdd.tasks.detect.detectors import Detector as Detector
    from focusdd.tasks.detect.detectors import load_detector as load_model
    from focusdd.tasks.detect.distilled import DistilledDetection as Distilled
    from focusdd.tasks.detect.distilled import open_detection as open_distilled
    from focusdd.tasks.detect.train import train as train
    from focusdd.tasks.public import detect_distill as distill
    from focusdd.tasks.public import detect_extract as extract
    from focusdd.tasks.public import detect_subset as subset
    from focusdd.training.result import TrainedDetector as TrainedDetector

__getattr__, __dir__, __all__ = attach(__name__, __file__)

"""Mean average precision on a validation set, by COCO's rules."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from focusdd.core.console import progress, warn
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.sources.base import DetectionSource, Objects
from focusdd.tasks.detect.detectors import Detector, Found

_BATCH = 32  # images; no part of the result


@dataclass(frozen=True)
class DetectionScore:
    """Average precision as fractions, 0 to 1."""

    map: float
    """Mean over classes and IoU from 0.5 to 0.95."""
    map50: float
    """Mean over classes at IoU 0.5."""
    per_class: tuple[float, ...]
    """As `map`, by class; NaN for a class without objects."""
    images: int
    objects: int
    """Those that count: not the ignored ones."""
    skipped: tuple[tuple[str, str], ...]
    """What could not be read: (key, reason)."""


def evaluate(detector: Detector, source: DetectionSource) -> DetectionScore:
    """Scores a detector on all images of a source; unreadable ones are skipped, counted and listed.

    Raises:
        FocusError: nothing can be read, there are no objects, or torchmetrics is not installed.
    """

    def look(key: str) -> tuple[Image.Image, tuple[int, int], Objects] | str:
        try:
            image, *size = decode(source.read(key), least_side=detector.size)
            return image, (size[0], size[1]), source.objects(key, *size)
        except UnreadableImage as error:
            return str(error)

    metric = Metric(len(source.classes))
    skipped: list[tuple[str, str]] = []
    keys = [record.key for record in source.records]
    with progress("evaluate", len(keys), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            read = dict(zip(batch, pool.map(look, batch), strict=True))
            skipped += [(key, seen) for key, seen in read.items() if isinstance(seen, str)]
            seen = [seen for seen in read.values() if not isinstance(seen, str)]
            found = detector.find([image for image, _, _ in seen], [size for _, size, _ in seen])
            for result, (_, _, objects) in zip(found, seen, strict=True):
                metric.add(result, objects)
            advance(len(batch), "")
    if not metric.images:
        reason = f"; the first reason: {skipped[0][1]}" if skipped else ""
        raise FocusError(f"no image of {source.name} can be read{reason}")
    if skipped:
        warn(f"{len(skipped)} images of {source.name} were skipped, the first: {': '.join(skipped[0])}")
    if not metric.objects:
        raise FocusError(f"{source.name} holds no objects to find: use another validation set")
    return metric.score(tuple(skipped))


class Metric:
    """Collects what was found and what is there; COCO's precision at 101 points of recall."""

    def __init__(self, num_classes: int) -> None:
        try:
            import faster_coco_eval  # noqa: F401  what torchmetrics would miss only later
            from torchmetrics.detection import MeanAveragePrecision
        except ImportError as error:
            raise FocusError(
                f"scoring detectors needs {error.name}: pip install 'focusdd[detect]'"
            ) from error
        self._metric: Any = MeanAveragePrecision(backend="faster_coco_eval", class_metrics=True)
        self._metric.warn_on_many_detections = (
            False  # we keep 300 as Ultralytics does; COCO takes the best 100
        )
        self.num_classes = num_classes
        self.images = self.objects = 0

    def add(self, found: Found, objects: Objects) -> None:
        """One image: boxes of both in the same units."""
        there = {
            "boxes": torch.from_numpy(objects.boxes.astype(np.float32)).reshape(-1, 4),
            "labels": torch.from_numpy(objects.labels.astype(np.int64)),
            # COCO's rule for crowds: they are never missed, and any number of boxes inside them is no mistake
            "iscrowd": torch.from_numpy(objects.ignored.astype(np.int64)),
        }
        self._metric.update([{"boxes": found.boxes, "scores": found.scores, "labels": found.labels}], [there])
        self.images += 1
        self.objects += int((~objects.ignored).sum())

    def score(self, skipped: tuple[tuple[str, str], ...] = ()) -> DetectionScore:
        result = self._metric.compute()
        per_class = [math.nan] * self.num_classes
        labels = result["classes"].reshape(-1).tolist()
        for label, precision in zip(labels, result["map_per_class"].reshape(-1).tolist(), strict=True):
            per_class[label] = precision if precision >= 0 else math.nan  # -1: no object of the class
        return DetectionScore(
            float(result["map"]),
            float(result["map_50"]),
            tuple(per_class),
            self.images,
            self.objects,
            skipped,
        )

"""Detectors: their families, trained ones on disk (without pickle), and their score by COCO's rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from focusdd.core.console import progress
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json, write_whole
from focusdd.core.images import UnreadableImage, decode
from focusdd.core.manifest import remedy_for, require_finished
from focusdd.models.device import pick_device
from focusdd.sources.base import DetectionSource, Objects
from focusdd.sources.understood import warn_of_skipped
from focusdd.tasks.detect.distilled import Sample, resized

GREY = 114  # what stands around images that are not square
_BATCH = 32  # images that are scored at a time; no part of the result


class Found(NamedTuple):
    """What a detector found in one image, most confident first."""

    boxes: torch.Tensor
    """float32 (n, 4): half-open, in the units of the image given, inside it."""
    scores: torch.Tensor
    labels: torch.Tensor
    """int64 (n,)."""


@dataclass(frozen=True)
class Family:
    """How detectors of one library are made, taught and asked."""

    package: str
    """Its name, for the record of a run."""
    require: Callable[[], Any]
    """Raises FocusError where the library is not installed."""
    new_network: Callable[[str, int, torch.device, int], nn.Module]
    """(detector, number of classes, device, seed) -> an untrained network."""
    lessons: Callable[[Sequence[Sample], int, float, bool], Any]
    """(samples, side, share of mosaics, flip): `batch(rows, seed, mosaic)` is what `loss` takes."""
    loss: Callable[[nn.Module, Any, torch.device], torch.Tensor]
    """(network, batch, device) -> the mean loss per image."""
    find: Callable[[nn.Module, torch.Tensor], list[Found]]
    """(network in eval mode, uint8 (n, 3, side, side)) -> objects in pixels of this input."""
    clip: float
    """Largest gradient norm of the loss summed over a batch."""


def family_of(detector: str) -> Family:
    """The family of a detector by its name."""
    if detector.startswith("yolo"):
        from focusdd.tasks.detect.yolo import YOLO

        return YOLO
    from focusdd.tasks.detect.ssdlite import SSDLITE

    return SSDLITE


@dataclass(frozen=True)
class Detector:
    """A network that finds objects."""

    net: nn.Module
    name: str
    """Architecture, e.g. yolo11n."""
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    size: int
    """Side in pixels of its square input."""
    device: torch.device

    @torch.inference_mode()
    def find(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Found]:
        """The objects of each image, at most 300.

        Args:
            sizes: width and height that the boxes are meant for, where they were decoded at a reduced
                scale; default: those of the images.
        """
        if not images:
            return []
        canvas = torch.full((len(images), 3, self.size, self.size), GREY, dtype=torch.uint8)
        places = []
        for row, image in enumerate(images):
            pixels = torch.from_numpy(resized(image, self.size)).permute(2, 0, 1)
            height, width = pixels.shape[1:]
            left, top = (self.size - width) // 2, (self.size - height) // 2
            canvas[row, :, top : top + height, left : left + width] = pixels
            places.append((left, top, width, height))
        found = []
        shown = family_of(self.name).find(self.net.eval(), canvas.to(self.device))
        for one, (*corner, width, height), size in zip(
            shown, places, sizes or [image.size for image in images], strict=True
        ):
            zoom = torch.tensor([size[0] / width, size[1] / height]).repeat(2)
            boxes = (one.boxes.float().cpu() - torch.tensor(corner).repeat(2)) * zoom
            boxes = torch.minimum(boxes.clamp(min=0), torch.tensor(size).repeat(2))
            found.append(Found(boxes, one.scores.float().cpu(), one.labels.long().cpu()))
        return found


def save_detector(folder: Path, detector: Detector, facts: dict[str, Any]) -> None:
    """Writes a detector that `load_detector` reads; `facts`: what else is worth knowing of it."""
    described = {
        "detector": detector.name,
        "size": detector.size,
        "classes": list(detector.classes),
        "class_names": list(detector.class_names),
        "focusdd": facts,
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in detector.net.state_dict().items()}
    write_whole(folder / "model.safetensors", save(weights))
    write_json(folder / "config.json", described)


def load_detector(folder: Path | str, device: str = "auto") -> Detector:
    """Reads a trained detector.

    Raises:
        FocusError: there is none, it is damaged, or its weights do not fit its description.
    """
    folder, make = Path(folder), "focusdd detect train DISTILLED --val ... --out ..."
    if (folder / "stage.json").exists():
        require_finished(folder, ("detect train",), "a detector", make)
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not {"detector", "size", "classes", "class_names"} <= config.keys():
        raise FocusError(f"{folder} holds no detector: make one with `{make}`")
    target = pick_device(device)
    net = family_of(config["detector"]).new_network(config["detector"], len(config["classes"]), target, 0)
    try:
        net.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise FocusError(
            f"the weights of {folder} cannot be loaded ({reason}): {remedy_for(folder)}"
        ) from error
    names = tuple(config["classes"]), tuple(config["class_names"])
    return Detector(net.eval(), config["detector"], *names, config["size"], target)


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
        warn_of_skipped(skipped, source.name)
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
        # we keep 300 as Ultralytics does; COCO takes the best 100
        self._metric.warn_on_many_detections = False
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

"""Detectors: what training and scoring ask of each family, and trained ones on disk, without pickle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json, write_whole
from focusdd.core.manifest import remedy_for, require_finished
from focusdd.models.device import pick_device
from focusdd.tasks.detect.distilled import Sample, fitted

GREY = 114  # what stands around images that are not square


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
            pixels = torch.from_numpy(fitted(image, self.size)).permute(2, 0, 1)
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

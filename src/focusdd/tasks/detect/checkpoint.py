"""Trained detectors on disk: config.json + model.safetensors, no pickle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json, write_whole
from focusdd.core.manifest import remedy_for, require_finished
from focusdd.models.device import pick_device
from focusdd.tasks.detect.detectors import GREY, Found, family_of
from focusdd.tasks.detect.distilled import fitted


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

"""SSDLite on a MobileNetV3, from torchvision: a family without AGPL, trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from focusdd.core.console import warn
from focusdd.tasks.detect.detectors import GREY, Family, Found
from focusdd.tasks.detect.distilled import Sample

_CLIP = 10.0
_SMALLEST = 0.2  # side of torchvision's smallest default box, as a share of the input's
_ZOOM = 0.5  # largest random change of the scale
_SHIFT = 0.1  # largest random shift, as a share of the side
_VISIBLE = 0.3  # smallest share of a box that keeps its label


def _new_network(_: str, num_classes: int, device: torch.device, seed: int = 0) -> nn.Module:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(seed)
    # class 0 is the background
    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    return net.to(device=device, memory_format=torch.channels_last)  # a third faster on a CPU


def _run(net: Any, images: torch.Tensor, targets: list[dict[str, torch.Tensor]] | None = None) -> Any:
    net.transform.fixed_size = tuple(images.shape[-2:])  # its boxes are shares of the input: any size will do
    return net(list(images.float().div(255)), targets)


def _loss(net: nn.Module, batch: Any, device: torch.device) -> torch.Tensor:
    images, targets = batch
    targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
    total: torch.Tensor = sum(_run(net, images.to(device), targets).values())
    return total


def _find(net: nn.Module, canvas: torch.Tensor) -> list[Found]:
    return [Found(one["boxes"], one["scores"], one["labels"] - 1) for one in _run(net, canvas)]


class Lessons:
    """Augmented batches of samples: zoom, shift and mirror, colours as in YOLO's recipe."""

    def __init__(self, samples: Sequence[Sample], size: int, _: float, flip: bool) -> None:
        from torchvision.transforms import v2

        self.samples, self.size, self.flip = samples, size, flip
        pixels = [sample.boxes[:, 2:] * sample.image.shape[1::-1] for sample in samples]
        side = float(np.median(np.sqrt(np.concatenate(pixels).prod(axis=1))))
        if side < _SMALLEST * size / 2:  # a box of twice the side overlaps by a quarter at best
            warn(
                f"SSDLite's smallest default box has {_SMALLEST * size:.0f} px at an input of {size} px, the "
                f"median object {side:.0f} px: few will be found, so use --detector yolo11n"
            )
        self._colours = v2.ColorJitter(brightness=0.4, saturation=0.7, hue=0.015)

    def batch(
        self, rows: Sequence[int], seed: int, _: bool
    ) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
        """The samples of these rows, augmented: uint8 (n, 3, side, side) and a target for each."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            items = [self._item(self.samples[row]) for row in rows]
        return torch.stack([image for image, _ in items]), [target for _, target in items]

    def _item(self, sample: Sample) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        from torchvision import ops
        from torchvision.transforms.v2 import InterpolationMode, functional

        height, width = sample.image.shape[:2]
        left, top = (self.size - width) // 2, (self.size - height) // 2
        right, bottom = self.size - width - left, self.size - height - top
        image = torch.from_numpy(sample.image).permute(2, 0, 1)
        image = functional.pad(image, [left, top, right, bottom], fill=GREY)
        scale = float(torch.empty(()).uniform_(1 - _ZOOM, 1 + _ZOOM))
        shift = [round(pixels) for pixels in (self.size * torch.empty(2).uniform_(-_SHIFT, _SHIFT)).tolist()]
        image = functional.affine(
            image, 0, shift, scale, [0, 0], interpolation=InterpolationMode.BILINEAR, fill=GREY
        )
        middles = torch.from_numpy(sample.boxes) * torch.tensor([width, height] * 2)
        whole = ops.box_convert(middles + torch.tensor([left, top, 0, 0]), "cxcywh", "xyxy")
        whole = (whole - self.size / 2) * scale + self.size / 2 + torch.tensor(shift).repeat(2)
        boxes = ops.clip_boxes_to_image(whole, (self.size, self.size))
        kept = ops.box_area(boxes) > _VISIBLE * ops.box_area(whole)
        kept &= (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        boxes, labels = boxes[kept], torch.from_numpy(sample.labels)[kept] + 1
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = self.size - boxes[:, [2, 0]]
        return self._colours(image), {"boxes": boxes, "labels": labels}


SSDLITE = Family("torchvision", lambda: None, _new_network, Lessons, _loss, _find, _CLIP)

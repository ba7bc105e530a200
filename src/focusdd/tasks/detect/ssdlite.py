"""SSDLite on a MobileNetV3, from torchvision: a family without AGPL, trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from focusdd.tasks.detect.detectors import GREY, Family, Found
from focusdd.tasks.detect.distilled import Sample

_CLIP = 10.0
_LARGEST = 2.0  # factor by which an image is shrunk or enlarged at random


def _new_network(_: str, num_classes: int, device: torch.device, seed: int = 0) -> nn.Module:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(seed)
    # class 0 is the background
    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    return net.to(device)


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
    """Augmented batches of samples: zoom out, crop and mirror as in SSD's recipe, colours as in YOLO's."""

    def __init__(self, samples: Sequence[Sample], size: int, _: float, flip: bool) -> None:
        from torchvision.transforms import v2

        self.samples, self.size = samples, size
        self._steps = v2.Compose(
            [
                v2.ColorJitter(brightness=0.4, saturation=0.7, hue=0.015),
                v2.RandomZoomOut(fill=GREY, side_range=(1.0, _LARGEST)),
                v2.RandomIoUCrop(min_scale=1 / _LARGEST),
                v2.RandomHorizontalFlip(0.5 if flip else 0.0),
            ]
        )

    def batch(
        self, rows: Sequence[int], seed: int, _: bool
    ) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
        """The samples of these rows, augmented: uint8 (n, 3, side, side) and a target for each."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            items = [self._item(self.samples[row]) for row in rows]
        return torch.stack([image for image, _ in items]), [target for _, target in items]

    def _item(self, sample: Sample) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        height, width = sample.image.shape[:2]
        boxes = torch.from_numpy(sample.boxes) * torch.tensor([width, height] * 2)
        boxes = tv_tensors.BoundingBoxes(boxes, format="CXCYWH", canvas_size=(height, width))
        boxes = v2.functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
        item = {
            "image": tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1)),
            "boxes": boxes,
            "labels": torch.from_numpy(sample.labels) + 1,
        }
        item = v2.SanitizeBoundingBoxes()(self._steps(item))
        image, boxes = item["image"], item["boxes"]
        height, width = image.shape[-2:]
        scale = self.size / max(height, width)
        inner = [max(1, round(height * scale)), max(1, round(width * scale))]
        image, boxes = (v2.functional.resize(one, inner, antialias=True) for one in (image, boxes))
        left, top = (self.size - inner[1]) // 2, (self.size - inner[0]) // 2
        canvas = torch.full((3, self.size, self.size), GREY, dtype=torch.uint8)
        canvas[:, top : top + inner[0], left : left + inner[1]] = image
        shift = torch.tensor([left, top]).repeat(2)
        return canvas, {"boxes": boxes.as_subclass(torch.Tensor) + shift, "labels": item["labels"]}


SSDLITE = Family("torchvision", lambda: None, _new_network, Lessons, _loss, _find, _CLIP)

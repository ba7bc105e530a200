"""What a teacher says of tiles and views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from focusdd.composition.dataset import Distilled
from focusdd.core.errors import FocusError
from focusdd.labels.tiles import tile_boxes
from focusdd.labels.views import Views, render, resized_crops
from focusdd.models.checks import SAMPLE, matched_outputs, refuse_near_chance, stratified
from focusdd.models.dense import DenseLogits, dense_grid
from focusdd.models.device import autocast
from focusdd.models.load import Model
from focusdd.models.names import origin
from focusdd.settings import LabelSettings
from focusdd.sources.base import Record

BATCH = 64  # images per forward pass; fixed, because the last digits of a logit depend on it


class Teacher(NamedTuple):
    """A model with its outputs in the order of the dataset's classes."""

    model: Model
    outputs: torch.Tensor

    @classmethod
    def of(cls, model: Model, distilled: Distilled) -> Teacher:
        """Raises FocusError when the model does not know the classes."""
        return cls(model, matched_outputs(model, distilled, "teacher"))

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """[0, 255] images (B, 3, S, S) -> float32 logits (B, C)."""
        batches = [self.model.logits(batch)[:, self.outputs] for batch in pixels.split(BATCH)]
        return torch.cat(batches).cpu().numpy()

    @torch.inference_mode()
    def dense(self, pixels: torch.Tensor, side: int) -> np.ndarray:
        """[0, 255] images (B, 3, S, S) -> float32 logits (B, 1 + side^2, C), the whole image first."""
        with autocast(self.model.device):
            whole, said = DenseLogits(self.model.net)(self.model.prepare(pixels))
        each = F.adaptive_avg_pool2d(said, side).flatten(2).mT
        return torch.cat([whole[:, None], each], 1)[..., self.outputs].cpu().numpy()

    def require_dense(self, side: int, size: int) -> None:
        """Raises FocusError unless the teacher's last feature map has so many locations per side."""
        most = min(dense_grid(self.model.net, size, self.model.device) or (0,)) if side else 0
        if side > most:
            who, use = f"teacher {self.model.name!r}", f"use --dense {most}"
            if most:
                raise FocusError(
                    f"the last feature map of {who} has {most} x {most} locations at {size} px: {use} or less"
                )
            raise FocusError(f"{who} has no feature map of several locations at {size} px: {use}")


def teacher_facts(
    teacher: Teacher, images: torch.Tensor, labels: np.ndarray, distilled: Distilled, settings: LabelSettings
) -> dict[str, Any]:
    """Who the teacher is, and its top-1 on the tiles of a stratified sample of the images.

    Raises:
        FocusError: it is near chance.
    """
    grid = distilled.info["grid"]
    records = [Record(str(row), int(own)) for row, own in enumerate(labels)]
    rows = [int(record.key) for record in stratified(records, max(1, SAMPLE // grid**2))]
    logits = tile_logits(teacher, images[rows], grid, settings.size)[:, -(grid**2) :]
    predicted, own = logits.argmax(-1).ravel(), labels[rows].repeat(grid**2)
    who, where = f"teacher {teacher.model.name!r}", f"the tiles of {distilled.folder}"
    refuse_near_chance(predicted, own, len(distilled.classes), who, where, teacher.model, settings.anyway)
    return {
        "name": teacher.model.name,
        "architecture": origin(teacher.model.name, weights=False).architecture,
        "weights": teacher.model.weights,
        "accuracy": round(float((predicted == own).mean()), 5),
        "tiles": len(own),
    }


def tile_logits(teacher: Teacher, images: torch.Tensor, grid: int, size: int) -> np.ndarray:
    """Logits (n, labels of `tile_boxes`, C) of images, each part filling the teacher's size x size view."""
    boxes = torch.tensor(tile_boxes(grid, images.shape[-1]), dtype=torch.float32)
    parts = [
        np.stack([teacher.logits(resized_crops(part, box.expand(len(part), 4), size)) for box in boxes], 1)
        for part in images.split(BATCH)
    ]
    return np.concatenate(parts)


def view_logits(
    teacher: Teacher, images: torch.Tensor, views: Views, number: int, size: int, dense: int = 0
) -> Iterator[np.ndarray]:
    """Logits of all images in the view with this number, a batch of images at a time.

    Each (n, C), dense (n, 1 + dense^2, C): those of all images at once would fill memory.
    """
    for rows in torch.arange(len(images)).split(BATCH):
        shown = render(images, rows, views.take(torch.full_like(rows, number)), size, images.device)
        yield teacher.dense(shown, dense) if dense else teacher.logits(shown)

"""RDED's student training as its public code does it (LINs-lab/RDED, `validation/main.py`), written anew.

What makes it slow can be taken out part by part, to see what each part costs.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor

from focusdd.composition.dataset import Distilled
from focusdd.labels.views import draw_views, render
from focusdd.models.device import autocast
from focusdd.models.load import normalise
from focusdd.settings import AugmentSettings
from focusdd.sources.pixels import load_files

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEMPERATURE = 20.0
# it says so itself where there are fewer cores than its four workers
warnings.filterwarnings("ignore", message="This DataLoader will create")


@dataclass(frozen=True)
class Way:
    """How an epoch is computed; the defaults are RDED's."""

    second_forward: bool = True
    """The student is asked once more in every step, for an accuracy that is only printed."""
    one_by_one: bool = True
    """Images are augmented one by one in worker processes, which every epoch starts anew."""
    layout: torch.memory_format = torch.contiguous_format
    reduced: bool = False
    """Reduced precision where the hardware computes it faster; RDED trains in float32."""


class ShuffleStrips(nn.Module):
    """Puts the columns of tiles of an image (3, H, W) in random order, then the rows of tiles."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for axis in (2, 1):
            side = image.shape[axis] // self.grid
            cuts = [side * number for number in range(1, self.grid)]
            strips = list(image.tensor_split(cuts, axis))
            random.shuffle(strips)
            image = torch.cat(strips, axis)
        return image


class OneByOne(Dataset[tuple[torch.Tensor, int]]):
    """Decoded images in memory, augmented as they are asked for."""

    def __init__(self, files: list[tuple[Path, int]], grid: int, size: int) -> None:
        self.images = [(Image.open(path).convert("RGB"), label) for path, label in files]
        self.transform = Compose(
            [
                ToTensor(),
                ShuffleStrips(grid),
                RandomResizedCrop(size, scale=(1 / grid, 1), antialias=True),
                RandomHorizontalFlip(),
                Normalize(MEAN, STD),
            ]
        )

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        image, label = self.images[row]
        return self.transform(image), label

    def __len__(self) -> int:
        return len(self.images)


class Training:
    """A student that learns from a distilled dataset, epoch by epoch."""

    def __init__(
        self,
        distilled: Distilled,
        student: nn.Module,
        teacher: nn.Module,
        *,
        way: Way,
        size: int,
        batch_size: int,
        epochs: int,
        workers: int,
        seed: int,
        device: torch.device,
    ) -> None:
        random.seed(seed)
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.way, self.device, self.size, self.batch_size = way, device, size, batch_size
        self.grid: int = distilled.info["grid"]
        # networks of two ways are not the same objects, so each keeps its layout
        self.student = student.to(device, memory_format=way.layout)  # type: ignore[call-overload]
        self.teacher = teacher.to(device, memory_format=way.layout).eval()  # type: ignore[call-overload]
        decayed = [p for p in student.parameters() if p.ndim > 1]
        others = [p for p in student.parameters() if p.ndim <= 1]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01)
        self.rate = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / epochs / 2))
        )
        if way.one_by_one:
            self.loader = DataLoader(
                OneByOne(distilled.files(), self.grid, size),
                batch_size,
                shuffle=True,
                num_workers=workers,
                pin_memory=device.type == "cuda",
            )
        else:
            self.pixels = load_files(distilled.files(), distilled.info["size"])
            self.images = self.pixels.resident(device)
            self.generator = torch.Generator().manual_seed(seed)
            self.recipe = AugmentSettings(crop=1 / self.grid, tile_crops=0.0)

    def epoch(self) -> None:
        """One pass over the distilled dataset."""
        self.student.train()
        for images, labels in self._batches():
            with torch.no_grad():
                if self.way.second_forward:
                    guess = self._ask(self.student, images)
                said = F.softmax(self._ask(self.teacher, images) / TEMPERATURE, 1)
            self.optimizer.zero_grad()
            if self.way.second_forward:
                float((guess.argmax(1) == labels).float().mean())
            answer = F.log_softmax(self._ask(self.student, images) / TEMPERATURE, 1)
            loss = F.kl_div(answer, said, reduction="batchmean")
            loss.backward()
            self.optimizer.step()
            loss.item()  # it waits for every step, to average the loss
        self.rate.step()

    def _ask(self, net: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with autocast(self.device) if self.way.reduced else nullcontext():
            return net(images).float()

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Mixed images, normalised, on the device, and the labels of their larger part."""
        if self.way.one_by_one:
            for images, labels in self.loader:
                images, labels = images.to(self.device), labels.to(self.device)
                yield cutmix(images, self.rng).contiguous(memory_format=self.way.layout), labels
            return
        for rows in torch.randperm(len(self.pixels), generator=self.generator).split(self.batch_size):
            count, side = len(self.pixels), self.images.shape[-1]
            views = draw_views(len(rows), count, side, self.grid, self.recipe, self.generator)
            mixed = render(self.images, rows, views, self.size, self.device)
            labels = self.pixels.labels[rows].to(self.device)
            yield normalise(mixed, MEAN, STD).contiguous(memory_format=self.way.layout), labels


def cutmix(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Pastes one box of every image, the same for the batch, from another image; in place, as RDED does."""
    height, width = images.shape[2:]
    cut = math.sqrt(1 - rng.beta(1.0, 1.0))
    down, across = (int(side * cut) // 2 for side in (height, width))
    y, x = rng.integers(height), rng.integers(width)
    box = (..., slice(max(y - down, 0), y + down), slice(max(x - across, 0), x + across))
    order = torch.randperm(len(images), device=images.device)
    images[box] = images[order][box]
    return images

"""Distilled images with their stored labels, as an ordinary torch dataset: no teacher, any order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from focusdd.composition.dataset import Distilled, open_distilled
from focusdd.core.console import warn
from focusdd.core.distributed import local_world_size
from focusdd.core.errors import FocusError
from focusdd.labels.store import Kind, Store, open_store, stored_kinds
from focusdd.labels.tiles import compose, shares
from focusdd.labels.views import Views, draw_views, plain_views, render
from focusdd.models.dense import Logits
from focusdd.models.families import other_family
from focusdd.settings import AugmentSettings, TrainSettings
from focusdd.settings.resolve import resolve
from focusdd.settings.train import DENSE, WHOLE_VIEWS
from focusdd.sources.pixels import Pixels, load_files


class LabelledViews(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Views of distilled images with the teacher's distribution for each, from `focusdd label`.

    Item i is view i // n of image i % n: (float32 pixels in [0, 1] (3, size, size), float32 probabilities at
    the temperature (C,)). With view labels the views are the stored ones; with tile labels there are as many
    as epochs, drawn by the recipe and the seed.
    """

    def __init__(
        self,
        distilled: Distilled | Path | str,
        settings: TrainSettings | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Checks images and labels; the images are decoded when they are first shown.

        Args:
            settings: of these count labels, size, temperature, epochs, seed and the augmentation, and the
                student for the default of the temperature.

        Raises:
            FocusError: the labels are missing, damaged or of other images, or their views are of another
                recipe.
        """
        distilled = open_distilled(distilled)
        settings = settings or TrainSettings(labels="stored")
        self.store = _stored(distilled, settings)
        self.facts = _facts(self.store, settings.student)
        self.settings = resolve(settings, **self.facts).settings
        _check_recipe(self.store, self.settings)
        self.distilled = distilled
        self.grid: int = distilled.info["grid"]
        self.device = torch.device(device)

    @cached_property
    def pixels(self) -> Pixels:
        """The distilled images."""
        return load_files(self.distilled.files(), self.distilled.info["size"], local_world_size())

    @cached_property
    def _images(self) -> torch.Tensor:
        return self.pixels.resident(self.device)

    @cached_property
    def views(self) -> Views:
        """The stored views, or as many as there are epochs."""
        if self.store.views is not None:
            return Views.of(self.store.views)
        count, side = len(self.pixels), self.distilled.info["size"]
        if not self.settings.augment:
            return plain_views(1, side, self.grid)
        generator = torch.Generator().manual_seed(self.settings.seed)
        return draw_views(self.settings.epochs, count, side, self.grid, self.settings, generator)

    def __len__(self) -> int:
        return len(self.pixels) * len(self.views.flip)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not -len(self) <= item < len(self):
            raise IndexError(item)
        return self.__getitems__([item % len(self)])[0]

    def __getitems__(self, items: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Several items at once: torch's DataLoader fetches batches by this."""
        index = torch.as_tensor(items)
        pixels, target = self.batch(index % len(self.pixels), index // len(self.pixels))
        return list(zip(pixels / 255, target, strict=True))

    def batch(
        self, rows: torch.Tensor, numbers: torch.Tensor, dense: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | Logits]:
        """Views with these numbers (B,) of the images in these rows (B,).

        Args:
            dense: give dense labels, which the store has to hold.

        Returns:
            float32 pixels [0, 255] (B, 3, size, size), and float32 probabilities (B, C) or, dense, logits
            of the whole and of its locations, each label up to a constant; on the device.

        Raises:
            FocusError: the labels are not dense.
        """
        if dense and not self.store.dense:
            raise FocusError(
                f"the labels in {self.store.folder} are not dense: make some with `focusdd label --dense`"
            )
        views = self.views.take(numbers)
        pixels = render(self._images, rows, views, self.settings.size, self.device)
        temperature, side = self.settings.temperature, self.store.dense
        if self.store.kind == "views":
            logits = self._logits(numbers.numpy(), rows.numpy())
            whole = logits[:, 0] if side else logits
            if dense:
                return pixels, (whole, logits[:, 1:].mT.unflatten(2, (side, side)))
            return pixels, F.softmax(whole / temperature, 1)
        partners = (rows + views.shift) % len(self.pixels)
        own, other = self._logits(rows.numpy()), self._logits(partners.numpy())
        mine, theirs = (part.to(self.device) for part in shares(views, self.grid, self._images.shape[-1]))
        return pixels, compose(own, other, (mine, theirs), temperature)

    def _logits(self, *index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.store.logits(*index)).to(self.device)


def _stored(distilled: Distilled, settings: TrainSettings) -> Store:
    """The labels that the settings mean."""
    kinds = stored_kinds(distilled)
    kind: Kind = "views" if settings.labels == "views" else "tiles"
    if settings.labels == "stored" and kinds:
        kind = kinds[0]
    return open_store(distilled, kind)


def _facts(store: Store, student: str) -> dict[str, Any]:
    """What the settings of a student derive their defaults from."""
    taught, teacher = DENSE if store.dense else WHOLE_VIEWS, store.info["teacher"].get("architecture")
    facts = {"taught": taught, "other_family": other_family(teacher, student) if teacher else ""}
    # labels of some classes are made for one temperature
    return facts | {
        name: value for name in ("size", "temperature") if (value := store.info[name]) is not None
    }


def _check_recipe(store: Store, settings: TrainSettings) -> None:
    """Raises FocusError when the views are of another recipe; warns where labels fit less well."""
    info = store.info
    if store.kind == "views":
        drawn = {AugmentSettings.renamed.get(name, name): value for name, value in info["recipe"].items()}
        made = {"size": info["size"], "augment": True, **drawn}
        changed = [name for name in made if made[name] != getattr(settings, name)]
        if changed:
            words = ", ".join(f"{name} was {made[name]}, now {getattr(settings, name)}" for name in changed)
            raise FocusError(
                f"the views in {store.folder} were labelled with another recipe ({words}): "
                "train with that one, or label again"
            )
    if info["temperature"] not in (None, settings.temperature):
        warn(
            f"the labels keep {info['top']} of {len(info['classes'])} classes for training at temperature "
            f"{info['temperature']:g}, not {settings.temperature:g}"
        )

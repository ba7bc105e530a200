"""Which windows and images of an index make up a detection dataset. No image is opened to decide it."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.images import Box
from focusdd.extraction.geometry import cell_edges
from focusdd.extraction.index import from_bytes
from focusdd.selection.focus import drawn
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import Objects
from focusdd.tasks.detect.objects import ObjectTable
from focusdd.tasks.detect.packing import Shelves
from focusdd.tasks.detect.scenes import Place, Scenes, Tile, fitted, place_objects, scene_name
from focusdd.tasks.detect.windows import object_window

PATIENCE = 8  # windows in a row that find no room before a canvas counts as full
_LEAST_SIDE = 1 / 8  # of the canvas: the smallest window of layout pack
WITH_INDEX = ("focus", "selection")  # methods that choose among what the extractor found


def quotas(settings: DetectDistillSettings, num_images: int, num_classes: int) -> list[int]:
    """Distilled images for each class.

    Raises:
        FocusError: two of ipc, budget and ratio, or fewer images than classes.
    """
    given = [name for name in ("ipc", "budget", "ratio") if getattr(settings, name) is not None]
    if len(given) > 1:
        raise FocusError(f"--{given[0]} and --{given[1]} both say how many images there shall be: give one")
    if settings.ipc is not None:
        return [settings.ipc] * num_classes
    total = settings.budget or max(1, round((settings.ratio or 0) * num_images))
    if total < num_classes:
        raise FocusError(f"{total} images are fewer than the {num_classes} classes: use a larger budget")
    return [total // num_classes + (label < total % num_classes) for label in range(num_classes)]


def focus_scenes(table: ObjectTable, settings: DetectDistillSettings) -> Scenes:
    """Windows around objects of each class at full resolution, beside views of whole images that hold it.

    Every window comes from another object as long as there are enough, and from another image than the rest
    of its distilled image.
    """
    classes = table.index.classes
    score = table.realism(settings)
    image_of = table.image_of
    tiles: list[Tile] = []
    refused, short = 0, []
    wanted = quotas(settings, len(table.keys), len(classes))
    with progress("select", sum(wanted), "images") as advance:
        for label, folder in enumerate(classes):
            mine = np.flatnonzero((table.all.labels == label) & ~table.all.ignored)
            if not len(mine):
                short.append(folder)
                continue
            rng = np.random.default_rng([settings.seed, 12, label])
            order = drawn(mine, score, settings.keep, wanted[label] * settings.grid**2, rng)
            # the images whose objects are used last come first as views
            ranks = {image: rank for rank, image in enumerate(image_of[order].tolist())}
            views = sorted(ranks, key=lambda image: -ranks[image])
            filler = _Filler(table, settings, score, image_of, order.tolist(), views)
            for number in range(wanted[label]):
                tiles += filler.canvas(scene_name(folder, number), label)
                advance(1, "")
            refused += filler.refused
            if filler.repeated:
                short.append(folder)
    return Scenes(tuple(tiles), refused, tuple(short))


class _Filler:
    """Fills one canvas after the other with what one class has."""

    def __init__(
        self,
        table: ObjectTable,
        settings: DetectDistillSettings,
        score: np.ndarray,
        image_of: np.ndarray,
        order: list[int],
        views: list[int],
    ) -> None:
        self.table, self.settings, self.score, self.image_of = table, settings, score, image_of
        self.objects, self.waiting = order, deque(order)
        self.images, self.views = views, deque(views)
        self.refused = 0
        self.repeated = False
        edges = cell_edges(settings.size, settings.grid)
        self.cells = [
            (edges[column], edges[row], edges[column + 1], edges[row + 1])
            for row in range(settings.grid)
            for column in range(settings.grid)
        ]
        self.side = settings.size // settings.grid
        if settings.views >= len(self.cells) + (settings.layout == "pack"):
            raise FocusError(
                f"{settings.views} views leave no room for patches on a {settings.grid} x {settings.grid} "
                "grid: use fewer --views"
            )

    def canvas(self, name: str, label: int) -> list[Tile]:
        """The tiles of one distilled image."""
        used: set[int] = set()
        if self.settings.layout == "grid":
            num_patches = len(self.cells) - self.settings.views
            tiles = [self._patch(name, label, used, cell) for cell in self.cells[:num_patches]]
            tiles += [self._view(name, label, used, cell) for cell in self.cells[num_patches:]]
            return [tile for tile in tiles if tile is not None]
        shelves, tiles = Shelves(self.settings.size), []
        for _ in range(self.settings.views):
            space = shelves.put(self.side, self.side)
            if space is not None:
                tiles.append(self._view(name, label, used, space))
        failures: list[int] = []
        while len(failures) < PATIENCE:
            row = self._next(used)
            if row is None:
                break
            window = self._window(row, _LEAST_SIDE * self.settings.size)
            space = shelves.put(*self._extent(window))
            if space is None:
                failures.append(row)
            elif (tile := self._tile(name, label, row, window, space)) is not None:
                used.add(int(self.image_of[row]))
                tiles.append(tile)
        self.waiting.extendleft(reversed(failures))
        return [tile for tile in tiles if tile is not None]

    def _next(self, used: set[int]) -> int | None:
        """The next object from an image that is not used yet; all objects again once they are used up."""
        if not self.waiting:
            if not self.objects:
                return None
            self.repeated = True
            self.waiting.extend(self.objects)
        for _ in range(len(self.waiting)):
            row = self.waiting.popleft()
            if int(self.image_of[row]) not in used:
                return row
            self.waiting.append(row)
        return None

    def _patch(self, name: str, label: int, used: set[int], cell: Place) -> Tile | None:
        while (row := self._next(used)) is not None:
            window = self._window(row, self.side / self.settings.max_upsample)
            tile = self._tile(name, label, row, window, fitted(window, cell))
            if tile is not None:
                used.add(int(self.image_of[row]))
                return tile
        return None

    def _window(self, row: int, least: float) -> Box:
        table, image = self.table, int(self.image_of[row])
        width, height = (int(value) for value in table.sizes[image])
        return object_window(
            table.of(image).boxes,
            row - int(table.starts[image]),
            (width, height),
            from_bytes(table.attention[image : image + 1])[0],
            least,
            self.side,
            self.settings.context,
            self.settings.grow,
            self.settings.visible,
        )

    def _extent(self, window: Box) -> tuple[int, int]:
        """Width and height of a window on the canvas: its own, less where there would be no room beside a
        view."""
        width, height = window[2] - window[0], window[3] - window[1]
        scale = min(1.0, self.side / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _tile(self, name: str, label: int, row: int, window: Box, place: Place) -> Tile | None:
        """The tile around an object; None, and the object is out, where it cannot be shown with its label."""
        settings, image = self.settings, int(self.image_of[row])
        placed = place_objects(self.table.of(image), window, place, settings.visible, settings.min_size)
        target = int(self.table.all.ids[row])
        if placed is None or not any(one.id == target and one.kept for one in placed):
            self.refused += 1
            self.objects = [other for other in self.objects if other != row]
            return None
        width, height = (int(value) for value in self.table.sizes[image])
        return Tile(name, label, "patch", self.table.keys[image], window, place, width, height,
                    float(self.score[row]), target, placed)  # fmt: skip

    def _view(self, name: str, label: int, used: set[int], space: Place) -> Tile | None:
        for _ in range(2 * len(self.images)):
            if not self.views:
                self.repeated = True
                self.views.extend(self.images)
            image = self.views.popleft()
            if image in used:
                continue
            width, height = (int(value) for value in self.table.sizes[image])
            tile = whole_tile(name, label, "view", self.table.keys[image], (width, height),
                              self.table.of(image), space, self.settings)  # fmt: skip
            if tile is not None:
                used.add(image)
                return tile
            self.refused += 1
            self.images = [other for other in self.images if other != image]
            if not self.images:
                return None
        return None


def whole_tile(
    name: str,
    label: int,
    kind: Literal["view", "whole"],
    key: str,
    size: tuple[int, int],
    objects: Objects,
    space: Place,
    settings: DetectDistillSettings,
    score: float = math.nan,
) -> Tile | None:
    """A whole image fitted into a space of the canvas; None where masks would hide too much."""
    window = (0.0, 0.0, float(size[0]), float(size[1]))
    place = fitted(window, space)
    placed = place_objects(objects, window, place, settings.visible, settings.min_size)
    if placed is None:
        return None
    return Tile(name, label, kind, key, window, place, *size, score, -1, placed)


def selected_scenes(table: ObjectTable, settings: DetectDistillSettings) -> Scenes:
    """The whole images that hold the most realistic objects of each class."""
    score = table.realism(settings)
    image_of, canvas = table.image_of, (0, 0, settings.size, settings.size)
    tiles: list[Tile] = []
    refused, short, taken = 0, [], set()
    wanted = quotas(settings, len(table.keys), len(table.index.classes))
    for label, folder in enumerate(table.index.classes):
        mine = np.flatnonzero((table.all.labels == label) & ~table.all.ignored)
        left = wanted[label]
        for row in mine[np.argsort(-score[mine], kind="stable")]:
            image = int(image_of[row])
            if not left or image in taken:
                continue
            size = (int(table.sizes[image, 0]), int(table.sizes[image, 1]))
            name = scene_name(folder, wanted[label] - left)
            realism = float(score[row])
            tile = whole_tile(
                name, label, "whole", table.keys[image], size, table.of(image), canvas, settings, realism
            )
            if tile is None:
                refused += 1
                continue
            taken.add(image)
            tiles.append(tile)
            left -= 1
        if left:
            short.append(folder)
    return Scenes(tuple(tiles), refused, tuple(short))

"""Which windows and images of an index make up a detection dataset. No image is opened to decide it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.images import Box
from focusdd.extraction.geometry import cell_edges
from focusdd.extraction.index import from_bytes
from focusdd.selection.focus import drawn
from focusdd.settings import ObjectSettings
from focusdd.sources.base import Objects
from focusdd.tasks.detect.objects import ObjectTable
from focusdd.tasks.detect.packing import Canvas
from focusdd.tasks.detect.scale import draw_zooms, view_scale, window_scales
from focusdd.tasks.detect.scenes import (
    Place,
    Scenes,
    Tile,
    fitted,
    place_objects,
    scene_name,
    sides,
    whole_window,
)
from focusdd.tasks.detect.windows import lattice_extents, object_window

PATIENCE = 24  # windows in a row that find no room before a canvas counts as full
_UNITS = 8  # per side of the canvas: windows of layout pack have whole ones and leave few gaps
_SHRINK = 1.25  # what a window may be shrunk by so as to need fewer units
_LEAST_CELL = 32  # pixels
WITH_INDEX = ("focus", "selection")  # methods that choose among what the extractor found


def quotas(settings: ObjectSettings, num_images: int, class_counts: Sequence[int]) -> list[int]:
    """Distilled images for each class; none for a class without objects.

    Args:
        num_images: of the source.
        class_counts: objects of every class in the source.

    Raises:
        FocusError: two of ipc, budget and ratio, or fewer images than classes.
    """
    given = [name for name in ("ipc", "budget", "ratio") if getattr(settings, name) is not None]
    if len(given) > 1:
        raise FocusError(f"--{given[0]} and --{given[1]} both say how many images there shall be: give one")
    there = [label for label, count in enumerate(class_counts) if count]
    if settings.ipc is not None:
        total = settings.ipc * len(there)
    else:
        total = settings.budget or max(1, round((settings.ratio or 0) * num_images))
    if total < len(there):
        raise FocusError(
            f"{total} images are fewer than the {len(there)} classes with objects: use a larger budget"
        )
    shares = [0] * len(class_counts)
    for place, label in enumerate(there):
        shares[label] = total // len(there) + (place < total % len(there))
    return shares


def check_layout(settings: ObjectSettings, size: int) -> None:
    """Raises FocusError where the settings of method focus leave no room for windows."""
    if settings.method != "focus":
        return
    if size // settings.grid < _LEAST_CELL:
        raise FocusError(
            f"a {settings.grid} x {settings.grid} grid on {size} px makes tiles under {_LEAST_CELL} px: "
            "use a smaller --grid or a larger --size"
        )
    if settings.views >= settings.grid**2 + (settings.layout == "pack"):
        raise FocusError(
            f"{settings.views} views leave no room for patches on a {settings.grid} x {settings.grid} "
            "grid: use fewer --views"
        )


def focus_scenes(table: ObjectTable, settings: ObjectSettings, size: int, wanted: Sequence[int]) -> Scenes:
    """Windows around objects of each class, beside views of whole images that hold it.

    Windows are drawn at the scale of validation, times a zoom. Every window comes from another object as long
    as there are enough, and from another image than the rest of its distilled image. What a class cannot fill
    because none of its objects can be shown goes to the other classes.

    Args:
        size: side of a distilled image in pixels.
        wanted: distilled images for each class.
    """
    score, image_of = table.realism(settings), table.image_of
    tiles: list[Tile] = []
    fillers: list[_Filler] = []
    with progress("select", sum(wanted), "images") as advance:

        def fill(filler: _Filler, count: int) -> int:
            """How many of so many canvases could be filled."""
            for number in range(count):
                if not (made := filler.canvas()):
                    return number
                tiles.extend(made)
                advance(1, "")
            return count

        missing = 0
        for label, count in enumerate(wanted):
            if count:
                fillers.append(_Filler(table, settings, size, score, image_of, label, count))
                missing += count - fill(fillers[-1], count)
        able = deque(filler for filler in fillers if filler.number)
        while missing and able:
            if fill(able[0], 1):
                missing -= 1
                able.rotate(-1)
            else:
                able.popleft()
    return Scenes(
        tuple(tiles),
        sum(filler.refused for filler in fillers),
        tuple(filler.folder for filler in fillers if filler.repeated),
        tuple(filler.folder for filler in fillers if not filler.number),
    )


class _Filler:
    """Fills one canvas after the other with what one class has."""

    def __init__(
        self,
        table: ObjectTable,
        settings: ObjectSettings,
        size: int,
        score: np.ndarray,
        image_of: np.ndarray,
        label: int,
        count: int,
    ) -> None:
        self.table, self.settings, self.size = table, settings, size
        self.score, self.image_of, self.label = score, image_of, label
        self.folder = table.index.classes[label]
        self.rng = np.random.default_rng([settings.seed, 12, label])
        mine = np.flatnonzero((table.all.labels == label) & ~table.all.ignored)
        order = drawn(mine, score, settings.keep, count * settings.grid**2, self.rng).tolist()
        self.objects = dict.fromkeys(order)
        self.waiting: deque[tuple[int, float]] = deque()
        # the images whose objects are used last come first as views
        ranks = {image: rank for rank, image in enumerate(image_of[order].tolist())}
        self.views = deque(sorted(ranks, key=lambda image: -ranks[image]))
        self.shown: set[tuple[str, int]] = set()
        self.repeated = False
        self.number = self.refused = 0

    def canvas(self) -> list[Tile]:
        """The tiles of one distilled image; none when nothing of the class can be shown."""
        fill = self._grid if self.settings.layout == "grid" else self._pack
        tiles = fill(scene_name(self.folder, self.number), set())
        if not any(tile.kind == "patch" for tile in tiles):
            return []
        targets = {(tile.key, tile.target) for tile in tiles if tile.kind == "patch"}
        self.repeated |= not targets.isdisjoint(self.shown)
        self.shown |= targets
        self.number += 1
        return tiles

    def _grid(self, name: str, used: set[str]) -> list[Tile]:
        rows = list(pairwise(cell_edges(self.size, self.settings.grid)))
        cells = [(left, top, right, bottom) for top, bottom in rows for left, right in rows]
        tiles: list[Tile] = []
        for number, cell in enumerate(cells, 1):
            tile = None
            if number > len(cells) - self.settings.views:
                tile = self._view(name, used, partial(_within, cell))
            else:
                while tile is None and (candidate := self._next(used)) is not None:
                    window, _, _ = self._window(candidate, cell[2] - cell[0])
                    tile = self._patch(name, candidate[0], window, fitted(window, cell))
            if tile is not None:
                used.add(tile.key)
                tiles.append(tile)
        return tiles

    def _pack(self, name: str, used: set[str]) -> list[Tile]:
        """The first window has the whole canvas, then come views, then windows that fit beside them."""
        canvas, tiles, unit = Canvas(self.size), list[Tile](), self.size // _UNITS

        def add(tile: Tile | None) -> None:
            if tile is not None:
                # up to whole units: what is left of one would be a strip that nothing fits
                left, top, right, bottom = tile.place
                canvas.take((left, top, -(-right // unit) * unit, -(-bottom // unit) * unit))
                used.add(tile.key)
                tiles.append(tile)

        failures: list[tuple[int, float]] = []
        while len(failures) < PATIENCE and (self.waiting or not failures):
            if (candidate := self._next(used)) is None:
                break
            window, scale, least = self._window(candidate)
            place = canvas.find(sides(np.array(window)) * scale, least / scale)
            if place is None:
                failures.append(candidate)
                continue
            add(self._patch(name, candidate[0], window, place))
            if len(tiles) == 1:
                for _ in range(self.settings.views):
                    add(self._view(name, used, canvas.find))
        self.waiting.extendleft(reversed(failures))
        return tiles

    def _next(self, used: set[str]) -> tuple[int, float] | None:
        """The next object, with its zoom, from an image that is not used yet; all again once used up."""
        if not self.waiting:
            zooms = draw_zooms(len(self.objects), self.settings.mix, self.rng)
            self.waiting.extend(zip(self.objects, zooms, strict=True))
        for _ in range(len(self.waiting)):
            row, zoom = self.waiting.popleft()
            if self.table.keys[self.image_of[row]] not in used:
                return row, zoom
            self.waiting.append((row, zoom))
        return None

    def _window(self, candidate: tuple[int, float], cell: int | None = None) -> tuple[Box, float, float]:
        """The window around an object, and the scales that are wanted for it and possible.

        Args:
            cell: side of the place it gets, canvas pixels; default: what it needs.
        """
        (row, zoom), table, settings = candidate, self.table, self.settings
        image = int(self.image_of[row])
        size, boxes, target = table.size(image), table.of(image).boxes, row - int(table.starts[image])
        own = sides(boxes[target])
        need = own + 2 * settings.context * own.max()
        scale, least = window_scales(zoom, own, size, self.size, settings)
        if cell is None:
            unit = self.size // _UNITS
            units = np.ceil(need * scale / (unit * _SHRINK))
            scale = max(scale * min(1.0, float((units * unit / (need * scale)).min())), least)
            extents = lattice_extents(need * scale, unit, self.size, settings.grow) / scale
        else:
            side = max(cell / scale, need.max())
            extents = side * np.array([[1.0], [settings.grow]]) * np.ones(2)
        attention = from_bytes(table.attention[image : image + 1])[0]
        window = object_window(boxes, target, size, attention, extents, settings.context, settings.visible)
        return window, scale, least

    def _patch(self, name: str, row: int, window: Box, place: Place) -> Tile | None:
        """A window around an object; None, and the object is out, where it cannot be shown with its label."""
        table, image = self.table, int(self.image_of[row])
        tile = patch_tile(name, self.label, table.keys[image], table.size(image), table.of(image),
                          row - int(table.starts[image]), window, place, self.settings,
                          float(self.score[row]))  # fmt: skip
        if tile is None:
            self.refused += 1
            del self.objects[row]
        return tile

    def _view(self, name: str, used: set[str], find: Callable[[np.ndarray], Place | None]) -> Tile | None:
        """A whole image where `find` has a place for its extent."""
        table, settings = self.table, self.settings
        for _ in range(len(self.views)):
            image = self.views[0]
            self.views.rotate(-1)
            if table.keys[image] in used:
                continue
            size, objects = table.size(image), table.of(image)
            scale = view_scale(objects.boxes[~objects.ignored], size, self.size, settings)
            place = find(np.array(size) * scale)
            if place is None:
                return None
            tile = whole_tile(name, self.label, "view", table.keys[image], size, objects, place, settings)
            if tile is not None:
                return tile
            self.refused += 1
            self.views.pop()
        return None


def _within(cell: Place, extent: np.ndarray) -> Place:
    return fitted((0.0, 0.0, *extent.tolist()), cell)


def patch_tile(
    name: str,
    label: int,
    key: str,
    size: tuple[int, int],
    objects: Objects,
    row: int,
    window: Box,
    place: Place,
    settings: ObjectSettings,
    score: float = math.nan,
) -> Tile | None:
    """A window around one of the objects at its place; None where this cannot be shown with its label."""
    placed = place_objects(objects, window, place, settings.visible, settings.min_size)
    target = int(objects.ids[row])
    if placed is None or not any(one.id == target and one.kept for one in placed):
        return None
    return Tile(name, label, "patch", key, window, place, *size, score, target, placed)


def whole_tile(
    name: str,
    label: int,
    kind: Literal["view", "whole"],
    key: str,
    size: tuple[int, int],
    objects: Objects,
    place: Place,
    settings: ObjectSettings,
    score: float = math.nan,
) -> Tile | None:
    """A whole image at its place; None where masks would hide too much.

    A view keeps half of the labels of its image, any other image one.
    """
    window = whole_window(*size)
    placed = place_objects(objects, window, place, settings.visible, settings.min_size)
    if placed is None:
        return None
    least = (~objects.ignored).sum() / 2 if kind == "view" else min(1, (~objects.ignored).sum())
    if sum(one.kept for one in placed) < least:
        return None
    return Tile(name, label, kind, key, window, place, *size, score, -1, placed)


def selected_scenes(table: ObjectTable, settings: ObjectSettings, size: int, wanted: Sequence[int]) -> Scenes:
    """The whole images that hold the most realistic objects of each class.

    What a class cannot fill goes to the images with the most realistic objects of any.
    """
    score, image_of, classes = table.realism(settings), table.image_of, table.index.classes
    order = np.argsort(-score, kind="stable")
    order = order[~table.all.ignored[order]]
    tiles: list[Tile] = []
    tried: set[int] = set()
    lacking: list[str] = []
    refused = 0

    def fill(rows: np.ndarray, label: int, stem: str, count: int) -> int:
        """How many of so many images were found."""
        nonlocal refused
        found = 0
        for row in rows:
            image = int(image_of[row])
            if found == count:
                break
            if image in tried:
                continue
            tried.add(image)
            own = table.size(image)
            place = fitted(whole_window(*own), (0, 0, size, size))
            tile = whole_tile(scene_name(stem, found), label, "whole", table.keys[image], own,
                              table.of(image), place, settings, float(score[row]))  # fmt: skip
            if tile is None:
                refused += 1
                continue
            tiles.append(tile)
            found += 1
        return found

    missing = 0
    for label, count in enumerate(wanted):
        found = fill(order[table.all.labels[order] == label], label, classes[label], count)
        missing += count - found
        if not found and count:
            lacking.append(classes[label])
    fill(order, -1, "any", missing)
    return Scenes(tuple(tiles), refused, (), tuple(lacking))

"""Fills distilled images, one after the other, with windows around the objects of one class and views."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from focusdd.core.images import Box
from focusdd.extraction.geometry import cell_edges
from focusdd.extraction.index import from_bytes
from focusdd.selection.focus import draw_order
from focusdd.settings import ObjectSettings
from focusdd.tasks.detect.rows import ObjectTable
from focusdd.tasks.detect.scale import draw_mixes, view_scale, window_scales
from focusdd.tasks.detect.scenes import Place, Tile, fitted, make_tile, scene_name, sides
from focusdd.tasks.detect.windows import lattice_extents, object_window

PATIENCE = 24  # windows in a row that find no room before a canvas counts as full
_UNITS = 8  # per side of the canvas: windows of layout pack have whole ones and leave few gaps
_SHRINK = 1.25  # what a window may be shrunk by so as to need fewer units

_Candidate = tuple[int, float]
"""Row of an object, and where its zoom is between the smallest and the largest."""


class Filler:
    """Fills one canvas after the other with what one class has."""

    def __init__(
        self,
        table: ObjectTable,
        settings: ObjectSettings,
        size: int,
        score: np.ndarray,
        label: int,
        wanted: int,
    ) -> None:
        self.table, self.settings, self.size = table, settings, size
        self.score, self.label, self.wanted = score, label, wanted
        self.folder = table.index.classes[label]
        self.rng = np.random.default_rng([settings.seed, 12, label])
        mine = np.flatnonzero((table.all.labels == label) & ~table.all.ignored)
        order = draw_order(mine, score, settings.keep, wanted * settings.grid**2, self.rng)
        self.objects = dict.fromkeys(order.tolist())
        self.waiting: deque[_Candidate] = deque()
        # the images whose objects are used last come first as views
        ranks = {image: rank for rank, image in enumerate(table.image_of[order].tolist())}
        self.views = deque(sorted(ranks, key=lambda image: -ranks[image]))
        self.shown: set[tuple[str, int]] = set()
        self.repeated = False
        self.number = self.refused = 0

    def canvas(self) -> list[Tile]:
        """The tiles of one distilled image; none when nothing of the class can be shown."""
        fill = self._grid if self.settings.layout == "grid" else self._pack
        tiles = fill(scene_name(self.folder, self.number))
        targets = {(tile.key, tile.target) for tile in tiles if tile.kind == "patch"}
        if not targets:
            return []
        self.repeated |= not targets.isdisjoint(self.shown)
        self.shown |= targets
        self.number += 1
        return tiles

    def _grid(self, name: str) -> list[Tile]:
        edges = list(pairwise(cell_edges(self.size, self.settings.grid)))
        cells = [(left, top, right, bottom) for top, bottom in edges for left, right in edges]
        tiles: list[Tile] = []
        for number, cell in enumerate(cells, 1):
            tile = None
            if number > len(cells) - self.settings.views:
                tile = self._view(name, tiles, partial(_within, cell))
            else:
                while tile is None and (candidate := self._next(tiles)) is not None:
                    window, _, _ = self._window(candidate, cell[2] - cell[0])
                    tile = self._patch(name, candidate[0], window, fitted(window, cell))
            tiles += [tile] if tile is not None else []
        return tiles

    def _pack(self, name: str) -> list[Tile]:
        """The first window has the whole canvas, then come views, then windows that fit beside them."""
        canvas, tiles, unit = Canvas(self.size), list[Tile](), self.size // _UNITS

        def add(tile: Tile | None) -> None:
            if tile is not None:
                # up to whole units: what is left of one would be a strip that nothing fits
                left, top, right, bottom = tile.place
                canvas.take((left, top, -(-right // unit) * unit, -(-bottom // unit) * unit))
                tiles.append(tile)

        failures: list[_Candidate] = []
        while len(failures) < PATIENCE and (self.waiting or not failures):
            if (candidate := self._next(tiles)) is None:
                break
            window, scale, least = self._window(candidate)
            place = canvas.find(sides(np.array(window)) * scale, least / scale)
            if place is None:
                failures.append(candidate)
                continue
            add(self._patch(name, candidate[0], window, place))
            if len(tiles) == 1:
                for _ in range(self.settings.views):
                    add(self._view(name, tiles, canvas.find))
        self.waiting.extendleft(reversed(failures))
        return tiles

    def _next(self, tiles: list[Tile]) -> _Candidate | None:
        """The next object, from an image that no tile shows yet; all again once used up."""
        if not self.waiting:
            self.waiting.extend(zip(self.objects, draw_mixes(len(self.objects), self.rng), strict=True))
        used = {tile.key for tile in tiles}
        for _ in range(len(self.waiting)):
            candidate = self.waiting.popleft()
            if self.table.keys[self.table.image_of[candidate[0]]] not in used:
                return candidate
            self.waiting.append(candidate)
        return None

    def _window(self, candidate: _Candidate, cell: int | None = None) -> tuple[Box, float, float]:
        """The window around an object, and the scales that are wanted for it and possible.

        Args:
            cell: side of the place it gets, canvas pixels; default: what it needs.
        """
        (row, mix), table, settings = candidate, self.table, self.settings
        image = int(table.image_of[row])
        original, target = table.original(image), row - int(table.starts[image])
        boxes, size = original.objects.boxes, original.size
        own = sides(boxes[target])
        need = own + 2 * settings.context * own.max()
        scale, least = window_scales(mix, own, size, self.size, settings)
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
        table, image = self.table, int(self.table.image_of[row])
        tile = make_tile(name, self.label, "patch", table.original(image), window, place, self.settings,
                         row - int(table.starts[image]), float(self.score[row]))  # fmt: skip
        if tile is None:
            self.refused += 1
            del self.objects[row]
        return tile

    def _view(self, name: str, tiles: list[Tile], find: Callable[[np.ndarray], Place | None]) -> Tile | None:
        """A whole image that no tile shows yet, where `find` has a place for its extent."""
        used = {tile.key for tile in tiles}
        for _ in range(len(self.views)):
            original = self.table.original(self.views[0])
            self.views.rotate(-1)
            if original.key in used:
                continue
            objects = original.objects
            scale = view_scale(objects.boxes[~objects.ignored], original.size, self.size, self.settings)
            place = find(np.array(original.size) * scale)
            if place is None:
                return None
            tile = make_tile(name, self.label, "view", original, original.window, place, self.settings)
            if tile is not None:
                return tile
            self.refused += 1
            self.views.pop()
        return None


def _within(cell: Place, extent: np.ndarray) -> Place:
    return fitted((0.0, 0.0, *extent.tolist()), cell)


class Canvas:
    """A square canvas and what is free of it: the largest free rectangles, which overlap.

    Maximal rectangles by best short side fit: J. Jylänki, A Thousand Ways to Pack the Bin, 2010.
    """

    def __init__(self, size: int) -> None:
        self.free: list[Place] = [(0, 0, size, size)]

    def find(self, extent: np.ndarray, least: float = 1.0) -> Place | None:
        """A free place for a rectangle, or for what it is when it is shrunk as little as needed.

        Where the whole rectangle fits, it is the place where that leaves the narrowest strip.

        Args:
            extent: (2,) width and height.
            least: smallest factor that it may be shrunk by.

        Returns:
            None without room.
        """
        width, height = extent.tolist()
        best: tuple[float, ...] = (-least + 1e-9,)
        for left, top, right, bottom in self.free:
            scale = min(1.0, (right - left) / width, (bottom - top) / height)
            strip = min(right - left - width, bottom - top - height) if scale == 1 else 0
            best = min(best, (-scale, strip, top, left))
        if len(best) == 1:
            return None
        scale, _, top, left = -best[0], *map(int, best[1:])
        return left, top, left + max(1, round(width * scale)), top + max(1, round(height * scale))

    def take(self, place: Place) -> None:
        """Replaces every free rectangle that a place touches by what is left of it on each side."""
        left, top, right, bottom = place
        parts: dict[Place, None] = {}
        for x0, y0, x1, y1 in self.free:
            if x0 >= right or x1 <= left or y0 >= bottom or y1 <= top:
                parts[x0, y0, x1, y1] = None
                continue
            sides = ((x0, y0, left, y1), (right, y0, x1, y1), (x0, y0, x1, top), (x0, bottom, x1, y1))
            parts |= dict.fromkeys(side for side in sides if side[0] < side[2] and side[1] < side[3])
        self.free = [part for part in parts if not any(_holds(o, part) for o in parts if o != part)]


def _holds(outer: Place, inner: Place) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]

"""Other ways to make a distilled detection dataset: images and objects at random, or all images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from focusdd.core.console import progress
from focusdd.core.images import Box, UnreadableImage, decode
from focusdd.settings import DetectDistillSettings, ObjectSettings
from focusdd.sources.base import DetectionSource, Objects
from focusdd.tasks.detect.fill import PATIENCE
from focusdd.tasks.detect.packing import Canvas
from focusdd.tasks.detect.scale import draw_zooms, window_scales
from focusdd.tasks.detect.scenes import Scenes, Tile, fitted, scene_name, sides, whole_window
from focusdd.tasks.detect.tiles import patch_tile, whole_tile

_TIGHT = 0.05  # surroundings of an object that is pasted, as a share of its longer side


def random_scenes(source: DetectionSource, settings: DetectDistillSettings, size: int, count: int) -> Scenes:
    """Whole images at random, one to a canvas of side `size`; method full takes all instead of `count`."""
    wanted = len(source.records) if settings.method == "full" else count
    tiles: list[Tile] = []
    refused = 0
    reader = _Reader(source, settings.seed)
    with progress("select", wanted, "images") as advance:
        for key, own, objects in reader.images(0):
            if len(tiles) == wanted:
                break
            name = scene_name(settings.method, len(tiles))
            place = fitted(whole_window(*own), (0, 0, size, size))
            tile = whole_tile(name, -1, "whole", key, own, objects, place, settings)
            if tile is None:
                refused += 1
                continue
            tiles.append(tile)
            advance(1, "")
    return Scenes(tuple(tiles), refused, skipped=reader.skipped())


def pasted_scenes(source: DetectionSource, settings: ObjectSettings, size: int, count: int) -> Scenes:
    """Random objects, cut out with next to no surroundings, side by side: no attention, no views.

    They are drawn at the scale of focus, one of an image in every round through the source.
    """
    tiles: list[Tile] = []
    reader = _Reader(source, settings.seed, again=True)
    canvas = Canvas(size)
    refused: set[tuple[str, int]] = set()
    number = failures = rounds = 0
    found = True
    with progress("select", count, "images") as advance:
        while found and number < count:
            found = False
            for key, own, objects in reader.images(rounds):
                good = [row for row in np.flatnonzero(~objects.ignored) if (key, int(row)) not in refused]
                if number == count:
                    break
                if not good:
                    continue
                found = True
                rng = np.random.default_rng([settings.seed, 14, len(tiles), number])
                row = int(rng.choice(good))
                window, zoom = _tight(objects.boxes[row], own), draw_zooms(1, settings.mix, rng)[0]
                scale, least = window_scales(zoom, sides(objects.boxes[row]), own, size, settings)
                place = canvas.find(sides(np.array(window)) * scale, least / scale)
                if place is None:
                    failures += 1
                    if failures == PATIENCE:
                        number, failures, canvas = number + 1, 0, Canvas(size)
                        advance(1, "")
                    continue
                name = scene_name("paste", number)
                tile = patch_tile(name, -1, key, own, objects, row, window, place, settings)
                if tile is None:
                    refused.add((key, row))
                else:
                    canvas.take(place)
                    tiles.append(tile)
            rounds += 1
    return Scenes(tuple(tiles), len(refused), skipped=reader.skipped())


def _tight(box: np.ndarray, own: tuple[int, int]) -> Box:
    """The window of an object with next to no surroundings."""
    margin = _TIGHT * sides(box).max()
    low, high = np.maximum(box[:2] - margin, 0), np.minimum(box[2:] + margin, own)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


class _Reader:
    """Reads a source in random orders and remembers what cannot be read."""

    def __init__(self, source: DetectionSource, seed: int, again: bool = False) -> None:
        """`again`: there is more than one round, so what was read is kept."""
        self.source, self.seed, self.again = source, seed, again
        self._known: dict[str, tuple[tuple[int, int], Objects]] = {}
        self._failed: dict[str, str] = {}

    def images(self, number: int) -> Iterator[tuple[str, tuple[int, int], Objects]]:
        """Every readable image once, with its size and objects, in the order of a round."""
        for row in np.random.default_rng([self.seed, 13, number]).permutation(len(self.source.records)):
            key = self.source.records[row].key
            if key in self._failed:
                continue
            try:
                found = self._known.get(key) or self._read(key)
            except UnreadableImage as error:
                self._failed[key] = str(error)
                continue
            if self.again:
                self._known[key] = found
            yield key, *found

    def _read(self, key: str) -> tuple[tuple[int, int], Objects]:
        _, width, height = decode(self.source.read(key), least_side=1)
        return (width, height), self.source.objects(key, width, height)

    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Images that could not be read: (key, reason)."""
        return tuple(sorted(self._failed.items()))

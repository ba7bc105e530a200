"""Other ways to make a distilled detection dataset: images and objects at random, or all images."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import DetectionSource, Objects
from focusdd.tasks.detect.packing import Shelves
from focusdd.tasks.detect.scenes import Scenes, Tile, place_objects, scene_name
from focusdd.tasks.detect.select import PATIENCE, quotas, whole_tile

_TIGHT = 0.05  # surroundings of an object that is pasted, as a share of its longer side


def random_scenes(source: DetectionSource, settings: DetectDistillSettings) -> Scenes:
    """Whole images at random, or all of them for method full, one to a canvas."""
    wanted = len(source.records)
    if settings.method == "random":
        wanted = min(wanted, sum(quotas(settings, wanted, len(source.classes))))
    canvas = (0, 0, settings.size, settings.size)
    tiles: list[Tile] = []
    refused = 0
    with progress("select", wanted, "images") as advance:
        for key, size, objects in _at_random(source, settings):
            if len(tiles) == wanted:
                break
            name = scene_name(settings.method, len(tiles))
            tile = whole_tile(name, -1, "whole", key, size, objects, canvas, settings)
            if tile is None:
                refused += 1
                continue
            tiles.append(tile)
            advance(1, "")
    return Scenes(tuple(tiles), refused)


def pasted_scenes(source: DetectionSource, settings: DetectDistillSettings) -> Scenes:
    """Random objects, cut out with next to no surroundings, side by side: no attention, no views."""
    wanted = sum(quotas(settings, len(source.records), len(source.classes)))
    tiles: list[Tile] = []
    refused, canvas = 0, Shelves(settings.size)
    number = failures = 0
    for key, size, objects in _at_random(source, settings, again=True):
        if number == wanted:
            break
        rng = np.random.default_rng([settings.seed, 14, len(tiles), number])
        good = np.flatnonzero(~objects.ignored)
        if not len(good):
            continue
        target = int(rng.choice(good))
        box = objects.boxes[target]
        margin = _TIGHT * (box[2:] - box[:2]).max()
        ends = np.array(size, float)
        low, high = np.maximum(box[:2] - margin, 0), np.minimum(box[2:] + margin, ends)
        window = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        scale = min(1.0, settings.size / settings.grid / float((high - low).max()))
        extent = (
            max(1, round(float(high[0] - low[0]) * scale)),
            max(1, round(float(high[1] - low[1]) * scale)),
        )
        place = canvas.put(*extent)
        if place is None:
            failures += 1
            if failures == PATIENCE:
                number, failures, canvas = number + 1, 0, Shelves(settings.size)
            continue
        placed = place_objects(objects, window, place, settings.visible, settings.min_size)
        if placed is None:
            refused += 1
            continue
        tiles.append(
            Tile(
                scene_name(settings.method, number),
                -1,
                "patch",
                key,
                window,
                place,
                *size,
                math.nan,
                int(objects.ids[target]),
                placed,
            )
        )
    return Scenes(tuple(tiles), refused)


def _at_random(
    source: DetectionSource, settings: DetectDistillSettings, again: bool = False
) -> Iterator[tuple[str, tuple[int, int], Objects]]:
    """Readable images in random order with their size and objects; without end if `again`."""
    rounds = 0
    while rounds == 0 or again:
        order = np.random.default_rng([settings.seed, 13, rounds]).permutation(len(source.records))
        found = False
        for row in order:
            key = source.records[row].key
            try:
                _, width, height = decode(source.read(key), least_side=1)
                objects = source.objects(key, width, height)
            except UnreadableImage:
                continue
            found = found or len(objects.boxes) > 0
            yield key, (width, height), objects
        if not found:
            raise FocusError(f"no image of {source.name} holds an object")
        rounds += 1

"""Other ways to make a distilled detection dataset: images and objects at random, or all images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from focusdd.core.console import progress
from focusdd.core.images import UnreadableImage, decode
from focusdd.settings import ObjectSettings
from focusdd.sources.base import DetectionSource
from focusdd.tasks.detect.fill import PATIENCE
from focusdd.tasks.detect.packing import Canvas
from focusdd.tasks.detect.scale import draw_zooms, window_scales
from focusdd.tasks.detect.scenes import Original, Scenes, Tile, fitted, make_tile, scene_name, sides

_TIGHT = 0.05  # surroundings of an object that is pasted, as a share of its longer side


def random_scenes(source: DetectionSource, settings: ObjectSettings, size: int, count: int) -> Scenes:
    """Whole images at random, one to a canvas of side `size`; method full takes all instead of `count`."""
    wanted = len(source.records) if settings.method == "full" else count
    tiles: list[Tile] = []
    skipped: dict[str, str] = {}
    refused = 0
    with progress("select", wanted, "images") as advance:
        for original in _originals(source, settings.seed, 0, {}, skipped):
            if len(tiles) == wanted:
                break
            name, window = scene_name(settings.method, len(tiles)), original.window
            place = fitted(window, (0, 0, size, size))
            tile = make_tile(name, -1, "whole", original, window, place, settings)
            if tile is None:
                refused += 1
                continue
            tiles.append(tile)
            advance(1, "")
    return Scenes(tuple(tiles), refused, skipped=tuple(sorted(skipped.items())))


def pasted_scenes(source: DetectionSource, settings: ObjectSettings, size: int, count: int) -> Scenes:
    """Random objects, cut out with next to no surroundings, side by side: no attention, no views.

    They are drawn at the scale of focus, one of an image in every round through the source.
    """
    tiles: list[Tile] = []
    known: dict[str, Original] = {}
    skipped: dict[str, str] = {}
    refused: set[tuple[str, int]] = set()
    canvas = Canvas(size)
    number = failures = rounds = 0
    found = True
    with progress("select", count, "images") as advance:
        while found and number < count:
            found = False
            for original in _originals(source, settings.seed, rounds, known, skipped):
                key, objects = original.key, original.objects
                good = [row for row in np.flatnonzero(~objects.ignored) if (key, int(row)) not in refused]
                if number == count:
                    break
                if not good:
                    continue
                found = True
                rng = np.random.default_rng([settings.seed, 14, len(tiles), number])
                row = int(rng.choice(good))
                box, zoom = objects.boxes[row], draw_zooms(1, settings.mix, rng)[0]
                scale, least = window_scales(zoom, sides(box), original.size, size, settings)
                margin = _TIGHT * sides(box).max()
                window = np.clip(box + margin * np.array([-1, -1, 1, 1]), 0, [*original.size] * 2)
                place = canvas.find(sides(window) * scale, least / scale)
                if place is None:
                    failures += 1
                    if failures == PATIENCE:
                        number, failures, canvas = number + 1, 0, Canvas(size)
                        advance(1, "")
                    continue
                name = scene_name("paste", number)
                tile = make_tile(name, -1, "patch", original, tuple(window.tolist()), place, settings, row)
                if tile is None:
                    refused.add((key, row))
                else:
                    canvas.take(place)
                    tiles.append(tile)
            rounds += 1
    return Scenes(tuple(tiles), len(refused), skipped=tuple(sorted(skipped.items())))


def _originals(
    source: DetectionSource, seed: int, number: int, known: dict[str, Original], skipped: dict[str, str]
) -> Iterator[Original]:
    """Every readable image once, in the order of a round.

    Args:
        number: of the round. Later ones take images from `known`, where the first puts them.
        skipped: gets what cannot be read, with the reason.
    """
    for row in np.random.default_rng([seed, 13, number]).permutation(len(source.records)):
        key = source.records[row].key
        if key not in known and key not in skipped:
            try:
                _, width, height = decode(source.read(key), least_side=1)
                known[key] = Original(key, width, height, source.objects(key, width, height))
            except UnreadableImage as error:
                skipped[key] = str(error)
        if key in known:
            yield known[key]

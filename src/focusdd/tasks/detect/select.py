"""Which windows and images make up a detection dataset, by each method; with an index no image is opened."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.core.spelling import number_of
from focusdd.settings import ObjectSettings
from focusdd.sources.base import DetectionSource
from focusdd.tasks.detect.fill import PATIENCE, Canvas, Filler
from focusdd.tasks.detect.rows import ObjectTable
from focusdd.tasks.detect.scale import draw_mixes, window_scales
from focusdd.tasks.detect.scenes import Original, Scenes, Tile, fitted, make_tile, scene_name, sides

_TIGHT = 0.05  # surroundings of an object that is pasted, as a share of its longer side


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
            f"{number_of(total, 'image is', 'images are')} fewer than the {len(there)} classes with objects: "
            "use a larger budget"
        )
    shares = [0] * len(class_counts)
    for place, label in enumerate(there):
        shares[label] = total // len(there) + (place < total % len(there))
    return shares


def focus_scenes(table: ObjectTable, settings: ObjectSettings, size: int, wanted: Sequence[int]) -> Scenes:
    """Windows around objects of each class, beside views of whole images that hold it.

    Windows are drawn at the scale of validation, times a zoom. Every window comes from another object as long
    as there are enough, and from another image than the rest of its distilled image. What a class cannot fill
    because none of its objects can be shown goes to the other classes.

    Args:
        size: side of a distilled image in pixels.
        wanted: distilled images for each class.
    """
    score = table.realism(settings)
    fillers = [
        Filler(table, settings, size, score, label, count) for label, count in enumerate(wanted) if count
    ]
    tiles: list[Tile] = []
    with progress("select", sum(wanted), "images") as advance:

        def fill(filler: Filler) -> bool:
            """Whether one more canvas could be filled."""
            made = filler.canvas()
            tiles.extend(made)
            advance(bool(made), "")
            return bool(made)

        for filler in fillers:
            while filler.number < filler.wanted and fill(filler):
                pass
        able = deque(filler for filler in fillers if filler.number)
        while able and sum(filler.number for filler in fillers) < sum(wanted):
            if fill(able[0]):
                able.rotate(-1)
            else:
                able.popleft()
    return Scenes(
        tuple(tiles),
        sum(filler.refused for filler in fillers),
        tuple(filler.folder for filler in fillers if filler.repeated),
        tuple(filler.folder for filler in fillers if not filler.number),
    )


def selected_scenes(table: ObjectTable, settings: ObjectSettings, size: int, wanted: Sequence[int]) -> Scenes:
    """The whole images that hold the most realistic objects of each class.

    What a class cannot fill goes to the images with the most realistic objects of any.
    """
    score = table.realism(settings)
    order = np.argsort(-score, kind="stable")
    order = order[~table.all.ignored[order]]
    tiles: list[Tile] = []
    tried: set[int] = set()
    refused = 0

    def fill(rows: np.ndarray, label: int, stem: str, count: int) -> int:
        """How many of so many images were found."""
        nonlocal refused
        found = 0
        for row, image in zip(rows.tolist(), table.image_of[rows].tolist(), strict=True):
            if found == count:
                break
            if image in tried:
                continue
            tried.add(image)
            name = scene_name(stem, found)
            tile = _whole(name, label, table.original(image), settings, size, float(score[row]))
            if tile is None:
                refused += 1
                continue
            tiles.append(tile)
            found += 1
        return found

    classes = table.index.classes
    found = [
        fill(order[table.all.labels[order] == label], label, classes[label], count)
        for label, count in enumerate(wanted)
    ]
    fill(order, -1, "any", sum(wanted) - sum(found))
    lacking = (name for name, count, made in zip(classes, wanted, found, strict=True) if count and not made)
    return Scenes(tuple(tiles), refused, (), tuple(lacking))


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
            tile = _whole(scene_name(settings.method, len(tiles)), -1, original, settings, size)
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
                box, mix = objects.boxes[row], draw_mixes(1, rng)[0]
                scale, least = window_scales(mix, sides(box), original.size, size, settings)
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


def _whole(
    name: str, label: int, original: Original, settings: ObjectSettings, size: int, score: float = math.nan
) -> Tile | None:
    """A whole image on a canvas of its own."""
    place = fitted(original.window, (0, 0, size, size))
    return make_tile(name, label, "whole", original, original.window, place, settings, score=score)


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

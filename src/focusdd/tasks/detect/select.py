"""Which windows and images of an index make up a detection dataset. No image is opened to decide it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.settings import ObjectSettings
from focusdd.tasks.detect.fill import Filler
from focusdd.tasks.detect.objects import ObjectTable
from focusdd.tasks.detect.scenes import Scenes, Tile, fitted, make_tile, scene_name

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
            original, name = table.original(image), scene_name(stem, found)
            place = fitted(original.window, (0, 0, size, size))
            tile = make_tile(name, label, "whole", original, original.window, place, settings,
                             score=float(score[row]))  # fmt: skip
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

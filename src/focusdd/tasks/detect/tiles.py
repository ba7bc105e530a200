"""Tiles of a plan: windows around objects, and whole images, where they can be shown with their labels."""

from __future__ import annotations

import math
from typing import Literal

from focusdd.core.images import Box
from focusdd.settings import ObjectSettings
from focusdd.sources.base import Objects
from focusdd.tasks.detect.scenes import Place, Tile, place_objects, whole_window


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

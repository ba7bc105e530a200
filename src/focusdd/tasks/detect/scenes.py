"""The plan of a detection dataset: windows of originals, their places on the canvas, and all objects in them.

A distilled image is a square canvas. A tile shows a window of an original, scaled to its place; an object
whose box is kept goes with it, any other that would be visible is masked. All boxes are half-open, in pixels:
windows and source boxes of the original upright image, places and boxes of the canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from focusdd.core.images import Box
from focusdd.selection.plan import Piece, Tiles
from focusdd.settings import ObjectSettings
from focusdd.sources.base import Objects

Place = tuple[int, int, int, int]
"""(left, top, right, bottom) in canvas pixels."""

_MOST_HIDDEN = 0.1  # of a labelled object by the mask of another
_MOST_MASKED = 0.5  # of a tile
_EDGES, _PLACE = ("x0", "y0", "x1", "y1"), ("left", "top", "right", "bottom")

OBJECT = pa.struct(
    [
        ("id", pa.int64()),  # in the source
        ("label", pa.int32()),
        *((f"source_{name}", pa.float64()) for name in _EDGES),  # whole box, original pixels
        *((name, pa.float64()) for name in _EDGES),  # visible box, canvas pixels
        ("visible", pa.float64()),  # share of the whole box
        ("kept", pa.bool_()),  # else masked
    ]
)
SCHEMA = pa.schema(
    [
        ("image", pa.string()),  # distilled image, without suffix
        ("label", pa.int32()),  # class that it was made for, -1 for none
        ("kind", pa.string()),  # patch, view or whole
        ("key", pa.string()),  # source image
        *((name, pa.float64()) for name in _EDGES),  # window, original pixels
        *((name, pa.int32()) for name in _PLACE),  # place, canvas pixels
        ("width", pa.int32()),  # of the source image
        ("height", pa.int32()),
        ("score", pa.float64()),  # realism of the object or image it was chosen for
        ("target", pa.int64()),  # id of that object, -1 for none
        ("objects", pa.list_(OBJECT)),
        ("hash", pa.string()),  # of the source image's file
    ]
)


class Original(NamedTuple):
    """A source image with all of its objects."""

    key: str
    width: int
    height: int
    objects: Objects

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def window(self) -> Box:
        """The window that shows all of it."""
        return 0.0, 0.0, float(self.width), float(self.height)


class Placed(NamedTuple):
    """An object in a tile."""

    id: int
    label: int
    source: Box
    box: Box
    visible: float
    kept: bool


@dataclass(frozen=True)
class Tile(Piece):
    """A window of an original on the canvas."""

    image: str
    label: int
    place: Place
    target: int
    objects: tuple[Placed, ...]
    hash: str = ""


@dataclass(frozen=True)
class Scenes(Tiles):
    """What will be composed for detection."""

    tiles: tuple[Tile, ...]
    refused: int = 0
    """Windows and images not taken, because a mask would have hidden a labelled object or too much."""
    short: tuple[str, ...] = ()
    """Classes whose objects are shown more than once."""
    lacking: tuple[str, ...] = ()
    """Classes of which nothing can be shown, so that others got their images."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Images that cannot be read: (key, reason)."""

    def table(self) -> pa.Table:
        """The plan as a table, one row per tile."""
        names = [field.name for field in OBJECT]
        rows = [
            vars(tile)
            | dict(zip((*_EDGES, *_PLACE), (*tile.box, *tile.place), strict=True))
            | {
                "objects": [
                    dict(zip(names, (*one[:2], *one.source, *one.box, *one[4:]), strict=True))
                    for one in tile.objects
                ]
            }
            for tile in self.tiles
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> Scenes:
        """The inverse of `table` of the tiles alone."""

        def placed(row: dict[str, Any]) -> Placed:
            value = tuple(row.values())
            return Placed._make((*value[:2], value[2:6], value[6:10], *value[10:]))

        def tile(row: dict[str, Any]) -> Tile:
            box, place = (tuple(row.pop(name) for name in names) for names in (_EDGES, _PLACE))
            objects = tuple(placed(one) for one in row.pop("objects"))
            return Tile(box=box, place=place, objects=objects, **row)

        return cls(tuple(tile(row) for row in table.to_pylist()))


def scene_name(stem: str, number: int) -> str:
    """Name of a distilled image, without suffix."""
    return f"{stem}_{number:05d}"


def fitted(window: Box, space: Place) -> Place:
    """The largest place of the window's shape amid a space of the canvas, in whole pixels."""
    left, top, right, bottom = space
    width, height = window[2] - window[0], window[3] - window[1]
    scale = min((right - left) / width, (bottom - top) / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = left + (right - left - w) // 2, top + (bottom - top - h) // 2
    return x, y, x + w, y + h


def make_tile(
    image: str,
    label: int,
    kind: Literal["patch", "view", "whole"],
    original: Original,
    window: Box,
    place: Place,
    settings: ObjectSettings,
    row: int = -1,
    score: float = math.nan,
) -> Tile | None:
    """A window of an original at its place; None where it cannot be shown with its labels.

    A patch keeps the label of the object that it was made for, a view those of half of its objects, a whole
    image one.

    Args:
        row: the object of a patch.
    """
    objects = original.objects
    placed = place_objects(objects, window, place, settings.visible, settings.min_size)
    if placed is None:
        return None
    target = int(objects.ids[row]) if kind == "patch" else -1
    kept, there = [one.id for one in placed if one.kept], int((~objects.ignored).sum())
    enough = {"patch": target in kept, "view": 2 * len(kept) >= there, "whole": bool(kept) or not there}
    if not enough[kind]:
        return None
    return Tile(kind, original.key, window, *original.size, score, image, label, place, target, placed)


def onto(boxes: np.ndarray, window: Box, place: Place) -> np.ndarray:
    """Maps boxes (n, 4) from original pixels to the canvas, clipped to the place."""
    scale = np.array([(place[2] - place[0]) / (window[2] - window[0]),
                      (place[3] - place[1]) / (window[3] - window[1])] * 2)  # fmt: skip
    moved = (boxes - np.array([*window[:2]] * 2)) * scale + np.array([*place[:2]] * 2)
    return np.clip(moved, [*place[:2]] * 2, [*place[2:]] * 2)


def place_objects(
    objects: Objects, window: Box, place: Place, visible: float, min_size: float
) -> tuple[Placed, ...] | None:
    """The objects that a tile shows, each kept or masked.

    An object is kept when at least the share `visible` of its box is inside the window, both sides of what is
    visible have `min_size` canvas pixels, and it is not one to be ignored.

    Returns:
        None when masking the others would hide more than a tenth of a kept object, or half of the tile.
    """
    boxes = onto(objects.boxes, window, place)
    shown = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    boxes, source = boxes[shown], objects.boxes[shown]
    inside = np.concatenate([np.maximum(source[:, :2], window[:2]), np.minimum(source[:, 2:], window[2:])], 1)
    share = areas(inside) / areas(source)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (share >= visible - 1e-9) & (sides.min(1, initial=np.inf) >= min_size) & ~objects.ignored[shown]
    if _hides(boxes[kept], mask_boxes(boxes[~kept], place), place):
        return None
    return tuple(
        Placed(
            int(objects.ids[at]), int(objects.labels[at]), tuple(whole), tuple(box), float(part), bool(keep)
        )
        for at, whole, box, part, keep in zip(
            shown, source.tolist(), boxes.tolist(), share, kept, strict=True
        )
    )


def mask_boxes(boxes: np.ndarray, place: Place) -> np.ndarray:
    """Whole-pixel boxes (n, 4) that cover all that is visible of boxes on the canvas, inside the place."""
    whole = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], 1)
    return np.clip(whole, [*place[:2]] * 2, [*place[2:]] * 2).astype(np.int64)


def sides(boxes: np.ndarray) -> np.ndarray:
    """Width and height (..., 2) of boxes (..., 4)."""
    return boxes[..., 2:] - boxes[..., :2]


def areas(boxes: np.ndarray) -> np.ndarray:
    """Square pixels of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _hides(kept: np.ndarray, masks: np.ndarray, place: Place) -> bool:
    if not len(masks):
        return False
    if areas(masks).sum() > _MOST_MASKED * areas(np.array(place)):
        return True
    for box in kept:
        shared = np.concatenate([np.maximum(masks[:, :2], box[:2]), np.minimum(masks[:, 2:], box[2:])], 1)
        hidden = np.clip(shared[:, 2:] - shared[:, :2], 0, None).prod(1).sum()
        if hidden > _MOST_HIDDEN * areas(box):
            return True
    return False

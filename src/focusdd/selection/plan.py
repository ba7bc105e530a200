"""The plan: the table of tiles that compose executes, and the provenance of every pixel afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, Self

import pyarrow as pa

from focusdd.core.errors import FocusError
from focusdd.core.images import Box

Kind = Literal["patch", "view", "crop", "whole"]

_EDGES = ("x0", "y0", "x1", "y1")
SCHEMA = pa.schema(
    [
        ("image", pa.string()),  # distilled image: "<class>/<class>_<n>"
        ("label", pa.int32()),
        ("row", pa.int32()),  # cell of the grid
        ("column", pa.int32()),
        ("kind", pa.string()),  # patch, view, crop (rded) or whole (random)
        ("key", pa.string()),  # source image
        *((name, pa.float64()) for name in _EDGES),  # half-open, original pixels
        ("width", pa.int32()),  # of the source image
        ("height", pa.int32()),
        ("score", pa.float64()),  # what it was chosen by: realism, or minus the teacher's loss
        ("hash", pa.string()),  # of the source image's file
    ]
)


@dataclass(frozen=True)
class Piece:
    """A part of a source image that fills a cell of a distilled image."""

    kind: Kind
    key: str
    box: Box
    width: int
    height: int
    score: float


@dataclass(frozen=True)
class Tile(Piece):
    """One cell of a distilled image, with the piece in it."""

    image: str
    label: int
    row: int
    column: int
    hash: str = ""
    """Of the source image's file; empty where nobody looked."""


class Tiles:
    """What will be composed: tiles in order, image by image."""

    tiles: tuple[Any, ...]

    def images(self) -> Iterator[tuple[str, list[Any]]]:
        """The distilled images with their tiles."""
        for image, tiles in groupby(self.tiles, key=lambda tile: tile.image):
            yield image, list(tiles)

    def with_hashes(self, hashes: dict[str, str]) -> Self:
        """The same tiles, each with the hash of its source image."""
        tiles = tuple(replace(tile, hash=hashes[tile.key]) for tile in self.tiles)
        return replace(self, tiles=tiles)  # type: ignore[type-var]  # a dataclass


@dataclass(frozen=True)
class Plan(Tiles):
    """What will be composed for classification."""

    grid: int
    """Tiles per side."""
    tiles: tuple[Tile, ...]
    short: tuple[str, ...] = ()
    """Classes with fewer images than tiles, whose images are used more than once."""

    def table(self) -> pa.Table:
        """The plan as a table, one row per tile."""
        rows = [vars(tile) | dict(zip(_EDGES, tile.box, strict=True)) for tile in self.tiles]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> Plan:
        """The inverse of `table` (`short` is not kept)."""
        tiles = tuple(Tile(box=tuple(row.pop(name) for name in _EDGES), **row) for row in table.to_pylist())
        return cls(1 + max(tile.row for tile in tiles), tiles)


def lay_out(
    classes: Sequence[str], images: Sequence[Sequence[Sequence[Piece]]], grid: int
) -> tuple[Tile, ...]:
    """Tiles of distilled images, cell by cell, from the pieces of each image of each class."""
    return tuple(
        Tile(
            **vars(piece), image=image_name(folder, number), label=label, row=cell // grid, column=cell % grid
        )
        for label, (folder, mine) in enumerate(zip(classes, images, strict=True))
        for number, pieces in enumerate(mine)
        for cell, piece in enumerate(pieces)
    )


def no_image(class_folder: str) -> FocusError:
    """The sentence for a class with nothing to show."""
    return FocusError(f"class {class_folder} has no readable image: add one, or remove the class")


def image_name(class_folder: str, number: int) -> str:
    """Name of a distilled image, without suffix."""
    # a file's name has 255 bytes at most
    short = class_folder.encode()[:200].decode(errors="ignore")
    return f"{class_folder}/{short}_{number:05d}"

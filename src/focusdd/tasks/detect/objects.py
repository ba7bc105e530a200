"""All objects of a source as a table, from an index: what select works on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from focusdd.extraction.index import Index
from focusdd.settings import ObjectSettings
from focusdd.sources.base import Objects
from focusdd.tasks.detect.scenes import Original
from focusdd.tasks.detect.windows import relative_size, whole


@dataclass(frozen=True)
class ObjectTable:
    """Objects (m,) of images (n,), in the order of the source."""

    index: Index
    keys: list[str]
    sizes: np.ndarray
    """(n, 2) width and height."""
    starts: np.ndarray
    """(n + 1,): image i has the objects starts[i] to starts[i + 1]."""
    all: Objects
    mass: np.ndarray
    confidence: np.ndarray
    attention: np.ndarray
    """uint8 (n, h, w)."""

    @cached_property
    def image_of(self) -> np.ndarray:
        """(m,) the image of every object."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.starts))

    def original(self, image: int) -> Original:
        """One image with its objects."""
        rows = slice(self.starts[image], self.starts[image + 1])
        width, height = self.sizes[image].tolist()
        return Original(self.keys[image], width, height, Objects(*(values[rows] for values in self.all)))

    def realism(self, settings: ObjectSettings) -> np.ndarray:
        """realism = confidence^a * mass^b * size^c * whole^d of every object (m,), between 0 and 1."""
        sizes = self.sizes[self.image_of]
        return (
            self.confidence**settings.confidence_power
            * np.clip(self.mass, 0, 1) ** settings.mass_power
            * relative_size(self.all.boxes, sizes) ** settings.size_power
            * whole(self.all.boxes, sizes) ** settings.whole_power
        )


def object_table(index: Index) -> ObjectTable:
    """Reads the objects of an index of a source with boxes."""
    rows = index.table(["key", "width", "height", "attention", "objects"])
    lists = rows.column("objects").combine_chunks()
    flat = lists.flatten()
    column = {field.name: flat.field(field.name).to_numpy(zero_copy_only=False) for field in flat.type.fields}
    boxes = np.stack([column[name] for name in ("x0", "y0", "x1", "y1")], 1).astype(np.float64)
    h, w = index.info["grid"]
    grids = np.frombuffer(b"".join(rows.column("attention").to_pylist()), np.uint8)
    return ObjectTable(
        index,
        rows.column("key").to_pylist(),
        np.stack([rows.column(name).to_numpy() for name in ("width", "height")], 1),
        np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())]),
        Objects(boxes, column["label"], column["ignored"], column["id"]),
        column["mass"].astype(np.float64),
        column["confidence"].astype(np.float64),
        grids.reshape(-1, h, w),
    )

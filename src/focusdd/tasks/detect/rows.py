"""What a row of the index of a source with boxes holds: attention, and what it says of every object.

The confidence in an object comes from a probe on the tokens inside its box, so one pass over the images is
all there is, and any backbone will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from focusdd.core.console import say
from focusdd.core.errors import FocusError
from focusdd.core.spelling import number_of
from focusdd.extraction.attention import ViT
from focusdd.extraction.geometry import margins, token_cover
from focusdd.extraction.index import Index, read_notes, write_part
from focusdd.extraction.inference import DecodedImage, Inference, read_images
from focusdd.extraction.probe import Judged, judge_parts
from focusdd.models.load import Model
from focusdd.settings import ExtractorSettings, ObjectSettings
from focusdd.sources.base import DetectionSource, Objects
from focusdd.tasks.base import Extracted, Extraction
from focusdd.tasks.detect.scenes import Original
from focusdd.tasks.detect.windows import relative_size, whole

OBJECT = pa.struct(
    [
        ("id", pa.int64()),  # in the source
        ("label", pa.int32()),
        *((name, pa.float32()) for name in ("x0", "y0", "x1", "y1")),  # half-open, original pixels
        ("ignored", pa.bool_()),  # a crowd, or marked difficult
        ("mass", pa.float32()),  # share of the class attention inside the box
        ("confidence", pa.float32()),  # probability of the object's own label
        ("predicted", pa.int32()),  # index of the most probable class, -1 where nobody judged
    ]
)
_COLUMNS = [
    ("key", pa.string()),
    ("hash", pa.string()),  # of the encoded file
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("attention", pa.binary()),  # uint8 grid, row by row, 255 = its maximum
    ("objects", pa.list_(OBJECT)),
    ("features", pa.binary()),  # float16 (objects, d): mean token inside each box
]


def _inference(source: DetectionSource, model: Model, vit: ViT, settings: ExtractorSettings) -> Inference:
    rows = partial(_rows, model=model, vit=vit, settings=settings)
    size = int(model.net.num_features)  # type: ignore[arg-type]
    fields = pa.schema([*_COLUMNS, ("feature", pa.list_(pa.float16(), size))])  # pooled, of the image
    return Inference(source, model.input_size, settings, fields, rows, model.device, source.objects)


@torch.inference_mode()
def _rows(images: list[DecodedImage], model: Model, vit: ViT, settings: ExtractorSettings) -> dict[str, Any]:
    """One batch through the ViT: the columns of its rows."""
    grids, tokens, columns = read_images(images, model, vit, settings)
    maps = tokens[:, -grids[0].size :].float().cpu().numpy()  # class and register tokens come first
    objects, features = [], []
    for one, attention, tokens_of in zip(images, grids, maps, strict=True):
        notes: Objects = one.notes
        shares = notes.boxes / np.array([one.width, one.height] * 2)
        mass = (token_cover(shares, attention.shape) * attention).sum((1, 2))
        objects.append(_objects(notes, mass))
        before = np.array(margins(one.width, one.height, settings.resize) * 2)
        cover = token_cover(shares * (1 - 2 * before) + before, attention.shape).reshape(
            len(shares), attention.size
        )
        cover /= np.maximum(cover.sum(1, keepdims=True), 1e-12)
        features.append((cover.astype(np.float32) @ tokens_of).astype(np.float16).tobytes())
    return columns | {"objects": objects, "features": features}


def _objects(notes: Objects, mass: np.ndarray) -> list[dict[str, Any]]:
    columns = {
        "id": notes.ids,
        "label": notes.labels,
        **dict(zip(("x0", "y0", "x1", "y1"), notes.boxes.T, strict=True)),
        "ignored": notes.ignored,
        "mass": mass,
        "confidence": np.full(len(mass), np.nan),
        "predicted": np.full(len(mass), -1),
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _finish(
    out: Path, source: DetectionSource, model: Model, settings: ExtractorSettings, skipped: list[list[str]]
) -> Extracted:
    """Fills in the probe's confidence in every object.

    Classes with a single object, and sources with a single class, have nothing to be told apart by: their
    objects get the confidence of chance.
    """
    parts = Index(out, {}).parts()
    flat = [_lists(part).flatten() for part in parts]
    labels, ignored = (
        np.concatenate([one.field(name).to_numpy(zero_copy_only=False) for one in flat])
        for name in ("label", "ignored")
    )
    if ignored.all():
        reason = (
            f"; the first of {number_of(len(skipped), 'skipped image')}: {skipped[0][1]}" if skipped else ""
        )
        raise FocusError(f"no image of {source.name} holds an object to learn{reason}")
    labels, num_classes = np.where(ignored, -1, labels), len(source.classes)
    judging = judge_parts(labels, num_classes, [*map(len, flat)], lambda number: _features(parts[number]))
    predicted = []
    for part, judged in zip(parts, judging, strict=True):
        predicted.append(judged.predicted)
        _rewrite(part, judged)
    found = np.concatenate(predicted)
    total, accuracy = int((found >= 0).sum()), 1.0
    if total:
        accuracy = round(int((found == labels)[found >= 0].sum()) / total, 4)
        objects = number_of(total, "object")
        say(f"probe on the extractor's tokens: {accuracy:.1%} top-1 on {objects} of {source.name}")
    else:
        say(f"{source.name} has a single class with several objects: no probe, every object counts alike")
    counts = {
        "images": sum(pq.read_metadata(part).num_rows for part in parts),
        "objects": int((~ignored).sum()),
        "skipped": len(skipped),
    }
    facts = {
        "class_counts": np.bincount(labels[~ignored], minlength=num_classes).tolist(),
        "problems": [list(item) for item in source.problems],
    }
    return Extracted("probe" if total else "", accuracy, counts, facts)


def _lists(part: Path) -> pa.ListArray:
    """The objects of every image of a part."""
    return pq.read_table(part, columns=["objects"]).column("objects").combine_chunks()


def _features(part: Path) -> np.ndarray:
    """Features float32 (objects, d) of a part that has objects."""
    data = b"".join(pq.read_table(part, columns=["features"]).column("features").to_pylist())
    return np.frombuffer(data, np.float16).reshape(len(_lists(part).flatten()), -1).astype(np.float32)


def _rewrite(part: Path, judged: Judged) -> None:
    table, lists = pq.read_table(part), _lists(part)
    flat = lists.flatten()
    values = [*(flat.field(field.name) for field in OBJECT)][:-2] + [pa.array(column) for column in judged]
    filled = pa.ListArray.from_arrays(lists.offsets, pa.StructArray.from_arrays(values, fields=list(OBJECT)))
    column = table.schema.get_field_index("objects")
    write_part(part, table.set_column(column, "objects", filled), read_notes(part))


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


EXTRACTION = Extraction(
    version=4,
    settings=ExtractorSettings,
    inference=_inference,
    finish=_finish,
)

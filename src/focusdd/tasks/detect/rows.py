"""What a row of the index of a source with boxes holds: attention, and what it says of every object.

The confidence in an object comes from a probe on the tokens inside its box, so one pass over the images is
all there is, and any backbone will do.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from focusdd.core.console import say
from focusdd.core.errors import FocusError
from focusdd.extraction.attention import ViT
from focusdd.extraction.geometry import View, token_cover
from focusdd.extraction.index import Index, from_bytes, read_notes, write_part
from focusdd.extraction.inference import DecodedImage, Inference, attention_of
from focusdd.extraction.probe import Judged, judge_parts
from focusdd.models.load import Model
from focusdd.models.precision import autocast
from focusdd.settings import ExtractorSettings
from focusdd.sources.base import DetectionSource, Objects
from focusdd.tasks.base import Extracted, Extraction

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
    stored, tokens = attention_of(images, model, vit, settings)
    with autocast(model.device):
        feature = model.net.forward_head(tokens, pre_logits=True).float()  # type: ignore[operator]
    maps = tokens[:, -stored[0].size :].float().cpu().numpy()  # class and register tokens come first
    objects, features = [], []
    for one, attention, tokens_of in zip(images, from_bytes(stored), maps, strict=True):
        notes: Objects = one.notes
        shares = notes.boxes / np.array([one.width, one.height] * 2)
        mass = (token_cover(shares, attention.shape) * attention).sum((1, 2))
        objects.append(_objects(notes, mass))
        view = View.of(one.width, one.height, settings.resize)
        margins, sides = (
            np.array([view.left, view.top] * 2),
            np.array([1 - 2 * view.left, 1 - 2 * view.top] * 2),
        )
        cover = token_cover(shares * sides + margins, attention.shape).reshape(len(shares), attention.size)
        cover /= np.maximum(cover.sum(1, keepdims=True), 1e-12)
        features.append((cover.astype(np.float32) @ tokens_of).astype(np.float16).tobytes())
    return {
        "key": [one.record.key for one in images],
        "hash": [one.hash for one in images],
        "width": np.array([one.width for one in images], np.int32),
        "height": np.array([one.height for one in images], np.int32),
        "attention": [grid.tobytes() for grid in stored],
        "objects": objects,
        "features": features,
        "feature": list(feature.cpu().numpy().astype(np.float16)),
    }


def _objects(notes: Objects, mass: np.ndarray) -> list[dict[str, Any]]:
    names = ("id", "label", "x0", "y0", "x1", "y1", "ignored", "mass", "confidence", "predicted")
    return [
        dict(zip(names, (*row[:2], *row[2], *row[3:], float("nan"), -1), strict=True))
        for row in zip(
            notes.ids.tolist(),
            notes.labels.tolist(),
            notes.boxes.tolist(),
            notes.ignored.tolist(),
            mass.tolist(),
            strict=True,
        )
    ]


def _finish(
    out: Path, source: DetectionSource, model: Model, settings: ExtractorSettings, skipped: list[list[str]]
) -> Extracted:
    """Fills in the probe's confidence."""
    index = Index(out, {})
    flat = index.table(["objects"]).column("objects").combine_chunks().flatten()
    labels, ignored = (flat.field(name).to_numpy(zero_copy_only=False) for name in ("label", "ignored"))
    if ignored.all():
        reason = f"; the first of {len(skipped)} skipped images: {skipped[0][1]}" if skipped else ""
        raise FocusError(f"no image of {source.name} holds an object to learn{reason}")
    right, judged = _fill_confidence(index.parts(), labels, ignored, len(source.classes))
    images = sum(pq.read_metadata(part).num_rows for part in index.parts())
    accuracy = round(right / judged, 4) if judged else 1.0
    if judged:
        say(f"probe on the extractor's tokens: {accuracy:.1%} top-1 on {judged} objects of {source.name}")
    else:
        say(f"{source.name} has a single class with several objects: no probe, every object counts alike")
    counts = {"images": images, "objects": int((~ignored).sum()), "skipped": len(skipped)}
    facts = {
        "class_counts": np.bincount(labels[~ignored], minlength=len(source.classes)).tolist(),
        "problems": [list(item) for item in source.problems],
    }
    return Extracted("probe", accuracy, counts, facts)


def _fill_confidence(
    parts: list[Path], labels: np.ndarray, ignored: np.ndarray, num_classes: int
) -> tuple[int, int]:
    """Rewrites the parts with the confidence in every object; how many the probe got right, of how many.

    Classes with a single object, and sources with a single class, have nothing to be told apart by: their
    objects get the confidence of chance.
    """
    labels = np.where(ignored, -1, labels)
    counts = [_count(part) for part in parts]
    right = total = 0
    for part, judged, end in zip(
        parts,
        judge_parts(labels, num_classes, counts, lambda number: _features(parts[number])),
        np.cumsum(counts),
        strict=True,
    ):
        mine = labels[end - len(judged.predicted) : end]
        right += int(((judged.predicted == mine) & (mine >= 0)).sum())
        total += int((judged.predicted >= 0).sum())
        _rewrite(part, judged)
    return right, total


def _count(part: Path) -> int:
    return len(pq.read_table(part, columns=["objects"]).column("objects").combine_chunks().flatten())


def _features(part: Path) -> np.ndarray:
    """Features float32 (objects, d) of a part."""
    data = b"".join(pq.read_table(part, columns=["features"]).column("features").to_pylist())
    count = _count(part)
    return (
        np.frombuffer(data, np.float16).reshape(count, -1).astype(np.float32) if count else np.empty((0, 1))
    )


def _rewrite(part: Path, judged: Judged) -> None:
    table = pq.read_table(part)
    lists = table.column("objects").combine_chunks()
    flat = lists.flatten()
    fields = [flat.field(field.name) for field in OBJECT]
    fields[-2:] = [pa.array(values) for values in judged]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())]), pa.int32())
    filled = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, fields=list(OBJECT)))
    write_part(
        part, table.set_column(table.schema.get_field_index("objects"), "objects", filled), read_notes(part)
    )


EXTRACTION = Extraction(
    version=4,
    settings=ExtractorSettings,
    inference=_inference,
    finish=_finish,
)

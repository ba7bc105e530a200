"""Stage 1: one pass of a ViT over downsampled views of all images fills the index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from focusdd.core.console import say, warn
from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of, write_json
from focusdd.core.run_record import RunRecord
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.execute import Work
from focusdd.execute.remote import SourceName, load_same, require_shared
from focusdd.extraction.attention import ViT
from focusdd.extraction.index import Index, from_bytes, open_index, read_skipped, schema, write_part
from focusdd.extraction.inference import Pass, Seen, as_extractor, attention_of, fill_parts
from focusdd.extraction.patches import attention_area, key_patches, patch_options
from focusdd.extraction.probe import judge_parts
from focusdd.models.checks import refuse_near_chance, sample_accuracy
from focusdd.models.classes import map_classes
from focusdd.models.device import device_name, pick_device
from focusdd.models.load import Model, load_model
from focusdd.models.precision import autocast
from focusdd.settings import EngineSettings, ExtractSettings
from focusdd.settings.resolve import record, settle
from focusdd.sources import open_source
from focusdd.sources.base import Source

VERSION = 4


def extract(
    source: Source,
    out: Path | str,
    settings: ExtractSettings | None = None,
    *,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> Index:
    """Runs the extractor over every image of a source and writes the index.

    Interrupted work resumes; an index that is already complete is returned as it is.

    Args:
        engine: where the images are read; default: here.

    Raises:
        FocusError: the extractor's attention cannot be read, its accuracy on the source is near chance, no
            image can be read, or `out` holds something else.
    """
    settings = settings or ExtractSettings()
    if not settings.extractor:
        raise FocusError("no extractor: give --extractor, a ViT's checkpoint folder or timm name")
    run = RunRecord()
    model = load_model(settings.extractor, pick_device(settings.device), settings.input_size)
    vit = as_extractor(model)
    resolved = settle(settings, input_size=model.input_size)
    settings = resolved.settings
    inputs = {"source": source.fingerprint, "extractor": model.weights}

    def make(work: Workspace) -> dict[str, Any]:
        outputs = _head_outputs(model, source, settings)
        if outputs is not None:
            with run.measure("check"):
                sample_accuracy(model, outputs, source, "extractor")
        name = SourceName.of(source, open_source)
        worker = partial(_Worker, name, work.out.absolute(), work.key, settings, model.weights)
        with run.measure("extract"):
            images = fill_parts(work, _pass(source, model, vit, outputs, settings), worker, engine)
        run.note(images=images, device=device_name(model.device))
        with run.measure("finish"):
            return _finish(work, source, model, vit, outputs, settings)

    stage = Stage("extract", VERSION, resolved.key, inputs)
    return open_index(run_stage(stage, out, make, overwrite, run))


@dataclass(frozen=True)
class _Worker:
    """Reads images in another process as `extract` does in its own."""

    source: SourceName
    out: Path
    key: str
    settings: ExtractSettings
    weights: str
    shard: int

    def __call__(self) -> Work:
        require_shared(self.out, self.key)
        settings = self.settings
        model = load_same(settings.extractor, self.weights, settings.device, settings.input_size)
        source = self.source.reopen()
        outputs, vit = _head_outputs(model, source, settings), as_extractor(model)
        return _pass(source, model, vit, outputs, settings).work(self.out, self.shard)


def _pass(
    source: Source, model: Model, vit: ViT, outputs: np.ndarray | None, settings: ExtractSettings
) -> Pass:
    fields = schema(int(model.net.num_features))  # type: ignore[arg-type]
    rows = partial(_rows, model=model, vit=vit, outputs=outputs, settings=settings)
    return Pass(source, model.input_size, settings, fields, rows, model.device)


def _head_outputs(model: Model, source: Source, settings: ExtractSettings) -> np.ndarray | None:
    """The head's outputs in the order of the source's classes; None when a probe shall be used."""
    if settings.confidence == "probe":
        return None
    outputs = map_classes(model, source)
    if outputs is None and settings.confidence == "head":
        raise FocusError(
            f"the head of {model.name!r} does not know the classes of {source.name}: use --confidence probe"
        )
    return outputs


@torch.inference_mode()
def _rows(
    seen: list[Seen], model: Model, vit: ViT, outputs: np.ndarray | None, settings: ExtractSettings
) -> dict[str, Any]:
    """One batch through the ViT: the columns of its rows."""
    stored, tokens = attention_of(seen, model, vit, settings)
    with autocast(model.device):
        feature = model.net.forward_head(tokens, pre_logits=True).float()  # type: ignore[operator]
        logits = model.net.forward_head(tokens).float() if outputs is not None else None  # type: ignore[operator]
    labels = np.array([view.record.label for view in seen], np.int32)
    confidence = np.full(len(seen), np.nan, np.float32)
    predicted = np.full(len(seen), -1, np.int32)
    if logits is not None:
        probabilities = logits[:, torch.as_tensor(outputs, device=logits.device)].softmax(1).cpu().numpy()
        confidence = probabilities[np.arange(len(seen)), labels]
        predicted = probabilities.argmax(1).astype(np.int32)
    sizes = np.array([(view.width, view.height) for view in seen])
    # patches come from what is stored, so that they can be found again
    boxes, mass = key_patches(from_bytes(stored), sizes, patch_options(settings, settings.tile))
    return {
        "key": [view.record.key for view in seen],
        "label": labels,
        "hash": [view.hash for view in seen],
        "width": sizes[:, 0].astype(np.int32),
        "height": sizes[:, 1].astype(np.int32),
        "confidence": confidence,
        "predicted": predicted,
        "mass": np.minimum(mass.sum(1), 1.0).astype(np.float32),
        "area": attention_area(from_bytes(stored), settings.share).astype(np.float32),
        "patches": [
            [
                dict(zip(("x0", "y0", "x1", "y1", "mass"), (*box, share), strict=True))
                for box, share in zip(*pair, strict=True)
            ]
            for pair in zip(boxes.tolist(), mass.tolist(), strict=True)
        ],
        "attention": [grid.tobytes() for grid in stored],
        "feature": list(feature.cpu().numpy().astype(np.float16)),
    }


def _finish(
    work: Workspace,
    source: Source,
    model: Model,
    vit: ViT,
    outputs: np.ndarray | None,
    settings: ExtractSettings,
) -> dict[str, Any]:
    """Fills in the probe's confidence, collects what was skipped, writes index.json; returns the counts."""
    parts = sorted((work.out / "parts").glob("part-*.parquet"))
    skipped = [*source.skipped, *(item for part in parts for item in read_skipped(part))]
    index = Index(work.out, {})
    labels = index.table(["label"]).column("label").to_numpy()
    if not len(labels):
        raise FocusError(f"no image of {source.name} can be read; the first reason: {skipped[0][1]}")
    if outputs is None:
        _fill_confidence(parts, labels, source)
    predicted = index.table(["predicted"]).column("predicted").to_numpy()
    kind = "probe" if outputs is None else "head"
    images, accuracy = len(labels), 1.0
    if len(judged := np.flatnonzero(predicted >= 0)):
        who = f"{kind} of {model.name!r}"
        predicted, labels = predicted[judged], labels[judged]
        found = refuse_near_chance(predicted, labels, len(source.classes), who, source.name, model)
        say(f"{kind} of the extractor: {found} on {found.images} images of {source.name}")
        accuracy = round(found.top1, 4)
    info = {
        "key": work.key,
        "source": {"name": source.name, "split": source.split, "fingerprint": source.fingerprint},
        "extractor": {
            "name": model.name,
            "weights": model.weights,
            "input_size": model.input_size,
            "confidence": kind,
            "accuracy": accuracy,
        },
        "settings": record(settings),
        "grid": list(vit.grid(model.input_size, model.input_size)),
        "classes": list(source.classes),
        "class_names": list(source.class_names),
        "counts": {"images": images, "skipped": len(skipped)},
        "skipped": [list(item) for item in skipped],
        "content": hash_of(Index(work.out, {}).hashes),
    }
    write_json(work.out / "index.json", info)
    if skipped:
        name, reason = skipped[0]
        warn(f"{len(skipped)} files were skipped and listed in index.json, the first: {name} ({reason})")
    return {"images": images, "skipped": len(skipped), f"{kind} accuracy": accuracy}


def _fill_confidence(parts: list[Path], labels: np.ndarray, source: Source) -> None:
    """Rewrites the parts with the confidence of a probe on their features."""
    counts = [pq.read_metadata(part).num_rows for part in parts]
    judged = judge_parts(labels, len(source.classes), counts, lambda number: _features(parts[number]))
    for part, found in zip(parts, judged, strict=True):
        table = pq.read_table(part)
        for name, values in found._asdict().items():
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), [values])
        write_part(part, table, read_skipped(part))


def _features(part: Path) -> np.ndarray:
    """Features float16 (images, d) of a part."""
    column = pq.read_table(part, columns=["feature"]).column("feature").combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)

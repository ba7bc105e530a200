"""What a row of the index of labelled images holds: confidence, key patches, attention, a feature."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from focusdd.core.console import say, warn
from focusdd.core.errors import FocusError
from focusdd.core.spelling import number_of
from focusdd.extraction.attention import ViT
from focusdd.extraction.index import Index, contradictions, features_of, read_notes, schema, write_part
from focusdd.extraction.inference import DecodedImage, Inference, read_images
from focusdd.extraction.patches import attention_area, key_patches
from focusdd.extraction.probe import judge_parts
from focusdd.models.checks import (
    SAMPLE,
    Accuracy,
    map_classes,
    refuse_near_chance,
    sample_accuracy,
    sample_batches,
)
from focusdd.models.device import autocast
from focusdd.models.load import Model
from focusdd.settings import ExtractSettings
from focusdd.sources.base import Source
from focusdd.tasks.base import Extracted, Extraction

_PROBE_SAMPLE = 8  # images per class that a probe is first tried on


def _inference(source: Source, model: Model, vit: ViT, settings: ExtractSettings) -> Inference:
    outputs = _head_outputs(model, source, settings)
    rows = partial(_rows, model=model, vit=vit, outputs=outputs, settings=settings)
    fields = schema(int(model.net.num_features))  # type: ignore[arg-type]
    return Inference(source, model.input_size, settings, fields, rows, model.device)


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


def _check(source: Source, model: Model, settings: ExtractSettings) -> None:
    """Refuses a head, or features, that tell the classes apart no better than chance, on a sample."""
    if (outputs := _head_outputs(model, source, settings)) is not None:
        sample_accuracy(model, outputs, source, "extractor", settings.anyway)
        return
    counts = np.bincount([record.label for record in source.records], minlength=len(source.classes))
    if alone := [name for name, count in zip(source.class_names, counts, strict=True) if count == 1]:
        few = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        warn(f"a probe cannot judge classes with a single image, whose confidence is neutral: {few}")
    count = max(SAMPLE, _PROBE_SAMPLE * len(source.classes))
    if len(source.records) <= 4 * count:  # the pass itself takes little longer
        return
    features, labels = [], []
    for pixels, of_them in sample_batches(source, count, model.input_size):
        with torch.inference_mode(), autocast(model.device):
            tokens = model.net.forward_features(model.prepare(pixels))  # type: ignore[operator]
            feature = model.net.forward_head(tokens, pre_logits=True)  # type: ignore[operator]
        features.append(feature.float().cpu().numpy())
        labels.append(of_them)
    matrix, own = np.concatenate(features), np.concatenate(labels)
    (judged,) = judge_parts(own, len(source.classes), [len(own)], lambda _: matrix)
    found = _score("probe", judged.predicted, own, model, source, settings)
    if found is not None:
        say(f"probe on the extractor's features: {found} on a sample of {number_of(found.images, 'image')}")


def _score(
    kind: str,
    predicted: np.ndarray,
    labels: np.ndarray,
    model: Model,
    source: Source,
    settings: ExtractSettings,
) -> Accuracy | None:
    """Scores the rows that were judged, and refuses them near chance; None where none were."""
    if not len(judged := np.flatnonzero(predicted >= 0)):
        return None
    rows, who = (predicted[judged], labels[judged]), f"{kind} of {model.name!r}"
    return refuse_near_chance(*rows, len(source.classes), who, source.name, model, settings.anyway)


@torch.inference_mode()
def _rows(
    images: list[DecodedImage], model: Model, vit: ViT, outputs: np.ndarray | None, settings: ExtractSettings
) -> dict[str, Any]:
    """One batch through the ViT: the columns of its rows."""
    attention, tokens, columns = read_images(images, model, vit, settings)
    labels = np.array([image.record.label for image in images], np.int32)
    confidence = np.full(len(images), np.nan, np.float32)
    predicted = np.full(len(images), -1, np.int32)
    if outputs is not None:
        with autocast(model.device):
            logits = model.net.forward_head(tokens).float()  # type: ignore[operator]
        probabilities = logits[:, torch.as_tensor(outputs, device=logits.device)].softmax(1).cpu().numpy()
        confidence = probabilities[np.arange(len(images)), labels]
        predicted = probabilities.argmax(1).astype(np.int32)
    sizes = np.stack([columns["width"], columns["height"]], 1)
    boxes, mass = key_patches(attention, sizes, settings, settings.tile)
    names = ("x0", "y0", "x1", "y1", "mass")
    patches = np.concatenate([boxes, mass[..., None]], axis=2).tolist()
    return columns | {
        "label": labels,
        "confidence": confidence,
        "predicted": predicted,
        "mass": np.minimum(mass.sum(1), 1.0).astype(np.float32),
        "area": attention_area(attention, settings.share).astype(np.float32),
        "patches": [[dict(zip(names, patch, strict=True)) for patch in image] for image in patches],
    }


def _finish(
    out: Path, source: Source, model: Model, settings: ExtractSettings, skipped: list[list[str]]
) -> Extracted:
    """Fills in the probe's confidence where there is one."""
    index = Index(out, {})
    labels = index.table(["label"]).column("label").to_numpy()
    if not len(labels):
        for part in index.parts():  # nothing to go on with
            part.unlink()
        last = ": ".join(skipped[-1])
        raise FocusError(f"no image of {source.name} can be read ({last}): check that the files are whole")
    probe = _head_outputs(model, source, settings) is None
    if probe:
        _fill_confidence(index.parts(), labels, source)
    predicted = index.table(["predicted"]).column("predicted").to_numpy()
    kind = "probe" if probe else "head"
    found = _score(kind, predicted, labels, model, source, settings)
    if found is not None:
        say(f"{kind} of the extractor: {found} on {number_of(found.images, 'image')} of {source.name}")
    counts = {"images": len(labels), "skipped": len(skipped)}
    same = contradictions(index)
    if same:
        warn(
            f"{sum(map(len, same))} images are the same file under several classes, such as "
            f"{' and '.join(same[0][:2])}: all are listed in index.json, --distill.duplicates drop leaves "
            "them out"
        )
    accuracy = round(found.top1, 4) if found is not None else 1.0
    return Extracted(kind if found is not None else "", accuracy, counts, {"contradictions": same})


def _fill_confidence(parts: list[Path], labels: np.ndarray, source: Source) -> None:
    """Rewrites the parts with the confidence of a probe on their features."""
    counts = [pq.read_metadata(part).num_rows for part in parts]

    def features(number: int) -> np.ndarray:
        return features_of(pq.read_table(parts[number], columns=["feature"]))

    judged = judge_parts(labels, len(source.classes), counts, features)
    for part, found in zip(parts, judged, strict=True):
        table = pq.read_table(part)
        for name, values in found._asdict().items():
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), [values])
        write_part(part, table, read_notes(part))


EXTRACTION = Extraction(
    version=4,
    settings=ExtractSettings,
    inference=_inference,
    check=_check,
    finish=_finish,
)

"""Subsets of images with boxes, beside YOLO labels and COCO annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow.parquet as pq

from focusdd.core.errors import FocusError
from focusdd.core.files import json_text
from focusdd.extraction.index import Index
from focusdd.selection.subset import Candidates
from focusdd.sources.base import DetectionSource
from focusdd.tasks.base import OpenedImage, Subsetting
from focusdd.tasks.detect.compose import IMAGES, LABELS, Pictured, coco, yolo_label
from focusdd.tasks.detect.rows import object_table


def _candidates(source: DetectionSource, index: Index | None) -> Candidates:
    """The score of an image is the mean realism of its objects."""
    if index is None:
        keys = [record.key for record in source.records]
        score, features = np.zeros(len(keys)), None
    else:
        if "feature" not in pq.read_schema(index.parts()[0]).names:
            raise FocusError(
                f"the index {index.folder} is of an earlier version, without features of images: leave "
                "--index away to make a new one"
            )
        table = object_table(index)
        keys, good = table.keys, ~table.all.ignored
        sums = np.bincount(table.image_of[good], (table.confidence * table.mass)[good], len(keys))
        score = sums / np.maximum(np.bincount(table.image_of[good], minlength=len(keys)), 1)
        features = index.features()
    labels = [np.unique(source.labels_of(key)) for key in keys]
    rows = np.repeat(np.arange(len(keys)), [len(own) for own in labels])
    flat = np.concatenate([np.empty(0, int), *labels])
    shown = [rows[flat == label] for label in range(len(source.classes))]
    counts = np.array([len(one) for one in shown])
    groups = [own[counts[own].argmin()] if len(own) else len(counts) for own in labels]
    return Candidates(keys, shown, np.array(groups, int), score, features, several=True)


def _about(source: DetectionSource, images: Sequence[OpenedImage]) -> dict[str, str]:
    pictured = [
        Pictured.original(PurePosixPath(one.file).name, one.width, one.height, one.key, one.notes)
        for one in images
    ]
    labels = {f"{LABELS}/{PurePosixPath(image.file).stem}.txt": yolo_label(image) for image in pictured}
    return {**labels, "annotations.json": json_text(coco(pictured, source.class_names))}


SUBSETTING = Subsetting(
    _candidates,
    folder=lambda source, label: IMAGES,
    notes=lambda source, *image: source.objects(*image),
    about=_about,
)

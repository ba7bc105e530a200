"""Subsets of labelled images."""

from __future__ import annotations

import numpy as np

from focusdd.extraction.index import Index
from focusdd.selection.focus import realism
from focusdd.selection.subset import Candidates
from focusdd.sources.base import Source
from focusdd.tasks.base import Subsetting


def _candidates(source: Source, index: Index | None) -> Candidates:
    if index is None:
        keys = [record.key for record in source.records]
        labels = np.array([record.label for record in source.records])
        score, features = np.zeros(len(keys)), None
    else:
        rows = index.table(["key", "label", "confidence", "mass", "area"])
        keys, labels = rows["key"].to_pylist(), rows["label"].to_numpy()
        confidence, mass, area = (rows[name].to_numpy() for name in ("confidence", "mass", "area"))
        score = realism(confidence, mass, area, (1, 1, 0))
        features = index.features()
    shown = [np.flatnonzero(labels == label) for label in range(len(source.classes))]
    return Candidates(keys, shown, labels, score, features, several=False)


SUBSETTING = Subsetting(_candidates, folder=lambda source, label: f"train/{source.classes[label]}")

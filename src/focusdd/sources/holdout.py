"""A source without validation images, divided in two."""

from __future__ import annotations

from typing import Any

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.sources.base import Record, SourceProxy


class HeldOut(SourceProxy):
    """The training or the validation part of a source: a share of every class, drawn by a seed."""

    def __init__(self, source: Any, split: str, share: float, seed: int) -> None:
        super().__init__(source)
        self.name, self.split, self.has_val = source.name, split, True
        place = getattr(source, "place", source.name)
        self.place = f"{place}, {share:.0%} of it held out for validation by seed {seed}"
        labels = np.array([record.label for record in source.records])
        held = np.zeros(len(labels), bool)
        for label in np.unique(labels):
            mine = np.flatnonzero(labels == label)
            rng = np.random.default_rng([seed, 31, int(label) + 1])
            # of two images or more one is held out, and one is not
            count = min(max(1, round(share * len(mine))), len(mine) - 1)
            held[rng.permutation(mine)[:count]] = True
        if not held.any():
            raise FocusError(f"{self.name} has no class with two images: --holdout has nothing to divide")
        rows = np.flatnonzero(held == (split == "val"))
        self.records: tuple[Record, ...] = tuple(source.records[row] for row in rows)
        if hasattr(source, "facts_of"):
            self.class_counts, self.object_facts = source.facts_of(rows)
        else:
            self.class_counts = tuple(np.bincount(labels[rows], minlength=len(self.classes)).tolist())
        self.fingerprint = hash_of([source.fingerprint, split, share, seed])

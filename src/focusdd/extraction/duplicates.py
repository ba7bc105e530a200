"""Images with the same bytes: harmless in one class, contradictory in several."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa

from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index


def contradictions(index: Index) -> list[list[str]]:
    """Keys of images that are the same file under several classes, a list for each file."""
    rows = index.table(["key", "label", "hash"])
    keys, labels, number = rows["key"].to_pylist(), *_numbered(rows)
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(_contradictory(labels, number)).tolist():
        groups.setdefault(int(number[row]), []).append(row)
    return [[keys[row] for row in group] for group in groups.values()]


def without_duplicates(index: Index, treatment: Literal["keep", "drop", "error"]) -> Index:
    """The index as a selection shall see it.

    Args:
        treatment: "drop" leaves out what is contradictory, and of copies within a class all but the first.

    Raises:
        FocusError: there are contradictory images, and treatment is "error".
    """
    if treatment == "keep":
        return index
    labels, number = _numbered(index.table(["label", "hash"]))
    odd = _contradictory(labels, number)
    if treatment == "error":
        if odd.any():
            first = contradictions(index)[0]
            raise FocusError(
                f"{int(odd.sum())} images of {index.info['source']['name']} are the same file under several "
                f"classes, such as {' and '.join(first[:2])}: remove the wrong ones, or use --duplicates drop"
            )
        return index
    kept = np.zeros(len(number), bool)
    kept[np.unique(number, return_index=True)[1]] = True
    return replace(index, kept=kept & ~odd)


def _numbered(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,), and a number for the file of every row (n,); unknown files are all different."""
    names = [one or f"row {row}" for row, one in enumerate(rows["hash"].to_pylist())]
    return rows["label"].to_numpy(), np.unique(names, return_inverse=True)[1]


def _contradictory(labels: np.ndarray, number: np.ndarray) -> np.ndarray:
    """bool (n,): rows whose file has several labels."""
    low = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    high = np.full(len(low), -1)
    np.minimum.at(low, number, labels)
    np.maximum.at(high, number, labels)
    odd: np.ndarray = (low != high)[number]
    return odd

"""Images with the same bytes: harmless in one class, contradictory in several."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index


def contradictions(index: Index) -> list[list[str]]:
    """Keys of images that are the same file under several classes, a list for each file."""
    rows = index.table(["key", "label", "hash"])
    files = rows.group_by("hash", use_threads=False).aggregate([("label", "count_distinct"), ("key", "list")])
    several = (pc.field("label_count_distinct") > 1) & (pc.field("hash") != "")  # "" is of an unknown file
    found: list[list[str]] = files.filter(several).column("key_list").to_pylist()
    return found


def without_duplicates(index: Index, treatment: Literal["keep", "drop", "error"]) -> Index:
    """The index as a selection shall see it.

    Args:
        treatment: "drop" leaves out what is contradictory, and of copies within a class all but the first.

    Raises:
        FocusError: there are contradictory images, and treatment is "error".
    """
    if treatment == "keep":
        return index
    same = contradictions(index)
    left_out = set(chain.from_iterable(same))
    if treatment == "error":
        if same:
            raise FocusError(
                f"{len(left_out)} images of {index.info['source']['name']} are the same file under several "
                f"classes, such as {' and '.join(same[0][:2])}: remove the wrong ones, or use "
                "--duplicates drop"
            )
        return index
    seen: set[str] = set()
    kept = []
    rows = index.table(["key", "hash"])
    for key, file in zip(rows["key"].to_pylist(), rows["hash"].to_pylist(), strict=True):
        kept.append(key not in left_out and file not in seen)
        if file:
            seen.add(file)
    return replace(index, kept=np.array(kept, bool))

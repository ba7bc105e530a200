"""The index: one row per image with everything the later steps need. Parquet parts + index.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from focusdd.core.errors import FocusError
from focusdd.core.files import write_whole
from focusdd.core.finished import Finished, open_finished

_BATCH = 10_000  # rows
PATCH = pa.struct([(name, pa.float32()) for name in ("x0", "y0", "x1", "y1", "mass")])


def schema(feature_size: int) -> pa.Schema:
    """Columns of an index part. Boxes are half-open, in pixels of the original upright image."""
    return pa.schema(
        [
            ("key", pa.string()),
            ("label", pa.int32()),
            ("hash", pa.string()),  # of the encoded file
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("confidence", pa.float32()),  # probability of the image's own label
            ("predicted", pa.int32()),  # index of the most probable class
            ("mass", pa.float32()),  # share of the class attention inside the key patches
            ("area", pa.float32()),  # share of the image that holds `share` of the attention
            ("patches", pa.list_(PATCH)),
            ("attention", pa.binary()),  # uint8 grid, row by row, 255 = its maximum
            ("feature", pa.list_(pa.float16(), feature_size)),  # pooled class-token feature
        ]
    )


def write_part(path: Path, table: pa.Table, notes: dict[str, Any]) -> None:
    """Writes one shard's rows whole, with notes as metadata, such as skipped: [name, reason] each."""
    metadata = {name: json.dumps(value) for name, value in notes.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a part."""
    metadata = pq.read_schema(path).metadata or {}
    return {name.decode(): json.loads(value) for name, value in metadata.items()}


@dataclass(frozen=True)
class Index(Finished):
    """A finished index on disk."""

    kept: np.ndarray | None = None
    """bool (n,): rows that the tables have; None for all."""

    def hashes(self, keys: Iterable[str]) -> dict[str, str]:
        """The hash of the file of each of some images."""
        rows = pq.read_table(
            self.folder / "parts", columns=["key", "hash"], filters=pc.field("key").isin(list(keys))
        )
        return dict(zip(rows["key"].to_pylist(), rows["hash"].to_pylist(), strict=True))

    def content(self) -> str:
        """`hash_of` the hashes of all files by their keys, which would take 250 MB for a million images."""
        rows = self.table(["key", "hash"]).sort_by("key")
        digest, between = hashlib.sha256(b"{"), ""
        for batch in rows.to_batches(_BATCH):
            some = dict(zip(batch["key"].to_pylist(), batch["hash"].to_pylist(), strict=True))
            digest.update((between + json.dumps(some)[1:-1]).encode())
            between = ", "
        digest.update(b"}")
        return digest.hexdigest()[:16]

    def parts(self) -> list[Path]:
        """The files of rows, in the order of the source."""
        return sorted((self.folder / "parts").glob("part-*.parquet"))

    def table(self, columns: list[str]) -> pa.Table:
        """Some columns of all rows, in the order of the source."""
        rows = pq.read_table(self.folder / "parts", columns=columns)
        return rows if self.kept is None else rows.filter(pa.array(self.kept))

    def features(self) -> np.ndarray:
        """Class-token features (n, d) float16 of all rows."""
        return features_of(self.table(["feature"]))

    def attention(self, rows: pa.Table) -> np.ndarray:
        """Attention grids (n, h, w) float64, each summing to 1, of rows that have the column."""
        h, w = self.info["grid"]
        data = b"".join(rows.column("attention").to_pylist())
        return from_bytes(np.frombuffer(data, np.uint8).reshape(-1, h, w))


def features_of(rows: pa.Table) -> np.ndarray:
    """Class-token features (n, d) float16 of rows that have the column."""
    column = rows.column("feature").combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def open_index(folder: Path | str | Index) -> Index:
    """Opens an index; one that is open stays as it is.

    Raises:
        FocusError: there is none, or it is unfinished or damaged.
    """
    stages = ("extract", "* extract")
    return open_finished(Index, folder, "index.json", stages, "an index", "focusdd extract SOURCE")


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
        FocusError: there are contradictory images, and treatment is "error"; or "drop" leaves a class empty.
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
    rows = index.table(["key", "hash", "label"])
    for key, file in zip(rows["key"].to_pylist(), rows["hash"].to_pylist(), strict=True):
        kept.append(key not in left_out and file not in seen)
        if file:
            seen.add(file)
    labels, there = rows["label"].to_numpy(), np.array(kept, bool)
    if len(lost := np.setdiff1d(labels, labels[there])):
        raise FocusError(
            f"--duplicates drop leaves no image of class {index.classes[lost[0]]}: remove the wrong copies, "
            "or use --duplicates keep"
        )
    return replace(index, kept=there)


def to_bytes(attention: np.ndarray) -> np.ndarray:
    """Quantises grids (B, h, w) to uint8 with 255 at each grid's maximum."""
    return np.rint(attention / attention.max((1, 2), keepdims=True) * 255).astype(np.uint8)


def from_bytes(attention: np.ndarray) -> np.ndarray:
    """The inverse of `to_bytes` up to rounding: float64 grids that sum to 1."""
    values = attention.astype(np.float64)
    return values / values.sum((1, 2), keepdims=True)

"""Parquet image tables, as Hugging Face writes them: one row per image, its bytes in a column."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.settings.source import SourceSettings
from focusdd.sources.classes import labelled
from focusdd.sources.columns import find_columns, image_bytes, label_values
from focusdd.sources.files import File, find_files, read_names, said
from focusdd.sources.identity import listing_hash
from focusdd.sources.names import path_name

_KEPT = 256 << 20  # bytes of row groups kept in memory; always the last one, however large


class ParquetSource:
    """Tables of images: `photos/`, `photos/train-*.parquet`, `hf://datasets/<user>/<name>`."""

    def __init__(self, name: str, split: str = "train", settings: SourceSettings | None = None) -> None:
        self.name = path_name(name)
        self.split = split
        found = find_files(name, ".parquet", split)
        self.place, self.has_val = found.place, found.has_val
        self._fs, self._files = found.fs, {file.key: file for file in found.files}
        self._starts: dict[str, np.ndarray] = {}  # first row of each row group, and the number of rows
        self._groups: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()
        keys: list[str] = []
        values: list[int | str | None] = []
        names: list[str] | None = None
        groups: list[tuple[int, int]] = []
        with progress(f"list {self.name}", None, "rows") as advance:
            for number, file in enumerate(found.files):
                with self._opened(file) as table:
                    columns = find_columns(table.schema_arrow, file.path, settings)
                    if number == 0:
                        self._column, names = columns.image, columns.names
                    elif (columns.image, columns.names) != (self._column, names):
                        raise FocusError(
                            f"{file.path} has other columns or classes than {found.files[0].path}"
                        )
                    infos = [table.metadata.row_group(group) for group in range(table.num_row_groups)]
                    rows = [info.num_rows for info in infos]
                    groups += [(info.num_rows, info.total_byte_size) for info in infos]
                    self._starts[file.key] = np.cumsum([0, *rows])
                    values += label_values(table.read([columns.label]).column(0), file.path)
                keys += [f"{file.key}/{row:07d}" for row in range(sum(rows))]
                advance(sum(rows))
        names = names if names is not None else read_names(found)
        self.classes, self.class_names, labels, self.records, self.skipped = labelled(
            keys, values, names, self.name
        )
        facts = hash_of([groups, labels, self.class_names])
        self.fingerprint = listing_hash(((file.key, file.size) for file in found.files), facts)

    def read(self, key: str) -> bytes:
        name, _, row = key.rpartition("/")
        if name not in self._files or not row.isdecimal() or int(row) >= self._starts[name][-1]:
            raise FocusError(f"{self.name} has no image {key}")
        group = int(np.searchsorted(self._starts[name], int(row), side="right")) - 1
        place = int(row) - int(self._starts[name][group])
        with self._lock:  # threads mostly want the same row group: the first reads it
            cells = self._group(name, group)
        if place >= len(cells):
            raise FocusError(f"{self._files[name].path} has changed since it was listed")
        return image_bytes(cells[place].as_py())

    @contextmanager
    def _opened(self, file: File) -> Iterator[pq.ParquetFile]:
        with (
            said(file.path, "Parquet file", pa.ArrowException),
            self._fs.open(file.path, "rb") as opened,
            pq.ParquetFile(opened) as table,
        ):
            yield table

    def _group(self, name: str, group: int) -> Any:
        """The images of a row group; the ones used last stay in memory."""
        if (name, group) in self._groups:
            self._groups.move_to_end((name, group))
            return self._groups[name, group]
        file = self._files[name]
        with self._opened(file) as table:
            cells = table.read_row_group(group, columns=[self._column]).column(0)
        while self._groups and sum(kept.nbytes for kept in self._groups.values()) + cells.nbytes > _KEPT:
            self._groups.popitem(last=False)
        self._groups[name, group] = cells
        return cells

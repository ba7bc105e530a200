"""The index as others read it."""

from __future__ import annotations

import tracemalloc

import pyarrow as pa
import pytest

from focusdd.core.files import hash_of
from focusdd.extraction.index import Index, write_part

IMAGES = 60_000


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Keys in no order, beside hashes."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "parts").mkdir()
    keys = [f"n{number * 7919 % IMAGES:08d}/\u00e9-{number}.jpg" for number in range(IMAGES)]
    for part in range(3):
        some = keys[part::3]
        table = pa.table({"key": some, "hash": [f"{number:016x}" for number in range(len(some))]})
        write_part(folder / "parts" / f"part-{part:05d}.parquet", table, {})
    return Index(folder, {})


def test_hashes_are_those_of_the_keys_asked_for(index: Index) -> None:
    rows = index.table(["key", "hash"]).to_pylist()
    known = {row["key"]: row["hash"] for row in rows}
    some = [row["key"] for row in rows[::9999]]
    assert index.hashes(iter(some)) == {key: known[key] for key in some}
    assert index.content() == hash_of(known)


def test_hashes_of_many_images_are_not_held_in_memory(index: Index) -> None:
    some = index.table(["key"])["key"][:3].to_pylist()
    index.hashes(some)
    tracemalloc.start()
    try:
        index.hashes(some)
        index.content()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * IMAGES  # bytes; strings of all keys and hashes have twice as many

"""The same file under several classes is found, and treated as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index, contradictions, without_duplicates, write_part

FILES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b", "c", "d"])), min_size=1)


def index_of(folder: Path, files: list[tuple[int, str]]) -> Index:
    table = pa.table(
        {
            "key": [f"k{number}" for number in range(len(files))],
            "label": pa.array([label for label, _ in files], pa.int32()),
            "hash": [name for _, name in files],
        }
    )
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    write_part(folder / "parts" / "part-00000.parquet", table, {"skipped": []})
    return Index(folder, {"source": {"name": "photos"}, "classes": ["ant", "bee", "cat", "dog"]})


@settings(max_examples=60, deadline=None)
@given(FILES)
def test_duplicates_against_a_slow_reference(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, str]]
) -> None:
    index = index_of(tmp_path_factory.mktemp("index"), files)
    odd = {
        number
        for number, (label, name) in enumerate(files)
        if name and any(other == name and its != label for its, other in files)
    }
    assert sorted(key for group in contradictions(index) for key in group) == sorted(f"k{n}" for n in odd)
    kept = [
        f"k{number}"
        for number, (_, name) in enumerate(files)
        if number not in odd and (not name or name not in [other for _, other in files[:number]])
    ]
    if {files[int(key[1:])][0] for key in kept} == {label for label, _ in files}:
        assert without_duplicates(index, "drop").table(["key"])["key"].to_pylist() == kept
    else:
        with pytest.raises(FocusError, match=r"drop leaves no image of class .* use --duplicates keep$"):
            without_duplicates(index, "drop")
    assert without_duplicates(index, "keep") is index
    if odd:
        with pytest.raises(FocusError, match=f"^{len(odd)} images of photos .* --duplicates drop$"):
            without_duplicates(index, "error")
    else:
        assert without_duplicates(index, "error") is index


def test_groups_are_named(tmp_path: Path) -> None:
    index = index_of(tmp_path, [(0, "a"), (1, "b"), (1, "a"), (2, "a"), (1, "b"), (0, "c"), (2, "d")])
    assert contradictions(index) == [["k0", "k2", "k3"]]
    dropped = without_duplicates(index, "drop")
    assert dropped.kept is not None
    assert np.flatnonzero(dropped.kept).tolist() == [1, 5, 6]

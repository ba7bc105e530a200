"""Benchmarks that are run where time is short do not fail there for what changed here."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import gpu
import pytest


def test_the_script_for_a_gpu_runs_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, apart = tmp_path / "gpu.csv", {"together", "workers", "cost", "compile"}  # minutes, most of them
    words = ["demo:6", str(out), "--tiny", "--commit", "x", "--only", *(gpu.SECTIONS.keys() - apart)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    gpu.main()
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 15
    assert not [row for row in rows if not row["value"]]

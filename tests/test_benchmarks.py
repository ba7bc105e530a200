"""Benchmarks that are run where time is short do not fail there for what changed here."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path

import gpu
import pytest
import torch

from focusdd.models.load import load_model


def test_the_script_for_a_gpu_runs_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, apart = (
        tmp_path / "gpu.csv",
        {"together", "workers", "cost", "compile", "more steps"},
    )  # minutes, most of them
    sections = [name for name in gpu.SECTIONS if name not in apart]
    words = ["demo:6", str(out), "--tiny", "--commit", "x", "--only", *sections]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    gpu.main()
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 15
    assert not [row for row in rows if not row["value"]]


@pytest.mark.parametrize("script", sorted(path.stem for path in Path(gpu.__file__).parent.glob("*.py")))
def test_names_that_a_script_imports_are_there(script: str) -> None:
    assert importlib.import_module(script).__doc__


def test_its_extractor_can_be_loaded(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    bench = gpu.Bench("demo:1", tmp_path / "x.csv", tmp_path / "work", cpu, 0.1, 0.0, False, "x")
    assert load_model(str(gpu._extractor(bench)), cpu).input_size == 224

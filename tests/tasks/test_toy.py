"""A task of a hundred lines goes through the same extract, distill and compare as the others."""

from __future__ import annotations

import csv
from pathlib import Path

import toy

from focusdd.comparison.compare import compare
from focusdd.demo.run import WEIGHTS
from focusdd.settings import CompareSettings, DistillSettings, ExtractorSettings
from focusdd.sources import DemoSource
from focusdd.tasks.distill import distill
from focusdd.tasks.extract import extract

SOURCE = DemoSource(3)
READING = ExtractorSettings(extractor=str(WEIGHTS / "vit"), device="cpu")


def test_a_third_task_is_one_adapter(tmp_path: Path) -> None:
    index = extract(SOURCE, tmp_path / "index", READING, task=toy.TOY)
    assert index.info["task"] == "toy" and index.table(["level"])["level"].to_pylist()[0] > 0
    settings = DistillSettings(ipc=2, size=16)
    made = distill(SOURCE, tmp_path / "tiny", settings, task=toy.TOY, index=index)
    assert len(list(made.folder.glob("*/*.json"))) == 20 and made.info["method"] == "focus"


def test_it_is_compared_and_judged(tmp_path: Path, capsys) -> None:
    settings = CompareSettings(ipc=(2,), seeds=3, extractor=READING.extractor, device="cpu")
    table = compare(SOURCE, DemoSource(3, "val"), tmp_path, settings, task=toy.TOY)
    assert table.column("method").to_pylist() == ["focus", "random"] * 3
    with (tmp_path / "results.csv").open() as file:
        assert [row["level"] for row in csv.DictReader(file)] == [str(v) for v in table["level"].to_pylist()]
    said = capsys.readouterr().out
    assert "ipc 2: focus is" in said and "(3 seeds)" in said
    assert not (tmp_path / "scores.csv").exists()

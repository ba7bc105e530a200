"""The examples run as they are, on few generated images and small networks."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from focusdd.demo.run import WEIGHTS
from focusdd.sources import DemoSource
from folders import write_coco, write_photos

EXAMPLES = Path(__file__).parents[1] / "examples"
VIT, TEACHER = str(WEIGHTS / "vit"), str(WEIGHTS / "teacher")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """run(script, *words): what the script prints, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def script(name: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return script


def test_own_folder(run) -> None:
    for split, per_class in (("train", 12), ("val", 2)):
        write_photos(Path("photos"), split, per_class)
    words = "photos --out own --ipc 1 --student test_resnet --size 64 --fit-epochs 1 --epochs 1"
    said = run("own_folder.py", *words.split(), "--init", TEACHER, "--extractor", VIT)
    assert "distilled: " in said and "random: " in said
    assert Path("own/report.html").exists()


def test_hub_streamed(run, tmp_path: Path) -> None:
    """A table behind a URL stands for one of the hub."""
    source = DemoSource(12)
    rows = {
        "image": [source.read(record.key) for record in source.records],
        "label": [source.classes[record.label] for record in source.records],
    }
    Path("tables").mkdir()
    pq.write_table(pa.table(rows), "tables/train-0.parquet", row_group_size=20)
    said = run(
        "hub_streamed.py", f"file://{tmp_path}/tables", "--out", "tiny", "--ipc", "1", "--extractor", VIT
    )
    assert "120 images of 10 classes" in said
    assert "10 images, " in said


def test_coco_to_yolo(run) -> None:
    write_coco(Path("coco"), "train", 12)
    said = run(
        "coco_to_yolo.py", *["coco", "--ratio", "0.1", "--size", "128", "--out", "boxes"], "--extractor", VIT
    )
    assert "120 images -> 12 images of 128 px" in said
    assert Path("boxes/data.yaml").exists()


def test_compare_in_pandas(run) -> None:
    pytest.importorskip("pandas")
    for split, per_class in (("train", 12), ("val", 2)):
        write_photos(Path("photos"), split, per_class)
    words = "photos --out table --methods focus random --ipc 1 --seeds 2 --student test_resnet --size 32"
    models = ("--epochs", "1", "--teacher", TEACHER, "--extractor", VIT)
    said = run("compare_in_pandas.py", *words.split(), *models)
    assert "mean" in said and "std" in said and "%" in said


def test_the_notebook_shows_a_distilled_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads((EXAMPLES / "distilled_set.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["tiny"].files()) == 10
    assert names["tiny"]._repr_png_().startswith(b"\x89PNG")
    assert names["attention"].ndim == 2


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_fits_on_a_screen(script: Path) -> None:
    assert len(script.read_text().splitlines()) <= 60

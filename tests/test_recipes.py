"""The recipes run as they are, on the demo's images and with small numbers."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from focusdd.core.files import read_json
from focusdd.demo.run import WEIGHTS

ROOT = Path(__file__).parents[1]


def run_recipe(name: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = ["sh", str(ROOT / "recipes" / name)]
    env = {name: value for name, value in os.environ.items() if name != "DATA"} | variables
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def test_imagenet1k_is_one_script(tmp_path: Path) -> None:
    small = {
        "DATA": "demo:8", "OUT": str(tmp_path), "FOCUSDD": f"{sys.executable} -m focusdd",
        "EXTRACTOR": str(WEIGHTS / "vit"), "VIEW_SIZE": "64", "TEACHER": str(WEIGHTS / "teacher"),
        "STUDENTS": "test_resnet", "IPC": "1", "SIZE": "64", "EPOCHS": "1", "BATCH_SIZE": "10",
    }  # fmt: skip
    made = run_recipe("imagenet1k.sh", small)
    assert made.returncode == 0, made.stderr
    assert 0 <= read_json(tmp_path / "test_resnet" / "result.json")["top1"] <= 1
    assert (tmp_path / "report.html").exists()


def test_imagenette_is_one_script(tmp_path: Path) -> None:
    """Teacher and extractor start from those of the demo: fitted briefly, they are not refused."""
    small = {
        "DATA": "demo:8", "OUT": str(tmp_path), "FOCUSDD": f"{sys.executable} -m focusdd",
        "TEACHER": str(WEIGHTS / "teacher"), "EXTRACTOR": str(WEIGHTS / "vit"), "STUDENTS": "test_resnet",
        "METHODS": "focus random", "IPC": "1", "SEEDS": "1", "SIZE": "32", "EPOCHS": "1", "FIT_EPOCHS": "1",
    }  # fmt: skip
    made = run_recipe("imagenette.sh", small)
    assert made.returncode == 0, made.stderr
    with (tmp_path / "compare" / "results.csv").open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"focus", "random"}
    assert (tmp_path / "compare" / "report.html").exists()


@pytest.mark.parametrize("recipe", ["imagenet1k.sh", "imagenette.sh"])
def test_without_data_a_recipe_says_so(recipe: str) -> None:
    made = run_recipe(recipe, {})
    assert made.returncode != 0
    assert "set DATA" in made.stderr

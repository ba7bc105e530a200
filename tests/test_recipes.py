"""The recipes run as they are, on the demo's images and with small numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import focusdd.run as run
from focusdd.demo import WEIGHTS

ROOT = Path(__file__).parents[1]


def test_imagenet1k_is_one_script(tmp_path: Path) -> None:
    small = {
        "DATA": "demo:8", "OUT": str(tmp_path), "FOCUSDD": f"{sys.executable} -m focusdd",
        "EXTRACTOR": str(WEIGHTS / "vit"), "VIEW_SIZE": "64", "TEACHER": str(WEIGHTS / "teacher"),
        "STUDENTS": "test_resnet", "IPC": "1", "SIZE": "64", "EPOCHS": "1", "BATCH_SIZE": "10",
    }  # fmt: skip
    words = ["sh", str(ROOT / "recipes" / "imagenet1k.sh")]
    made = subprocess.run(words, env=os.environ | small, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert 0 <= run.read_json(tmp_path / "test_resnet" / "result.json")["top1"] <= 1
    assert (tmp_path / "report.html").exists()


def test_without_data_the_recipe_says_so() -> None:
    words = ["sh", str(ROOT / "recipes" / "imagenet1k.sh")]
    env = {name: value for name, value in os.environ.items() if name != "DATA"}
    made = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "set DATA" in made.stderr

"""What the tests of labels share: the teacher, how it is asked, and the bytes that are written."""

from __future__ import annotations

from pathlib import Path

import torch

from focusdd import LabelSettings
from focusdd.demo.run import WEIGHTS

CPU = torch.device("cpu")
TEACHER = str(WEIGHTS / "teacher")
SETTINGS = LabelSettings(teacher=TEACHER, kind="both", size=64, num_crops=3)
DENSE = LabelSettings(teacher=TEACHER, kind="views", size=64, num_crops=3, dense=2)
RECIPE = {"student": "test_resnet", "size": 64, "epochs": 2, "batch_size": 8}


def label_files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in (folder / "labels").rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in [*paths, folder / "README.md"]}

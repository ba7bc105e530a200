"""The distilled dataset: a folder that every loader reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from focusdd.errors import FocusError
from focusdd.plan import Plan
from focusdd.run import read_json

CARD = "README.md"


@dataclass(frozen=True)
class Distilled:
    """A finished distilled dataset on disk."""

    folder: Path
    info: dict[str, Any]
    """The content of distilled.json."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.info["classes"])

    def plan(self) -> Plan:
        """Every tile's provenance."""
        return Plan.from_table(pq.read_table(self.folder / "plan.parquet"))

    def files(self) -> list[tuple[Path, int]]:
        """Image files with their labels, in order.

        Raises:
            FocusError: an image is missing, or there is one too many.
        """
        suffix = self.info["settings"]["format"]
        plan = self.plan()
        wanted = {self.folder / "train" / f"{name}.{suffix}": tiles[0].label for name, tiles in plan.images()}
        there = {path for path in (self.folder / "train").glob("*/*") if path.name[0] != "."}
        if wanted.keys() != there:
            odd = min(wanted.keys() ^ there)
            state = "is missing from" if odd in wanted else "does not belong to"
            raise FocusError(f"{odd} {state} the distilled dataset: run `focusdd distill` again")
        return sorted(wanted.items())


def open_distilled(folder: Path | str) -> Distilled:
    """Opens a distilled dataset.

    Raises:
        FocusError: there is none, or it was not finished.
    """
    folder = Path(folder)
    if not (folder / "done.json").exists() or not (folder / "distilled.json").exists():
        if (folder / "stage.json").exists():
            raise FocusError(f"{folder} is unfinished or another stage's output: run `focusdd distill` again")
        raise FocusError(
            f"{folder} is not a distilled dataset: make one with `focusdd distill SOURCE --out {folder}`"
        )
    return Distilled(folder, read_json(folder / "distilled.json"))


def card(info: dict[str, Any]) -> str:
    """The dataset card (README.md) in the Hugging Face form."""
    settings = json.dumps(info["settings"], indent=1)
    images = info["ipc"] * len(info["classes"])
    extractor = info["extractor"]
    by = f"Key patches by `{extractor['name']}` ({extractor['accuracy']:.1%} top-1)." if extractor else ""
    size = "n<1K" if images < 1000 else "1K<n<10K" if images < 10_000 else "10K<n<100K"
    return f"""---
task_categories:
- image-classification
tags:
- dataset-distillation
- focusdd
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
---
# A distilled dataset

{images} images of {info["size"]} x {info["size"]} pixels, {info["ipc"]} for each of
{len(info["classes"])} classes, made by focusdd from {info["source_images"]:,} images
with the method `{info["method"]}`. {by}

- `train/<class>/`: the images. `torchvision.datasets.ImageFolder("train")`, timm and
  `datasets.load_dataset("imagefolder", data_dir=...)` read them as they are.
  Labels are the class folders in plain sorted order; timm sorts numbers naturally ("2" before "10").
- `train/metadata.jsonl`, `plan.parquet`: for every tile the source image it comes from and the box in that
  image's pixels (x0, y0, x1, y1; half-open).
- `distilled.json`: what made it, with which settings and seed.

The images are parts of the source's images: the source's licence and terms apply to them.

```json
{settings}
```
"""

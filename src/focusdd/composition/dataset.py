"""The distilled dataset: a folder that every loader reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from focusdd.composition.show import Picture, figure_of, png
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json
from focusdd.core.manifest import again, require_finished
from focusdd.selection.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finished:
    """A finished distilled dataset on disk, of whatever kind."""

    folder: Path
    info: dict[str, Any]
    """The content of distilled.json."""

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.info["classes"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.info["class_names"])

    def pictures(self) -> list[Picture]:
        """The images in the order in which `show` takes them."""
        raise NotImplementedError

    def show(self, images: int = 20) -> Figure:
        """A matplotlib figure of so many images; a notebook shows it by itself."""
        return figure_of(self.pictures()[:images])

    def _repr_png_(self) -> bytes:
        return png(self.show())


class Distilled(Finished):
    """A finished distilled dataset for classification."""

    def plan(self) -> Plan:
        """Every tile's provenance."""
        return Plan.from_table(pq.read_table(self.folder / "plan.parquet"))

    def pictures(self) -> list[Picture]:
        """The images, the first of every class before the second of any."""
        turns: dict[int, int] = {}
        order = []
        for path, label in self.files():
            turns[label] = turns.get(label, 0) + 1
            order.append((turns[label], label, Picture(path, self.class_names[label])))
        return [picture for *_, picture in sorted(order, key=lambda one: one[:2])]

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
            if odd in wanted:
                raise FocusError(f"{odd} is missing: {again(self.folder)}")
            raise FocusError(f"{odd} does not belong to the distilled dataset: remove it")
        return sorted(wanted.items())


def open_distilled(folder: Path | str | Distilled) -> Distilled:
    """Opens a distilled dataset; one that is open stays as it is.

    Raises:
        FocusError: there is none, or it is unfinished or damaged.
    """
    if isinstance(folder, Distilled):
        return folder
    folder = Path(folder)
    command = f"focusdd distill SOURCE --out {folder}"
    require_finished(folder, ("distill", "detect distill"), "a distilled dataset", command)
    info = read_json(folder / "distilled.json")
    if info.get("task") == "detect":
        raise FocusError(f"{folder} is a dataset for object detection: use `focusdd detect train`")
    return Distilled(folder, info)


def card(info: dict[str, Any], labels: Sequence[dict[str, Any]] = (), soft_labels: bool = False) -> str:
    """The dataset card (README.md) in the Hugging Face form.

    Args:
        labels: the content of labels.json of each kind of stored labels.
        soft_labels: whether metadata.jsonl has a column with those of the tiles.
    """
    settings = json.dumps(info["settings"], indent=1)
    images = info["ipc"] * len(info["classes"])
    extractor = info["extractor"]
    what = "Key patches" if info["method"] == "focus" else "Features"
    by = f"{what} by `{extractor['name']}` ({extractor['accuracy']:.1%} top-1)." if extractor else ""
    size = "n<1K" if images < 1000 else "1K<n<10K" if images < 10_000 else "10K<n<100K"
    stored = "".join(_of_labels(one) for one in labels)
    return f"""---
license: other
license_name: that-of-the-source-images
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
{_features(info, soft_labels)}---
# A distilled dataset

{images} images of {info["size"]} x {info["size"]} pixels, {info["ipc"]} for each of
{len(info["classes"])} classes, made by focusdd from {info["source_images"]:,} images
with the method `{info["method"]}`. {by}

- `train/<class>/`: the images. `torchvision.datasets.ImageFolder("train")`, timm and
  `datasets.load_dataset(FOLDER)` read them as they are.
  Labels are the class folders in plain sorted order; timm sorts numbers naturally ("2" before "10").
- `train/metadata.jsonl`, `plan.parquet`: for every tile the source image it comes from and the box in that
  image's pixels (x0, y0, x1, y1; half-open).
- `distilled.json`: what made it, with which settings and seed.
{stored}
The images are parts of the source's images: the source's licence and terms apply to them.

```json
{settings}
```
"""


def _features(info: dict[str, Any], soft_labels: bool) -> str:
    """The columns that Hugging Face `datasets` finds, in its YAML: the label is a class with its name."""
    names = "".join(f"          '{row}': {json.dumps(name)}\n" for row, name in enumerate(info["classes"]))
    columns = {"tiles": _TILES} | ({"soft_labels": _SOFT_LABELS} if soft_labels else {})
    nested = "".join(f"  - name: {name}\n    list:\n{fields}" for name, fields in columns.items())
    return f"""  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
{names}  - name: class_name
    dtype: string
{nested}"""


def _fields(**kinds: str) -> str:
    return "".join(f"    - name: {name}\n      {kind}\n" for name, kind in kinds.items())


_INT, _TEXT = "dtype: int64", "dtype: string"
_TILES = _fields(row=_INT, column=_INT, kind=_TEXT, source=_TEXT, box="sequence: float64")
_SOFT_LABELS = _fields(classes="sequence: int64", logits="sequence: float64")


def _of_labels(info: dict[str, Any]) -> str:
    """A line of the card about stored labels."""
    kind, teacher, classes = info["kind"], info["teacher"], len(info["classes"])
    what = "every tile and every whole image" if kind == "tiles" else "a number of views of every image"
    if dense := info.get("dense", info.get("places", 0)):  # its name in older files
        what += f", each whole and at {dense} x {dense} locations"
    kept = f"the {info['top']} largest logits of {classes}" if info["top"] < classes else "all logits"
    told = f"for temperature {info['temperature']:g}" if info["temperature"] else "for any temperature"
    return f"""- `labels/{kind}`: soft labels of {what}: {kept} at {info["bits"]} bits, {told}.
  Teacher: `{teacher["name"]}` (weights {teacher["weights"]}), {teacher["accuracy"]:.1%} top-1 on
  {teacher["tiles"]} tiles at {info["size"]} px; the terms of the teacher's weights may apply to them.
"""


def source_hashes(folder: Path) -> list[str]:
    """The hash of the file of every source image that a distilled dataset shows."""
    import pyarrow.parquet as pq

    return pq.read_table(folder / "plan.parquet", columns=["hash"])["hash"].unique().to_pylist()

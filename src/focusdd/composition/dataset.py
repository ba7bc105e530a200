"""The distilled dataset: a folder that every loader reads."""

from __future__ import annotations

import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from focusdd.core.errors import FocusError
from focusdd.core.finished import Finished, open_finished
from focusdd.core.manifest import remedy_for
from focusdd.selection.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAGES = ("distill", "detect distill")
"""Whose output a distilled dataset of any kind is: one of the other kind is told so."""
_INCHES = 1.8  # of one image


class Picture(NamedTuple):
    """An image file with its title and its boxes."""

    path: Path
    title: str
    boxes: Sequence[tuple[float, float, float, float]] = ()
    """Centre, width and height as fractions of the image."""


class Shown(Finished, ABC):
    """A distilled dataset whose images can be shown."""

    @abstractmethod
    def pictures(self) -> list[Picture]:
        """The images in the order in which `show` takes them."""

    def show(self, images: int = 20) -> Figure:
        """A matplotlib figure of so many images; a notebook shows it by itself.

        Raises FocusError for what is no number of images.
        """
        if not isinstance(images, int) or images < 1:
            raise FocusError(f"show cannot draw {images!r} images: give a whole number from 1")
        return figure_of(self.pictures()[:images])

    def _repr_png_(self) -> bytes:
        return png(self.show())


class Distilled(Shown):
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
                raise FocusError(f"{odd} is missing: {remedy_for(self.folder)}")
            raise FocusError(f"{odd} does not belong to the distilled dataset: remove it")
        return sorted(wanted.items())


def open_distilled(folder: Path | str | Distilled) -> Distilled:
    """Opens a distilled dataset; one that is open stays as it is.

    Raises:
        FocusError: there is none, or it is unfinished or damaged.
    """
    found = open_finished(
        Distilled, folder, "distilled.json", STAGES, "a distilled dataset", "focusdd distill SOURCE"
    )
    if found.info.get("task") == "detect":
        raise FocusError(f"{found.folder} is a dataset for object detection: use `focusdd detect train`")
    return found


def card(info: dict[str, Any], labels: Sequence[dict[str, Any]] = (), soft_labels: bool = False) -> str:
    """The dataset card (README.md) in the Hugging Face form.

    Args:
        labels: the content of labels.json of each kind of stored labels.
        soft_labels: whether metadata.jsonl has a column with those of the tiles.
    """
    images = info["ipc"] * len(info["classes"])
    limits = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    size = next((words for most, words in limits.items() if images < most), "n>1M")
    template = Path(__file__).with_name("card.md")
    return rendered(template, info, images=images, size=size, labels=labels, soft_labels=soft_labels)


def rendered(template: Path, info: dict[str, Any], **more: Any) -> str:
    """A dataset card from its template, and from the content of distilled.json and whatever more it shows."""
    from jinja2 import Environment

    pages = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    pages.filters["json"] = json.dumps
    page = pages.from_string(template.read_text(encoding="utf-8"))
    return page.render(info=info, settings=json.dumps(info["settings"], indent=1), **more)


def own_cards(info: dict[str, Any], labels: Sequence[dict[str, Any]]) -> set[str]:
    """The cards that focusdd writes for a dataset with some of these labels: any other is a person's."""
    return {card(info, chosen) for count in range(len(labels) + 1) for chosen in combinations(labels, count)}


def source_hashes(folder: Path) -> list[str]:
    """The hash of the file of every source image that a distilled dataset shows."""
    return pq.read_table(folder / "plan.parquet", columns=["hash"])["hash"].unique().to_pylist()


def figure_of(pictures: Sequence[Picture]) -> Figure:
    """A matplotlib figure of pictures in a grid; pyplot is left alone, and a notebook shows it by itself."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from PIL import Image

    class Displayed(Figure):
        def _repr_png_(self) -> bytes:
            return png(self)

    columns = min(len(pictures), 10)
    rows = math.ceil(len(pictures) / columns)
    figure = Displayed(figsize=(columns * _INCHES, rows * (_INCHES + 0.3)), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for cell in cells:
        cell.axis("off")
    for cell, picture in zip(figure.axes, pictures, strict=False):
        with Image.open(picture.path) as image:
            cell.imshow(image.convert("RGB"))
            width, height = image.size
        cell.set_title(picture.title, fontsize=8, parse_math=False)
        for x, y, w, h in picture.boxes:
            corner = (x - w / 2) * width, (y - h / 2) * height
            cell.add_patch(Rectangle(corner, w * width, h * height, fill=False, color="tab:orange"))
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()

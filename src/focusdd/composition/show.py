"""A distilled dataset at a glance: a figure of some of its images."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = 1.8  # of one image


class Picture(NamedTuple):
    """An image file with its title and its boxes."""

    path: Path
    title: str
    boxes: Sequence[tuple[float, float, float, float]] = ()
    """Centre, width and height as fractions of the image."""


def figure_of(pictures: Sequence[Picture]) -> Figure:
    """A matplotlib figure of pictures in a grid; pyplot is left alone, and a notebook shows it by itself."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from PIL import Image

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return png(self)

    columns = min(len(pictures), 10)
    rows = math.ceil(len(pictures) / columns)
    figure = Shown(figsize=(columns * _INCHES, rows * (_INCHES + 0.3)), layout="constrained")
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

"""Figures of any names: nothing leaves the canvas, and every row keeps a line of its own."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from written import make, make_student

from focusdd.reports.collect import collect
from focusdd.reports.figures import accuracy_figure, cost_figure
from focusdd.reports.results import rows
from focusdd.sources import open_source

NAMES = ("w" * 200, "many words " * 40, "<b>&\"'\n\t\x07$x_{$", "\U0001f98a" * 30, "\u202egpj.exe")


@pytest.mark.parametrize("several_ipc", [False, True])
def test_no_label_leaves_the_canvas_or_joins_another(
    several_ipc: bool, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):  # alike but for their ends
        for name in NAMES:
            seed_and_name = {"seed": number, "optimizer": f"{name} {number}"}
            make_student(work / "focus-1", work / f"{NAMES.index(name)}-{number}", 0.4, **seed_and_name)
    if several_ipc:
        make_student(make(open_source("demo:4"), work, "random", 2), work / "two", 0.5)
    drawn: list[Figure] = []
    save = Figure.savefig

    def saved(canvas: Figure, *args: Any, **named: Any) -> None:
        save(canvas, *args, **named)
        drawn.append(canvas)

    monkeypatch.setattr(Figure, "savefig", saved)
    figures = [(cost_figure if several_ipc else accuracy_figure)(rows(collect(work)))]
    if several_ipc:
        figures.append(accuracy_figure(rows(collect(work))))
    images = [image for figure in figures if figure for image in (figure.light, figure.dark)]
    assert len(drawn) == len(images) == 2 * len(figures)
    for canvas, image in zip(drawn, images, strict=True):
        with pytest.warns(UserWarning, match="Glyph"):
            inside = canvas.get_tightbbox()
        head = base64.b64decode(image.partition(",")[2])[:1000]
        width, height = (float(of) / 72 for of in re.findall(rb'(?:width|height)="([\d.]+)pt"', head))
        assert inside.width <= width < 1.2 * 5.2 and inside.height <= height
        [axes] = canvas.axes
        assert axes.get_window_extent().width > 0.3 * canvas.bbox.width
    for figure in filter(None, figures):
        assert figure.alt.count("%") >= 2 * len(NAMES) + 2

"""Figures and pictures of the report, as data URIs: inert, and nothing outside the page is needed.

matplotlib is imported where it is used, its defaults are left as they are, and pyplot is not touched.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from statistics import mean, stdev
from typing import Any, NamedTuple

from focusdd.reports.collect import METHODS
from focusdd.reports.results import Row

_FIXED = {"svg.hashsalt": "focusdd", "text.parse_math": False, "font.size": 12.0}
_INKED = ("text.color", "xtick.color", "ytick.color", "axes.labelcolor", "axes.edgecolor")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
_LIGHT = (
    *("#0b62a4", "#c2500a", "#0a7d5b", "#6b7280", "#a13d87", "#8a6d00", "#30363d"),
    *("#3f3fb0", "#9b1c31", "#5a7d0a", "#0a7d8a"),
)
_DARK = (
    *("#6cb8f0", "#f39a5b", "#4fcfa3", "#aab2bd", "#e08ac8", "#dcc04a", "#e6eaee"),
    *("#a5a5ff", "#f08a9b", "#b4dc4a", "#6cdce6"),
)


class Figure(NamedTuple):
    """A figure in both colour schemes, with the words that stand for it."""

    light: str
    dark: str
    alt: str


class Line(NamedTuple):
    """Scores of one method, in percent, by images per class."""

    label: str
    method: str
    points: dict[float, list[float]]
    seconds: dict[float, float]
    """Of distilling and training, where they are known."""


def accuracy_figure(rows: Sequence[Row]) -> Figure:
    """Scores of one student with one kind of labels on one validation set: against ipc where there are
    several, else as bars."""
    draw = _curve if len({row.ipc for row in rows if row.method != "full"}) > 1 else _bars
    return _figure(draw, rows, _lines(rows), "images per class", lambda line, ipc: f"at {ipc}")


def cost_figure(rows: Sequence[Row]) -> Figure | None:
    """The same against the seconds of distilling and training; None where they are not known."""
    lines = [line._replace(points={ipc: line.points[ipc] for ipc in line.seconds}) for line in _lines(rows)]
    if sum(len(line.seconds) for line in lines) < 2:
        return None
    lines = [line for line in lines if line.seconds]
    by = "seconds of distilling and training"
    return _figure(_costs, rows, lines, by, lambda line, ipc: f"in {line.seconds[ipc]:.3g} s")


def _figure(
    draw: Callable[..., None],
    rows: Sequence[Row],
    lines: list[Line],
    by: str,
    where: Callable[[Line, float], str],
) -> Figure:
    said = [
        f"{line.label}: "
        + ", ".join(f"{mean(of):.1f}% {where(line, ipc)}" for ipc, of in line.points.items())
        for line in lines
    ]
    alt = f"{rows[0].title} of {rows[0].student} by {by}. {'; '.join(said)}."
    light, dark = (_svg(draw, lines, rows[0].title, dark) for dark in (False, True))
    return Figure(light, dark, alt)


def _lines(rows: Sequence[Row]) -> list[Line]:
    """Rows of one method and recipe joined over ipc; a label says no more than tells the lines apart."""
    several = len({row.length for row in rows if row.method != "full"}) > 1
    lines: dict[str, Line] = {}
    for row in rows:
        parts = [row.length] * several + [row.variant] * bool(row.variant)
        label = f"{row.method} ({', '.join(parts)})" if parts else row.method
        line = lines.setdefault(label, Line(label, row.method, {}, {}))
        line.points.setdefault(row.ipc, []).extend(100 * share for share in row.main)
        if row.times.train:  # a time that rounds to nothing has no place on a logarithmic axis
            line.seconds[row.ipc] = row.times.train + (row.times.distil or 0.0)
    return list(lines.values())


def _styles(lines: Sequence[Line]) -> list[int]:
    """Number of each line's colour and marker: a method's first line has the same one in every figure."""
    first = {line.method: place for place, line in reversed(list(enumerate(lines))) if line.method in METHODS}
    others = [place for place in range(len(lines)) if place not in first.values()]
    free = len(_MARKERS) - len(METHODS)
    styles = {place: len(METHODS) + number % free for number, place in enumerate(others)}
    styles |= {place: METHODS.index(method) for method, place in first.items()}
    return [styles[place] for place in range(len(lines))]


def _wrapped(label: str, width: int) -> str:
    """A label in lines of `width` characters; what cannot be printed is "?", what is left over "..."."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in label)
    return textwrap.fill(printable, width, max_lines=5, placeholder=" ...")


def _svg(draw: Callable[..., None], lines: list[Line], title: str, dark: bool) -> str:
    """A figure 5.2 inches wide, under matplotlib's own defaults whatever the user's are."""
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    lines = [line._replace(label=_wrapped(line.label, 18 if draw is _bars else 42)) for line in lines]
    tall = [1 + line.label.count("\n") for line in lines]
    if draw is _bars:
        height = 0.9 + len(lines) * (0.18 + 0.2 * max(tall))
    else:
        height = 3.2 + 0.25 * math.ceil(sum(tall) / _columns(lines))
    ink = dict.fromkeys(_INKED, "#d5dbe1" if dark else "#30363d")
    buffer = io.BytesIO()
    with matplotlib.style.context(["default", _FIXED | ink]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font lacks is drawn as a box
        canvas = Canvas(figsize=(5.2, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, lines, f"{title}, %", _DARK if dark else _LIGHT)
        about = {"Date": None, "Creator": None}
        canvas.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata=about)
    return data_uri("image/svg+xml", buffer.getvalue())


def _curve(axes: Any, lines: list[Line], title: str, colours: Sequence[str]) -> None:
    for line, style in zip(lines, _styles(lines), strict=True):
        if line.method == "full":
            values = list(chain.from_iterable(line.points.values()))
            top, width = mean(values), deviation(values)
            axes.axhline(top, color=colours[style], linestyle="--", label=f"{line.label} data")
            axes.axhspan(top - width, top + width, color=colours[style], alpha=0.12, linewidth=0)
        else:
            _points(axes, line, {ipc: ipc for ipc in line.points}, style, colours)
    ticks = sorted({ipc for line in lines for ipc in line.points if line.method != "full"})
    _finish(axes, lines, "distilled images per class", title)
    axes.set_xticks(ticks, [str(ipc) for ipc in ticks])


def _costs(axes: Any, lines: list[Line], title: str, colours: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    for line, style in zip(lines, _styles(lines), strict=True):
        _points(axes, line, line.seconds, style, colours)
        for ipc, seconds in line.seconds.items():
            place = (seconds, mean(line.points[ipc]))
            axes.annotate(str(ipc), place, xytext=(5, 4), textcoords="offset points", fontsize=9)
    _finish(axes, lines, "seconds to distil and train", title)
    times = [seconds for line in lines for seconds in line.seconds.values()]
    far = max(times) > 5 * min(times)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if far else MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")


def _points(axes: Any, line: Line, where: dict[float, float], style: int, colours: Sequence[str]) -> None:
    """One line through the means at the places of its ipc, with deviation bars."""
    axes.errorbar(
        list(where.values()),
        [mean(line.points[ipc]) for ipc in where],
        yerr=[_whisker(line.points[ipc]) for ipc in where],
        label=line.label,
        color=colours[style],
        marker=_MARKERS[style],
        capsize=3,
        linewidth=2.2 if line.method == "focus" else 1.5,
    )


def _finish(axes: Any, lines: list[Line], across: str, title: str) -> None:
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xlabel(across)
    axes.set_ylabel(title)
    axes.margins(x=0.08)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])  # room for what is written above the highest point
    axes.grid(axis="y", alpha=0.25)
    axes.figure.legend(loc="outside lower center", ncols=_columns(lines), frameon=False, fontsize=11)


def _columns(lines: list[Line]) -> int:
    """Columns of the legend."""
    return 2 if all(len(line.label) <= 20 for line in lines) else 1


def _bars(axes: Any, lines: list[Line], title: str, colours: Sequence[str]) -> None:
    values = [next(iter(line.points.values())) for line in lines]
    tops, ends = [mean(of) for of in values], [mean(of) + deviation(of) for of in values]
    style = {"ecolor": axes.xaxis.label.get_color(), "capsize": 3}
    colour, whiskers = [colours[number] for number in _styles(lines)], [_whisker(of) for of in values]
    thick = 0.62 / (1 + 0.5 * max(line.label.count("\n") for line in lines))
    axes.barh(range(len(lines)), tops, xerr=whiskers, height=thick, color=colour, error_kw=style)
    for place, (top, end) in enumerate(zip(tops, ends, strict=True)):
        axes.annotate(f"{top:.1f}", (end, place), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(lines)), [line.label for line in lines], fontsize=11)
    axes.set_ylim(len(lines) - 0.5, -0.5)  # the first line stands at the top
    axes.set_xlim(0, 1.15 * max(1.0, *ends))
    axes.set_xlabel(title)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _whisker(values: Sequence[float]) -> float:
    return deviation(values) if len(values) > 1 else float("nan")


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def data_uri(kind: str, data: bytes) -> str:
    """A file of a media type, as a link that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"

"""Figures and pictures of the report, as data URIs: inert, and nothing outside the page is needed.

matplotlib is imported where it is used, its defaults are left as they are, and pyplot is not touched.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from focusdd.errors import FocusError
from focusdd.focus.coverage import object_coverage
from focusdd.images import Box, decode
from focusdd.plan import Plan, Tile
from focusdd.reports.collect import METHODS, FoundDistilled, FoundIndex, Row, as_written
from focusdd.sources import BoxedSource, Source, open_source

PATCH_COLOUR = "#00e5ff"
TRUE_COLOUR = "#ffffff"
_HALO = "#10151a"
_FIXED: dict[Any, Any] = {
    "svg.hashsalt": "focusdd",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.size": 12.0,
}
_EXAMPLES = 8  # images under "where the extractor looks"
_SIDE = 320  # pixels of such an image, at most
_BOX_SAMPLE = 300  # about so many images have their true box compared with the key patch
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LIGHT = ("#0b62a4", "#c2500a", "#0a7d5b", "#6b7280", "#a13d87", "#8a6d00", "#3f3fb0", "#9b1c31")
_DARK = ("#6cb8f0", "#f39a5b", "#4fcfa3", "#aab2bd", "#e08ac8", "#dcc04a", "#a5a5ff", "#f08a9b")


class Figure(NamedTuple):
    """A figure in both colour schemes, with the words that stand for it."""

    light: str
    dark: str
    alt: str


class Example(NamedTuple):
    """An image whose key patch was used, plain and under its attention."""

    tile: Tile
    class_name: str
    plain: str
    attention: str
    facts: dict[str, Any]


class Line(NamedTuple):
    """Accuracy of one method: shares by images per class."""

    label: str
    method: str
    points: dict[int, list[float]]


def accuracy_figure(rows: Sequence[Row]) -> Figure:
    """Top-1 of one student on one validation set: against ipc where there are several, else as bars."""
    lines = _lines(rows)
    said = "; ".join(
        f"{line.label}: " + ", ".join(f"{mean(shares):.1%} at {ipc}" for ipc, shares in line.points.items())
        for line in lines
    )
    draw = _curve if len({row.ipc for row in rows}) > 1 else _bars
    alt = f"Top-1 accuracy of {rows[0].student} by images per class. {said}."
    return Figure(_svg(draw, lines, False), _svg(draw, lines, True), alt)


def _lines(rows: Sequence[Row]) -> list[Line]:
    """Rows of one method and recipe joined over ipc; a label says no more than tells the lines apart."""
    labels = len({row.labels for row in rows}) > 1
    epochs = len({row.epochs for row in rows}) > 1
    lines: dict[str, Line] = {}
    for row in rows:
        parts = [row.labels] * labels + [f"{row.epochs} epochs"] * epochs + [row.variant] * bool(row.variant)
        label = _printable(f"{row.method} ({', '.join(parts)})" if parts else row.method)
        lines.setdefault(label, Line(label, row.method, {})).points.setdefault(row.ipc, []).extend(row.top1)
    return list(lines.values())


def _styles(lines: Sequence[Line]) -> list[int]:
    """Number of each line's colour and marker: a method's first line has the same one in every figure."""
    first = {line.method: place for place, line in reversed(list(enumerate(lines))) if line.method in METHODS}
    others = [place for place in range(len(lines)) if place not in first.values()]
    free = len(_MARKERS) - len(METHODS)
    styles = {place: len(METHODS) + number % free for number, place in enumerate(others)}
    styles |= {place: METHODS.index(method) for method, place in first.items()}
    return [styles[place] for place in range(len(lines))]


def _printable(text: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextlib.contextmanager
def _canvas(height: float, dark: bool) -> Iterator[tuple[Any, Any]]:
    """A figure 5.2 inches wide with axes, under matplotlib's own defaults whatever the user's are."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    ink = "#d5dbe1" if dark else "#30363d"
    inked: Any = ("text.color", "xtick.color", "ytick.color", "axes.labelcolor", "axes.edgecolor")
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font lacks is drawn as a box
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_FIXED, **dict.fromkeys(inked, ink)})
        canvas = Canvas(figsize=(5.2, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        yield canvas, axes


def _svg(draw: Any, lines: list[Line], dark: bool) -> str:
    height = 3.6 if draw is _curve else 0.9 + 0.38 * len(lines)
    with _canvas(height, dark) as (canvas, axes):
        draw(axes, lines, _DARK if dark else _LIGHT)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _data_uri("svg+xml", buffer.getvalue())


def _curve(axes: Any, lines: list[Line], colours: Sequence[str]) -> None:
    for line, style in zip(lines, _styles(lines), strict=True):
        shares = list(line.points.values())
        axes.errorbar(
            list(line.points),
            [100 * mean(values) for values in shares],
            yerr=[100 * _whisker(values) for values in shares],
            label=line.label,
            color=colours[style],
            marker=_MARKERS[style],
            capsize=3,
            linewidth=2.2 if line.method == "focus" else 1.5,
        )
    ticks = sorted({ipc for line in lines for ipc in line.points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(ipc) for ipc in ticks])
    axes.minorticks_off()
    axes.set_xlabel("distilled images per class")
    axes.set_ylabel("top-1, %")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, fontsize=11)


def _bars(axes: Any, lines: list[Line], colours: Sequence[str]) -> None:
    shares = [next(iter(line.points.values())) for line in lines]
    tops = [100 * mean(values) for values in shares]
    widths = [100 * deviation(values) for values in shares]
    whiskers = [100 * _whisker(values) for values in shares]
    style = {"ecolor": axes.xaxis.label.get_color(), "capsize": 3}
    colour = [colours[number] for number in _styles(lines)]
    axes.barh(range(len(lines)), tops, xerr=whiskers, height=0.62, color=colour, error_kw=style)
    for place, (top, width) in enumerate(zip(tops, widths, strict=True)):
        axes.annotate(
            f"{top:.1f}", (top + width, place), xytext=(6, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * max(1.0, *(top + width for top, width in zip(tops, widths, strict=True))))
    axes.set_xlabel("top-1, %")
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _whisker(values: Sequence[float]) -> float:
    return deviation(values) if len(values) > 1 else float("nan")


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def photo(image: Image.Image, side: int, quality: int = 78) -> str:
    """A JPEG data URI of an image whose longer side is at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return _data_uri("jpeg", buffer.getvalue())


def marked(image: Image.Image, boxes: Sequence[tuple[Box, str]], size: tuple[int, int]) -> Image.Image:
    """A copy of the image with boxes drawn on it in their colours.

    Args:
        boxes: half-open, in pixels of an original of `size` (width, height).
    """
    small = image.copy()
    pen = ImageDraw.Draw(small)
    across, down = small.width / size[0], small.height / size[1]
    for (x0, y0, x1, y1), colour in boxes:
        left, top = round(x0 * across), round(y0 * down)
        right, bottom = max(left, round(x1 * across) - 1), max(top, round(y1 * down) - 1)
        pen.rectangle((left, top, right, bottom), outline=_HALO, width=5)
        if right - left > 8 and bottom - top > 8:
            pen.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=colour, width=3)
    return small


def overlay(image: Image.Image, attention: np.ndarray) -> Image.Image:
    """The image in grey under its class attention: bright and warm where there is most of it.

    Args:
        attention: (h, w) in [0, 1], 1 at its maximum, over the whole image.
    """
    import matplotlib

    grid = Image.fromarray(attention.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(grid), 0.0, 1.0)
    colour = matplotlib.colormaps["inferno"](values)[..., :3] * 255
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64)
    share = (0.3 + 0.4 * values)[..., None]
    return Image.fromarray(np.rint(grey * (1 - share) + colour * share).astype(np.uint8))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def looks(datasets: list[FoundDistilled]) -> dict[str, Any] | None:
    """Where the extractor looked in images of the first distilled dataset whose index is there."""
    for data in datasets:
        if data.index is not None and (tiles := _spread(data.plan)):
            break
    else:
        return None
    info = data.index.index.info
    shown: dict[str, Any] = {
        "title": data.title,
        "extractor": info["extractor"]["name"],
        "source": info["source"]["name"],
    }
    shown |= {"examples": [], "problem": "", "lost": 0, "boxes": None}
    try:
        source = open_source(str(info["source"]["name"]), split=str(info["source"]["split"]))
    except (FocusError, OSError, KeyError) as error:
        return shown | {"problem": str(error)}
    known = {record.key for record in source.records}
    with as_written(data.index.index.folder / "parts"):
        facts = _index_rows(data.index, [tile.key for tile in tiles])
    for tile in tiles:
        try:
            if tile.key not in known or tile.key not in facts:
                raise FocusError("it is no longer there")
            example = _example(source, tile, facts[tile.key], data.index.index.class_names[tile.label])
            shown["examples"].append(example)
        except FocusError as error:
            shown["lost"] += 1
            shown["problem"] = shown["problem"] or f"{tile.key}: {error}"
    if hasattr(source, "box") and source.fingerprint == info["source"]["fingerprint"]:
        shown["boxes"] = object_coverage(data.index.index, cast(BoxedSource, source), _BOX_SAMPLE)
    return shown


def _spread(plan: Plan) -> list[Tile]:
    """Patches spread evenly over the classes and over the order within a class: not the best ones."""
    by_label: dict[int, list[Tile]] = defaultdict(list)
    for tile in plan.tiles:
        if tile.kind == "patch":
            by_label[tile.label].append(tile)
    groups = [group for _, group in sorted(by_label.items())]
    count = min(_EXAMPLES, len(groups))
    groups = [groups[number * len(groups) // count] for number in range(count)]
    each = math.ceil(_EXAMPLES / max(1, count))
    chosen = [group[(2 * n + 1) * len(group) // (2 * each)] for n in range(each) for group in groups]
    return list({tile.key: tile for tile in chosen}.values())[:_EXAMPLES]


def _index_rows(found: FoundIndex, keys: list[str]) -> dict[str, dict[str, Any]]:
    columns = ["key", "width", "height", "confidence", "predicted", "mass", "area", "attention"]
    table = pq.read_table(found.index.folder / "parts", columns=columns, filters=[("key", "in", keys)])
    h, w = found.index.info["grid"]
    facts = {row["key"]: row for row in table.to_pylist()}
    for row in facts.values():
        row["grid"] = np.frombuffer(row["attention"], np.uint8).reshape(h, w) / 255
        row["predicted"] = found.index.class_names[row["predicted"]]
    return facts


def _example(source: Source, tile: Tile, facts: dict[str, Any], class_name: str) -> Example:
    """Raises FocusError when the image cannot be read, or is not the one that was extracted."""
    image, *size = decode(source.read(tile.key), _SIDE)
    if size != [facts["width"], facts["height"]]:
        raise FocusError("it is not the image that was extracted")
    boxes: list[tuple[Box, str]] = [(tile.box, PATCH_COLOUR)]
    if hasattr(source, "box"):
        boxes.append((source.box(tile.key), TRUE_COLOUR))
    image.thumbnail((_SIDE, _SIDE))
    layers = (image, overlay(image, facts["grid"]))
    plain, attention = (photo(marked(layer, boxes, (tile.width, tile.height)), _SIDE) for layer in layers)
    return Example(tile, class_name, plain, attention, facts)

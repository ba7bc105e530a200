"""`report`: one self-contained page about what a folder holds."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from focusdd.composition.dataset import Distilled, Finished
from focusdd.core.errors import FocusError
from focusdd.core.files import write_whole
from focusdd.core.images import decode
from focusdd.extraction.index import Index
from focusdd.reports.collect import Found, FoundDistilled, as_written, collect
from focusdd.reports.detection import detection
from focusdd.reports.figures import accuracy_figure, cost_figure, deviation
from focusdd.reports.looks import PATCH_COLOUR, TRUE_COLOUR, looks, photo
from focusdd.reports.results import Row, rows, scores, verdicts
from focusdd.selection.plan import Tile

NAME = "report.html"
_GALLERIES = 16
_GALLERY_CLASSES = 10
_GALLERY_BYTES = 2_200_000  # of all galleries together
_CLASS_ROWS = 100
_CLASS_COLUMNS = 24  # rows of the results that the table of classes shows
_SKIPPED_ROWS = 20


class Picture(NamedTuple):
    """A distilled image with its tiles."""

    name: str
    class_name: str
    uri: str
    tiles: list[Tile]


def report(folder: Path | str) -> Path:
    """Writes `report.html` about every index, distilled dataset and student below a folder.

    The page holds all it shows; it has no date of its own, so the same files make the same page.

    Returns:
        The page's path.

    Raises:
        FocusError: the folder holds no finished output of focusdd, or a file is not as focusdd writes it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = Path(folder)
    found = collect(folder)
    pages = Environment(
        loader=PackageLoader("focusdd.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        percent=_percent,
        accuracy=_accuracy,
        points=_points,
        score=_score,
        duration=_duration,
        memory=_memory,
        json=_json,
    )
    page = pages.get_template("page.html.j2").render(_content(found))
    write_whole(folder / NAME, page.encode("utf-8", "backslashreplace"))
    return folder / NAME


def _content(found: Found) -> dict[str, Any]:
    """What the template shows; an empty section is left out there."""
    table = rows(found)
    tables: dict[tuple[str, tuple[str, int]], list[Row]] = defaultdict(list)
    panels: dict[tuple[tuple[str, int], str, str], list[Row]] = defaultdict(list)
    for row in table:
        tables[row.task.name, row.val].append(row)
        if row.augmented:
            panels[row.val, row.student, row.labels].append(row)
    classified = [data for data in found.distilled if "task" not in data.data.info]
    infos = [item.index.info for item in found.indexes]
    images = {len(list(data.plan.images())) for data in classified}
    short = [(data.title, data.data.info["short_classes"]) for data in found.distilled]
    return {
        "sources": _sources(found),
        "distilled_counts": sorted(images),
        "tables": [_table(lines) for lines in tables.values()],
        "best": [_best(panel) for panel in panels.values()],
        "figures": [(*key, accuracy_figure(panel), cost_figure(panel)) for key, panel in panels.items()],
        "fixed": any(len(row.seeds) > 1 and not row.redrawn for row in table),
        "verdicts": verdicts(table),
        "scores": scores(table),
        "teachers": list(dict.fromkeys((*s.teacher, s.val_name) for s in found.students if s.teacher)),
        "extractors": [(info["extractor"], info["counts"]["images"]) for info in infos],
        "looks": looks(classified),
        "colours": {"patch": PATCH_COLOUR, "box": TRUE_COLOUR},
        "galleries": (galleries := _galleries(classified)),
        "galleries_left_out": len(classified) - len(galleries),
        "classes": _classes(found, classified, table),
        "detection": detection([data for data in found.distilled if data not in classified]),
        "shared": _shared(found),
        "contradictions": [
            (info["source"]["name"], sum(map(len, info["contradictions"])), info["contradictions"][0])
            for info in infos
            if info.get("contradictions")
        ],
        "skipped": _skipped(found),
        "short": [(title, folders) for title, folders in short if folders],
        "stages": found.stages,
    }


def _table(lines: list[Row]) -> dict[str, Any]:
    """The results on one validation set, with the columns that say something there."""
    columns = {
        name: title
        for name, title in lines[0].task.comparison.columns.items()
        if any(row.scores[name] for row in lines)
    }
    if not any(_differ(row.main, row.scores.get("balanced", [])) for row in lines):
        columns.pop("balanced", None)
    return {"val": lines[0].val, "lines": lines, "columns": columns}


def _differ(top1: list[float], balanced: list[float]) -> bool:
    """Whether classes have unequal numbers of validation images, so far as it shows."""
    return any(abs(one - other) >= 0.0005 for one, other in zip(top1, balanced, strict=False))


def _sources(found: Found) -> list[dict[str, Any]]:
    """The sources that indexes and distilled datasets were made of, each once."""
    sources: dict[str, dict[str, Any]] = {}
    for info in [data.data.info for data in found.distilled] + [item.index.info for item in found.indexes]:
        source = info["source"]
        images = info["source_images"] if "source_images" in info else info["counts"]["images"]
        known = {"name": str(source["name"]), "images": int(images), "classes": len(info["classes"])}
        sources.setdefault(str(source["fingerprint"]), known)
    return list(sources.values())


def _best(panel: list[Row]) -> tuple[Row, float, list[tuple[str, float, int]]]:
    """A row, largest ipc, and there each method with its highest accuracy and the number of its
    rows; the full data stand beside any ipc."""
    ipc = max((row.ipc for row in panel if row.method != "full"), default=panel[0].ipc)
    methods: dict[str, list[float]] = defaultdict(list)
    for row in panel:
        if row.ipc == ipc or row.method == "full":
            methods[row.method].append(mean(row.main))
    best = [(method, max(tops), len(tops)) for method, tops in methods.items()]
    return panel[0], ipc, best


def _galleries(datasets: list[FoundDistilled]) -> list[dict[str, Any]]:
    """Two images of up to ten classes of distilled datasets, as many as the page's size allows; where there
    are many datasets, those of further seeds and settings are left out first."""
    once = list({data.title: data for data in reversed(datasets)}.values())[::-1]
    shown = datasets if len(datasets) <= _GALLERIES else once[:_GALLERIES]
    side = 208 if len(shown) <= 5 else 136
    return [_gallery(data, side, _GALLERY_BYTES // len(shown)) for data in shown]


def _gallery(data: FoundDistilled, side: int, room: int) -> dict[str, Any]:
    info = data.data.info
    names = data.data.classes
    shown = sorted({number * len(names) // _GALLERY_CLASSES for number in range(_GALLERY_CLASSES)})
    by_label: dict[int, list[tuple[str, list[Tile]]]] = defaultdict(list)
    for name, tiles in data.plan.images():
        by_label[tiles[0].label].append((name, tiles))
    gallery = {"title": data.title, "stage": data.stage, "info": info, "problem": "", "pictures": []}
    try:
        made = Distilled(data.data.folder, info).files()
        files = {f"{path.parent.name}/{path.stem}": path for path, _ in made}
        pictures: list[Picture] = []
        order = [by_label[label][turn : turn + 1] for turn in (0, 1) for label in shown]
        for name, tiles in chain.from_iterable(order):
            uri = photo(decode(files[name].read_bytes())[0], side)
            room -= len(uri)
            if room < 0 and pictures:
                break
            pictures.append(Picture(name, str(info["class_names"][tiles[0].label]), uri, tiles))
    except (FocusError, OSError) as error:
        return gallery | {"problem": str(error)}
    left = len(names) - len({picture.tiles[0].label for picture in pictures})
    pictures.sort(key=lambda picture: picture.name)
    return gallery | {"pictures": pictures, "left_out": left, "images": sum(map(len, by_label.values()))}


def _classes(found: Found, datasets: list[FoundDistilled], table: list[Row]) -> dict[str, Any] | None:
    """One line per class: images in the source, images used, accuracy of each row of the results."""
    indexes = [item for item in found.indexes if "task" not in item.index.info]
    known: list[Finished | Index] = [data.data for data in datasets]
    known += [item.index for item in indexes]
    table = [row for row in table if row.task.name == "classify"]
    if not known:
        return None
    names, folders = [str(name) for name in known[0].info["class_names"]], known[0].classes
    columns: dict[str, dict[str, Any]] = {"images": {}, "used": {}, "accuracy": {}}
    for item in indexes:
        if item.index.classes == folders:
            with as_written(item.index.folder / "parts"):
                labels = item.index.table(["label"]).column("label").to_numpy()
            columns["images"].setdefault("indexed", np.bincount(labels, minlength=len(folders)).tolist())
    for data in datasets:
        if data.data.classes == folders:
            used = {(tile.label, tile.key) for tile in data.plan.tiles}
            counts = np.bincount([label for label, _ in used], minlength=len(folders))
            columns["used"].setdefault(data.title, counts.tolist())
    for row in table[:_CLASS_COLUMNS]:
        title = ", ".join(filter(None, (f"{row.method} {row.ipc}", row.student, row.variant)))
        columns["accuracy"][title] = [row.per_class.get(folder, math.nan) for folder in folders]
    lines = list(zip(folders, names, range(len(folders)), strict=True))
    left = {
        "left_out": max(0, len(lines) - _CLASS_ROWS),
        "columns_left_out": max(0, len(table) - _CLASS_COLUMNS),
    }
    return {"lines": lines[:_CLASS_ROWS], **left, **columns}


def _shared(found: Found) -> list[tuple[str, int, int]]:
    """Validation sources whose images were learned from: name, how many at most, and of how many."""
    most: dict[str, tuple[int, int]] = {}
    for student in found.students:
        most[student.val_name] = max(
            most.get(student.val_name, (0, 0)), (student.val_shared, student.val_images)
        )
    return [(name, shared, images) for name, (shared, images) in most.items() if shared]


def _skipped(found: Found) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Images that were left out: where, how many, and the first of them with reasons."""
    lists = [(item.index.info["source"]["name"], item.index.info["skipped"]) for item in found.indexes]
    lists += [(f"{s.val_name} (validation)", s.val_skipped) for s in found.students]
    once = {str(name): items for name, items in lists if items}
    return [
        (name, len(skipped), [tuple(item) for item in skipped[:_SKIPPED_ROWS]])
        for name, skipped in once.items()
    ]


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1%}"


def _accuracy(shares: list[float]) -> str:
    """Mean, and deviation when there are several."""
    return _percent(mean(shares)) + (f" ± {100 * deviation(shares):.1f}" if len(shares) > 1 else "")


def _points(differences: list[float]) -> str:
    """Percentage points with a sign; mean, and deviation when there are several."""
    if not differences:
        return "–"
    words = f"{100 * mean(differences):+.1f}"
    return words + (f" ± {100 * deviation(differences):.1f}" if len(differences) > 1 else "")


def _score(values: list[float]) -> str:
    """A score from 0 to 1; mean, and deviation when there are several."""
    if not values:
        return "–"
    return f"{mean(values):.3f}" + (f" ± {deviation(values):.3f}" if len(values) > 1 else "")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _memory(megabytes: float | None) -> str:
    if megabytes is None:
        return "–"
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)

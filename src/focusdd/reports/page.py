"""`report`: one self-contained page about what a folder holds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from math import isnan
from pathlib import Path
from statistics import mean
from typing import Any

from focusdd.comparison.verdict import Verdict
from focusdd.core.files import write_whole
from focusdd.reports.classes import class_tables
from focusdd.reports.collect import Found, Student, collect
from focusdd.reports.figures import accuracy_figure, cost_figure, deviation
from focusdd.reports.galleries import boxed, galleries
from focusdd.reports.looks import looks
from focusdd.reports.results import Row, amount, rows, scores, verdicts

NAME = "report.html"
_SKIPPED_ROWS = 20
# characters that turn the direction of text, and other controls: a name changes nothing beside it
_CONTROLS = [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F]
_CONTROLS += [*range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_VISIBLE = {code: f"\\u{code:04x}" for code in _CONTROLS}


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
        finalize=lambda value: value.translate(_VISIBLE) if isinstance(value, str) else value,
    )
    pages.filters.update(_FILTERS)
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
            panels[row.panel].append(row)
    classified = [data for data in found.distilled if not boxed(data)]
    infos = [item.index.info for item in found.indexes]
    shown, classes = galleries(found.distilled), class_tables(found, table)
    judged = verdicts(table)
    best = [_best(panel, judged) for panel in panels.values()]
    said = [verdict for *_, own in best for verdict in own]
    return {
        "detected": len(classified) < len(found.distilled),
        "chosen": any(data.index for data in found.distilled),
        "sources": _sources(found),
        "distilled_counts": sorted({len(list(data.plan.images())) for data in found.distilled}),
        "tables": [_table(lines) for lines in tables.values()],
        "best": best,
        "methods_shown": list(dict.fromkeys(row.method for row in table)),
        "figures": [(*key, accuracy_figure(panel), cost_figure(panel)) for key, panel in panels.items()],
        "fixed": any(len(row.seeds) > 1 and not row.redrawn for row in table),
        "judged": bool(judged),
        "verdicts": [(row, verdict) for row, verdict in judged if verdict not in said],
        "scores": scores(table),
        "teachers": list(
            dict.fromkeys(
                (teacher["name"], teacher["sample_accuracy"], _judged_on(student))
                for student in found.students
                if (teacher := student.result.get("teacher"))
            )
        ),
        "extractors": [(info["extractor"], *_judged_of(info["counts"])) for info in infos],
        "looks": looks(classified),
        "galleries": shown,
        "galleries_left_out": len(found.distilled) - len(shown),
        "extremes": [one["extremes"] for one in classes if one["extremes"]],
        "classes": classes,
        "shared": _shared(found),
        "contradictions": [
            (info["source"]["name"], sum(map(len, info["contradictions"])), info["contradictions"][0])
            for info in infos
            if info.get("contradictions")
        ],
        "skipped": _skipped(found),
        "short": [
            (data.title, data.info["short_classes"]) for data in found.distilled if data.info["short_classes"]
        ],
        "stages": found.stages,
    }


def _judged_of(counts: dict[str, Any]) -> tuple[int, str]:
    """What an extractor's accuracy was measured on: how many, and of what."""
    return (counts["objects"], "object") if "objects" in counts else (counts["images"], "source image")


def _judged_on(student: Student) -> str:
    """What the accuracy of a student's teacher was measured on: that of stored labels by `label`."""
    if student.settings.get("labels") in ("stored", "tiles", "views"):
        return f"tiles of {student.dataset.stage.shown if student.dataset else 'the distilled images'}"
    return f"a sample of the validation images of {student.result['val']['name']}"


def _table(lines: list[Row]) -> dict[str, Any]:
    """The results on one validation set, with the columns that say something there."""
    columns = {
        name: title
        for name, title in lines[0].task.comparison.columns.items()
        if any(row.scores[name] for row in lines)
    }
    balanced = [pair for row in lines for pair in zip(row.main, row.scores.get("balanced", []), strict=False)]
    if all(abs(one - other) < 0.0005 for one, other in balanced):  # classes of equal size
        columns.pop("balanced", None)
    if all(len(row.per_class) <= 5 for row in lines):  # every class is among the five most probable
        columns.pop("top5", None)
    return {"val": lines[0].val, "lines": lines, "columns": columns}


def _sources(found: Found) -> list[dict[str, Any]]:
    """The sources that indexes and distilled datasets were made of, each once."""
    sources: dict[str, dict[str, Any]] = {}
    for info in [data.info for data in found.distilled] + [item.index.info for item in found.indexes]:
        images = info["source_images"] if "source_images" in info else info["counts"]["images"]
        known = {"name": info["source"]["name"], "images": images, "classes": len(info["classes"])}
        sources.setdefault(info["source"]["fingerprint"], known)
    return list(sources.values())


def _best(
    panel: list[Row], judged: list[tuple[Row, Verdict]]
) -> tuple[Row, float, list[tuple[str, float, int]], list[Verdict]]:
    """A row, the largest ipc, and there each method with its highest accuracy and the number of its rows (the
    full data stand beside any ipc), and the verdicts."""
    ipc = max((row.ipc for row in panel if row.method != "full"), default=panel[0].ipc)
    methods: dict[str, list[float]] = defaultdict(list)
    for row in panel:
        if row.ipc == ipc or row.method == "full":
            methods[row.method].append(mean(row.main))
    best = [(method, max(tops), len(tops)) for method, tops in methods.items()]
    here = (panel[0].panel, ipc, True)
    return panel[0], ipc, best, [own for row, own in judged if (row.panel, row.ipc, row.augmented) == here]


def _shared(found: Found) -> list[tuple[str, int, int]]:
    """Validation sources whose images were learned from: name, how many at most, and of how many."""
    most: dict[str, tuple[int, int]] = {}
    for val in (student.result["val"] for student in found.students):
        most[val["name"]] = max(most.get(val["name"], (0, 0)), (val.get("shared", 0), val["images"]))
    return [(name, shared, images) for name, (shared, images) in most.items() if shared]


def _skipped(found: Found) -> list[tuple[str, int, list[list[str]]]]:
    """Images that were left out: where, how many, and the first of them with reasons."""
    lists = {item.index.info["source"]["name"]: item.index.info["skipped"] for item in found.indexes}
    lists |= {
        f"{val['name']} (validation)": val["skipped"] for val in (s.result["val"] for s in found.students)
    }
    return [(name, len(skipped), skipped[:_SKIPPED_ROWS]) for name, skipped in lists.items() if skipped]


def _mean(first: str, more: str, scale: float) -> Callable[[list[float]], str]:
    """Words for a mean, with the deviation where there are several values."""

    def words(values: list[float]) -> str:
        if not values:
            return "–"
        text = first.format(scale * mean(values))
        return f"{text} ± {more.format(scale * deviation(values))}" if len(values) > 1 else text

    return words


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


_FILTERS: dict[str, Callable[..., str]] = {
    "amount": amount,
    "percent": lambda share: "–" if isnan(share) else f"{share:.1%}",
    "accuracy": _mean("{:.1f}%", "{:.1f}", 100),
    "points": _mean("{:+.1f}", "{:.1f}", 100),
    "score": _mean("{:.3f}", "{:.3f}", 1),
    "duration": _duration,
    "memory": _memory,
    "json": lambda value: json.dumps(value, indent=1, ensure_ascii=False),
}

"""Writes what results/*.csv say into README and docs/understand: measured, ablations and cost.

python tools/benchmarks_page.py
"""

from __future__ import annotations

import csv
import tomllib
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "understand"
START, END = "<!-- results: written by tools/benchmarks_page.py -->\n", "<!-- end of results -->\n"

Row = dict[str, str]


def pages() -> dict[Path, str]:
    """Every page that results are written into, with its text."""
    texts = {ROOT / "README.md": readme(), DOCS / "measured.md": measured()}
    return texts | {DOCS / "ablations.md": ablations(), DOCS / "cost.md": cost()}


def readme() -> str:
    """The README with its tables: students on imagenette beside published ones, and detectors."""
    plan = _layout("measured")
    table, _ = _laid_out(plan["readme"], plan)
    scores, data = _detectors_learnt(), plan["readme"]["detection_data"]
    lines = [
        [label, *(_cell(scores[row][name]) for row in ("random", "full", "focus"))] for label, name in data
    ]
    detection = _table([plan["readme"]["detection_head"], *lines])
    return _between(ROOT / "README.md", f"{table}\n{plan['readme']['detection'].strip()}\n\n{detection}")


def measured() -> str:
    """A table per question, none of whose cells is empty."""
    plan = _layout("measured")
    parts = [plan["head"].lstrip(), _tables(plan)]
    models = _rows("sweep-models.csv")
    lines = [["model", "data", "fitted with", "its top-1 %"]]
    lines += [
        [row["model"], row["data"], row["settings"], f"{100 * float(row['val_top1']):.1f}"] for row in models
    ]
    parts.append(f"## Models that were fitted\n\n{_table(lines)}\n{_origin(models)}\n\n{plan['tried']}\n")
    parts.append(f"## Other students, sizes and epochs?\n\n{plan['students'].strip()}\n\n{students()}\n")
    parts.append(f"## Object detection?\n\n{plan['detection'].strip()}\n\n{detection()}\n")
    parts.append(f"## Other detectors?\n\n{plan['detectors'].strip()}\n\n{detectors()}\n")
    parts.append(f"## What does a whole run take?\n\n{plan['whole_run'].strip()}\n\n{whole_run()}\n")
    parts.append(f"## How fast is it on a GPU?\n\n{_gpu(plan['gpu']['lines'])}")
    return "".join(parts).rstrip() + "\n"


def _tables(plan: dict[str, Any]) -> str:
    """The questions of a layout, each with its table, what it says and where it comes from."""
    parts = []
    for table in plan["tables"]:
        cells, origin = _laid_out(table, plan)
        parts.append(f"## {table['title']}\n\n{table['text'].strip()}\n\n{cells}\n")
        parts.append(f"{table['found'].strip()}\n\n{origin}\n\n")
    return "".join(parts)


def _laid_out(table: dict[str, Any], plan: dict[str, Any]) -> tuple[str, str]:
    """A table of a layout, and where its cells come from."""
    lines, used = [table["head"]], []
    for label, *cells in table["lines"]:
        line = [label]
        for cell in cells:
            kind, _, name = cell.partition(" ")
            if kind == "published":
                line.append("{} ({})".format(*plan["published"][name]))
                continue
            column, _, runs = cell.rpartition(" of ")
            run, _, method = (name if kind == "teacher" else runs).partition(": ")
            rows = _one_per_seed(plan["runs"][run], method)
            used += rows
            column = "teacher_top1_sample" if kind == "teacher" else column or "top1"
            scores = [100 * float(row[column]) for row in rows]
            line.append(f"{scores[0]:.1f}" if kind == "teacher" else _cell(scores))
        lines.append(line)
    return _table(lines), _origin(used)


def _one_per_seed(run: Row, method: str) -> list[Row]:
    """The rows of a run and a method, "" for all: a seed that was run twice counts once."""
    wanted = {name: value for name, value in run.items() if name != "file"}
    rows = _rows(run.get("file", "sweep.csv"))
    found = [
        row
        for row in rows
        if method in ("", row.get("row", row.get("method"))) and wanted.items() <= row.items()
    ]
    if not found:
        raise ValueError(f"no row for {run} and {method!r}")
    return list({row["seed"]: row for row in found}.values())


def students() -> str:
    """Top-1 by setting of imagenette's own file, where all three methods were run."""
    runs: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rows = _rows("imagenette.csv")
    for row in rows:
        labels = "dense" if float(row["regions"]) else "of whole views"
        key = (int(row["ipc"]), row["student"], labels, int(row["epochs"]), int(row["size"]))
        runs[key][row["method"]].append(100 * float(row["top1"]))
    methods = ("random", "rded", "focus")
    lines = [["ipc", "student", "labels", "epochs", "px", *methods]]
    for key, scores in sorted(runs.items()):
        if all(method in scores for method in methods):
            lines.append([*map(str, key), *(_cell(scores[method]) for method in methods)])
    return f"{_table(lines)}\n{_origin(rows)}\n"


def detection() -> str:
    """mAP50-95 by method and settings on each data set; what is the default is bold."""
    rows, scores = _rows("detect-sizes.csv"), _detectors_learnt()
    data = list(scores["focus"])
    lines, shown = [["", *data]], []
    for name in dict.fromkeys(["focus", "random", "full", *scores]):
        if scores[name].keys() == set(data):
            shown += [row for row in rows if row["row"] == name]
            mark = "**" if name == "focus" else ""
            lines.append([f"`{name}`", *(f"{mark}{_cell(scores[name][one])}{mark}" for one in data)])
    return f"{_table(lines)}\n{_origin(shown)}\n"


def _detectors_learnt() -> dict[str, dict[str, list[float]]]:
    """mAP50-95 of every seed in percent, by row and data set."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows("detect-sizes.csv"):
        scores[row["row"]][row["data"]].append(100 * float(row["map"]))
    return scores


def detectors() -> str:
    """mAP of detectors that learn at a size of their own, by data set and method."""
    runs: dict[tuple[str, str], list[Row]] = defaultdict(list)
    shown = [row for row in _rows("detect-sizes.csv") if "train.size=" in row["row"]]
    for row in shown:
        runs[row["data"], row["row"]].append(row)
    lines = [["data", "row", "mAP50-95", "mAP50"]]
    for (data, name), rows in runs.items():
        scores = (_cell([100 * float(row[column]) for row in rows]) for column in ("map", "map50"))
        lines.append([data, f"`{name}`", *scores])
    return f"{_table(lines)}\n{_origin(shown)}\n"


def whole_run() -> str:
    """The stages of runs of `focusdd run`, by command; a stage that a later run found there counts once."""
    runs: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in _rows("run-imagenette.csv"):
        runs[row["command"]].setdefault(row["folder"], row)
    parts, known = [], dict[str, Row]()
    for command, stages in runs.items():
        known |= stages
        minutes = sum(float(row["seconds"]) for row in known.values()) / 60
        lines = [["folder", "stage", "images", "epochs", "top-1 %", "seconds"]]
        for row in stages.values():
            top1 = f"{100 * float(row['top1']):.1f}" if row["top1"] else "-"
            seconds = f"{float(row['seconds']):,.4g}"
            images, epochs = f"{int(row['images']):,}", row["epochs"] or "-"
            lines.append([row["folder"], row["stage"], images, epochs, top1, seconds])
        said = f"`{command}`, {minutes:.0f} minutes in all."
        parts.append(f"{_table(lines)}\n{said} {_origin([*stages.values()])}\n")
    return "\n".join(parts)


def _gpu(pairs: list[list[str]]) -> str:
    """What each of the package's ways gains on a GPU."""
    rows = {row["name"]: row for row in _rows("gpu-h200.csv")}
    lines = [["what", "is", "against", "times as fast"]]
    for label, name, against in pairs:
        one, two = rows[name], rows[against]
        values = [float(row["value"]) for row in (one, two)]
        times = values[1] / values[0] if one["unit"] == "ms" else values[0] / values[1]
        said = (f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" for value in values)
        lines.append([label, *(f"{value} {one['unit']}" for value in said), f"{times:.2f}"])
    return f"{_table(lines)}\n`python benchmarks/gpu.py`. {_origin(list(rows.values()))}\n"


def ablations() -> str:
    """A table per setting."""
    plan = _layout("ablations")
    return f"{plan['head'].lstrip()}{_tables(plan)}".rstrip() + "\n"


def cost() -> str:
    """The page with its table: the hours that the recipe takes on devices as those that were measured."""
    devices = (1, 8, 64)
    heads = ["step", "images", "images/s", *(f"hours on {count}" for count in devices), "measured on", "on"]
    lines = [heads]
    for path in sorted((ROOT / "results").glob("*.csv")):
        for row in _rows(path.name):
            if path.stem.startswith("cost-"):
                step, rate = row["step"], float(row["images per second"])
                images = int(row["images"].replace(",", ""))
            elif path.stem.startswith("gpu-") and row["name"].startswith("cost, ") and row["value"]:
                step, rate = row["name"].removeprefix("cost, "), float(row["value"])
                images = int(row["detail"].split()[0])
            else:
                continue
            hours = (f"{images / rate / count / 3600:.3g}" for count in devices)
            lines.append([step, f"{images:,}", f"{rate:,.0f}", *hours, row["machine"], row["date"]])
    return _between(DOCS / "cost.md", _table(lines))


def _layout(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "benchmarks" / f"{name}.toml").read_text(encoding="utf-8"))


def _rows(name: str) -> list[Row]:
    """The rows of a file of results, without those of a tree that held more than its commit."""
    with (ROOT / "results" / name).open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if not row["commit"].endswith("-dirty")]


def _between(page: Path, table: str) -> str:
    text = page.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{table}\n{END}{after}"


def _origin(rows: list[Row]) -> str:
    """Machines, dates, commits and, of a sweep, groups of rows, in sentences."""
    said = ["; ".join(sorted({row[name] for row in rows})) for name in ("machine", "date", "commit")]
    groups = " ".join(sorted({f'"{row["group"]}"' for row in rows if "group" in row}))
    command = f" Rows of `sweep.py ... --groups {groups}`." if groups else ""
    return "Measured on {}, {}, commit {}.".format(*said) + command


def _table(lines: list[list[str]]) -> str:
    head, *rest = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rest))


def _cell(scores: list[float]) -> str:
    if len(scores) == 1:
        return f"{scores[0]:.1f} (one seed)"
    return f"{mean(scores):.1f} ± {stdev(scores):.1f} ({len(scores)} seeds)"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

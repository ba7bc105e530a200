"""Writes the pages and tables of results/*.csv: benchmarks, ablations, measured, in README and in cost.

python tools/benchmarks_page.py
"""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
ABLATIONS = ROOT / "docs" / "ablations.md"
COST = ROOT / "docs" / "cost.md"
MEASURED = ROOT / "docs" / "measured.md"
LAYOUT = ROOT / "benchmarks" / "measured.toml"
START, END = "<!-- results: written by tools/benchmarks_page.py -->\n", "<!-- end of results -->\n"
HEAD = """# Benchmarks

Every file of results: what it holds, the script in `benchmarks/` that made it, machine, date and commit.
Short files are shown, without the columns that not every row has. What the larger ones say is in
[measured.md](measured.md) and [ablations.md](ablations.md). Accuracies are fractions. Generated from
`results/*.csv` by `python tools/benchmarks_page.py`.

"""
ABLATIONS_HEAD = """# Ablations

What each setting is worth, measured on imagenette with all else and the seeds the same: the whole validation
set, weights of the last epoch, no choice by the validation set. Generated from
`results/ablations.csv` by `python tools/benchmarks_page.py`; every run with its commit, machine and date is
in [benchmarks.md](benchmarks.md). Cells are mean and deviation over the seeds; where there is one seed,
differences under a point mean nothing.

A row is a method and the settings in which it differs from the reference: {reference}. The recipe
of dense labels has {region}; that of labels of whole views {whole}. The flags of `regions` and `mixup` are
`--dense-weight` and `--mix-prob`. The reference has one key patch and three whole images; the default of
`focusdd distill` is whole images alone.

```sh
python benchmarks/ablations.py TABLE DATA --extractor VIT --teacher TEACHER --work runs/ablations \\
    --recipe region --ipc 10 --epochs 300 --seeds 0 1 2
```

"""
MOST_ROWS = 24  # of a file that is shown in full
ORIGIN = ("machine", "date", "commit", "torch", "focusdd", "ultralytics")
TAUGHT = {"region": "dense labels", "whole": "labels of whole views"}


def page() -> str:
    """The page as text: each file of results with its origin, short ones as a table."""
    parts = [HEAD]
    abouts = tomllib.loads(LAYOUT.read_text(encoding="utf-8"))["about"]
    for path in sorted((ROOT / "results").glob("*.csv")):
        rows = _rows(path.name)
        about = (abouts.get(path.stem) or abouts[path.stem.partition("-")[0]]).strip()
        count = f"{len(rows)} rows" if len(rows) > 1 else "One row"
        parts.append(f"## {path.stem}\n\n{about}\n\n")
        parts.append(f"{count} in [results/{path.name}](../results/{path.name}). {_origin(rows)}\n\n")
        if len(rows) <= MOST_ROWS:
            hidden = set(ORIGIN) if len({row["machine"] for row in rows}) == 1 else set(ORIGIN[1:])
            filled = [name for name in rows[0] if all(row[name] for row in rows) and name not in hidden]
            lines = [filled, ["---"] * len(filled), *([row[name] for name in filled] for row in rows)]
            parts.append(_table(lines) + "\n")
    return "".join(parts).rstrip() + "\n"


def ablations() -> str:
    """docs/ablations.md: a table per question, mean and deviation over the seeds."""
    words = tomllib.loads((ROOT / "benchmarks" / "ablations.toml").read_text(encoding="utf-8"))
    with (ROOT / "results" / "ablations.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    recipes = {"reference": words["reference"]} | words["recipes"]
    said = {name: ", ".join(f"{one} {value}" for one, value in of.items()) for name, of in recipes.items()}
    parts = [ABLATIONS_HEAD.format(**said)]
    for name, table in words["tables"].items():
        students = table.get("students", ["resnet18"])
        mine = [row for row in rows if row["row"] in table["rows"] and row["student"] in students]
        runs = list(dict.fromkeys(_run(row) for row in mine))
        lines = [["run", "row", "top-1 %"], ["---"] * 3]
        for run in sorted(runs):
            recipe, ipc, epochs, student, size = run
            setting = f"ipc {ipc}, {epochs} epochs, {student}, {size} px, {TAUGHT[recipe]}"
            for text in table["rows"]:
                scores = [100 * float(row["top1"]) for row in mine if row["row"] == text and _run(row) == run]
                if scores:
                    lines.append([setting, text, _cell(scores)])
        parts.append(
            f"## {table['title']}\n\n`python benchmarks/ablations.py {name} ...`\n\n{_table(lines)}\n"
        )
        if name == "extractor":
            parts.append(f"{_table(_extractors())}\n")
        if found := table.get("found"):
            parts.append(f"{found.strip()}\n\n")
    return "".join(parts).rstrip() + "\n"


def _extractors() -> list[list[str]]:
    """The ViTs of the extractor's table and how good they are themselves."""
    lines = [["extractor", "model", "epochs", "at px", "its own top-1 %"], ["---"] * 5]
    with (ROOT / "results" / "extractors.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            model = " ".join(filter(None, (row["model"], row["model_args"]))) or "as given"
            own = f"{100 * float(row['top1']):.1f}"
            lines.append([row["extractor"], model, row["epochs"], row["size"], own])
    return lines


def _run(row: dict[str, str]) -> tuple[str, int, int, str, int]:
    return row["recipe"], int(row["ipc"]), int(row["epochs"]), row["student"], int(row["size"])


def readme() -> str:
    """The README with its table: students on imagenette beside published ones."""
    plan = tomllib.loads(LAYOUT.read_text(encoding="utf-8"))
    table, _ = _laid_out(plan["readme"], plan)
    text = README.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{table}\n{END}{after}"


def measured() -> str:
    """docs/measured.md: a table per question, none of whose cells is empty."""
    plan = tomllib.loads(LAYOUT.read_text(encoding="utf-8"))
    parts = [plan["head"]]
    for table in plan["tables"]:
        cells, origin = _laid_out(table, plan)
        parts.append(f"## {table['title']}\n\n{table['text'].strip()}\n\n{cells}\n")
        parts.append(f"{table['found'].strip()}\n\n{origin}\n\n")
    models = _rows("sweep-models.csv")
    lines = [["model", "data", "fitted with", "its top-1 %"], ["---"] * 4]
    lines += [
        [row["model"], row["data"], row["settings"], f"{100 * float(row['val_top1']):.1f}"] for row in models
    ]
    parts.append(f"## Models that were fitted\n\n{_table(lines)}\n{_origin(models)}\n\n{plan['tried']}\n")
    parts.append(f"## Other students, sizes and epochs?\n\n{plan['students']}\n\n{_table(students())}\n")
    parts.append(f"## Object detection?\n\n{plan['detection']}\n\n{_table(detection())}\n")
    parts.append(f"## How fast is it on a GPU?\n\n{_gpu(plan['gpu']['lines'])}")
    return "".join(parts).rstrip() + "\n"


def _laid_out(table: dict[str, Any], plan: dict[str, Any]) -> tuple[str, str]:
    """A table of benchmarks/measured.toml, and where its cells come from."""
    lines, used = [table["head"], ["---"] * len(table["head"])], []
    for label, *cells in table["lines"]:
        line = [label]
        for cell in cells:
            kind, _, name = cell.partition(" ")
            if kind == "published":
                line.append("{} ({})".format(*plan["published"][name]))
                continue
            run, _, method = (f"{name}: view" if kind == "teacher" else cell).partition(": ")
            rows = _one_per_seed(plan["runs"][run], method)
            used += rows
            column = "teacher_top1_sample" if kind == "teacher" else "top1"
            scores = [100 * float(row[column]) for row in rows]
            line.append(f"{scores[0]:.1f}" if kind == "teacher" else _cell(scores))
        lines.append(line)
    return _table(lines), _origin(used)


def _one_per_seed(run: dict[str, str], method: str) -> list[dict[str, str]]:
    """The rows of a run and a method: a seed that was run twice counts once."""
    wanted = {name: value for name, value in run.items() if name != "file"}
    rows = _rows(run.get("file", "sweep.csv"))
    found = [
        row for row in rows if row.get("row", row.get("method")) == method and wanted.items() <= row.items()
    ]
    if not found:
        raise ValueError(f"no row for {run} and {method!r}")
    return list({row["seed"]: row for row in found}.values())


def students() -> list[list[str]]:
    """Top-1 of all settings of imagenette's own files, by method."""
    runs: dict[tuple[Any, ...], list[float]] = {}
    for name, photographs in (("imagenette.csv", "all"), ("imagenette-part.csv", "six tenths")):
        for row in _rows(name):
            labels = "dense" if float(row["regions"]) else "of whole views"
            setting = (photographs, int(row["ipc"]), row["student"], f"{row['size']} px", labels)
            key = (*setting, int(row["epochs"]), row["method"])
            runs.setdefault(key, []).append(100 * float(row["top1"]))
    heads = ["photographs", "ipc", "student", "size", "labels", "epochs", "method", "top-1 %"]
    lines = [[*map(str, key), _cell(scores)] for key, scores in sorted(runs.items())]
    return [heads, ["---"] * len(heads), *lines]


def _origin(rows: list[dict[str, str]]) -> str:
    """Machines, dates and commits of rows, in a sentence."""
    said = ["; ".join(sorted({row[name] for row in rows})) for name in ("machine", "date", "commit")]
    return "Measured on {}, {}, commit {}.".format(*said)


def _gpu(pairs: list[list[str]]) -> str:
    """What each of the package's ways gains on a GPU."""
    rows = {row["name"]: row for row in _rows("gpu-h200.csv")}
    lines = [["what", "is", "against", "times as fast"], ["---"] * 4]
    for label, name, against in pairs:
        one, two = rows[name], rows[against]
        values = [float(row["value"]) for row in (one, two)]
        times = values[1] / values[0] if one["unit"] == "ms" else values[0] / values[1]
        said = (f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" for value in values)
        lines.append([label, *(f"{value} {one['unit']}" for value in said), f"{times:.2f}"])
    return f"{_table(lines)}\n`python benchmarks/gpu.py`. {_origin(list(rows.values()))}\n"


def _rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "results" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cost() -> str:
    """docs/cost.md with its table: the hours that the recipe takes on devices as those that were measured."""
    devices = (1, 8, 64)
    heads = ["step", "images", "images/s", *(f"hours on {count}" for count in devices), "measured on", "on"]
    lines = [heads, ["---"] * len(heads)]
    for path in sorted((ROOT / "results").glob("*.csv")):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
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
    text = COST.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n{_table(lines)}\n{END}{after}"


def detection() -> list[list[str]]:
    """mAP50-95 by budget and method, mean and deviation over seeds."""
    runs: dict[tuple[str, int, int, str], list[float]] = {}
    for path in sorted((ROOT / "results").glob("detect-*.csv")):
        for row in _rows(path.name):
            if "map" in row:
                data = path.stem.removeprefix("detect-").partition("-")[0]
                setting = (data, int(row["steps"]), int(row["images"]), row["method"])
                runs.setdefault(setting, []).append(100 * float(row["map"]))
    heads = ["data", "steps", "images", "method", "mAP50-95 %"]
    lines = [
        [data, str(steps), f"{images:,}", method, _cell(scores)]
        for (data, steps, images, method), scores in sorted(runs.items())
    ]
    return [heads, ["---"] * len(heads), *lines]


def _table(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(scores: list[float]) -> str:
    if len(scores) == 1:
        return f"{scores[0]:.1f} (one seed)"
    return f"{mean(scores):.1f} ± {stdev(scores):.1f} ({len(scores)} seeds)"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    ABLATIONS.write_text(ablations(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
    MEASURED.write_text(measured(), encoding="utf-8")
    COST.write_text(cost(), encoding="utf-8")

"""Writes docs/benchmarks.md from results/*.csv: nothing in it is typed.

python tools/benchmarks_page.py
"""

from __future__ import annotations

import csv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Generated from `results/*.csv` by `python tools/benchmarks_page.py`. Every row names the commit, the machine
and the date; the script in `benchmarks/` that made it stands above its table. Accuracies are fractions.

"""
ABOUT = {
    "ablation": "One setting at a time, students on distilled imagenette, whole validation set, last weights "
    "(`benchmarks/ablations.py`).",
    "attention": "Cost of class attention against a plain forward of the same model, in turns within one run "
    "(`benchmarks/attention.py`).",
    "coverage": "Share of generated images whose first key patch covers at least 80 % of the true object's "
    "box (`benchmarks/coverage.py`).",
    "imagenette": "Students trained on distilled imagenette, whole validation set, last weights "
    "(`benchmarks/students.py`). Seconds are wall time on a machine that did other work too; "
    "empty where a run was stopped and resumed before they were kept.",
    "labels": "Stored labels: how far a composed label is from the teacher's, as a share of a uniform label's "
    "distance (weight), bytes and speed (`benchmarks/labels.py`, `benchmarks/labels_cost.py`).",
    "precision": "Training steps by precision and memory layout, in turns within one run "
    "(`benchmarks/precision.py`).",
    "scale": "Select on an index of random numbers as large as ImageNet-1K's (`benchmarks/scale.py`).",
    "stages": "Time and peak memory of the stages on imagenette (`benchmarks/stages.py`).",
}


def page() -> str:
    """The page as text."""
    parts = [HEAD]
    for path in sorted((ROOT / "results").glob("*.csv")):
        with path.open(encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        parts.append(f"## {path.stem}\n\n{ABOUT[path.stem.partition('-')[0]]}\n\n")
        lines = [header, ["---"] * len(header), *rows]
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n")
    return "".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

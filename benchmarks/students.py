"""Students on distilled datasets: methods x seeds on one source, one row per run in a CSV file.

    python benchmarks/students.py DATA --extractor VIT --teacher TEACHER --work runs/imagenette \
        --csv results/imagenette.csv --methods focus random rded view --ipc 10 --seeds 0 1 2

Method full is the source itself, for as many images seen as the others see. Finished rows are kept: the same
command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

from tables import ran_on

from focusdd import DistillSettings, ExtractSettings, TrainSettings, distill, extract, open_source, train
from focusdd.training.train import train_on_source

COLUMNS = [
    "method", "ipc", "seed", "student", "size", "epochs", "labels", "regions", "lr", "top1", "top5",
    "teacher_top1_sample", "seconds_distil", "seconds_train", "peak_memory_mb", "commit", "torch",
    "machine", "date",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["focus", "random", "rded", "view"])
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--view-size", type=int, default=128, help="what the extractor sees")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--regions", type=float, default=TrainSettings().dense_weight)
    options = parser.parse_args()
    source, val = open_source(options.data), open_source(options.data, "val")
    for seed in options.seeds:
        for method in options.methods:
            run = {"method": method, "ipc": options.ipc, "seed": seed, "student": options.student,
                   "size": options.size, "epochs": options.epochs, "labels": "soft",
                   "regions": options.regions}  # fmt: skip
            if done(options.csv, run):
                continue
            recipe = TrainSettings(
                student=options.student, teacher=options.teacher, size=options.size, epochs=options.epochs,
                seed=seed, dense_weight=options.regions,
            )  # fmt: skip
            made: dict[str, Any] = {}
            name = f"{method}-ipc{options.ipc}-seed{seed}"
            recipe_name = f"{options.student}-{options.size}px-{options.epochs}-{options.regions}"
            out = options.work / f"{name}-{recipe_name}"
            if method == "full":  # as many images seen as from the distilled datasets, in whole passes
                seen = options.epochs * options.ipc * len(source.classes)
                passes = recipe.model_copy(update={"epochs": max(1, round(seen / len(source.records)))})
                result = train_on_source(source, val, out, passes)
            else:
                settings = DistillSettings(ipc=options.ipc, method=method, seed=seed, teacher=options.teacher)
                index = None
                if method == "focus":
                    view = ExtractSettings(extractor=options.extractor, input_size=options.view_size)
                    index = extract(source, options.work / "index", view)
                distilled = distill(source, options.work / name, settings, index=index)
                result = train(distilled, val, out, recipe)
                made = read(distilled.folder / "run.json")
            cost = read(out / "run.json")
            append(options.csv, run | {
                "lr": result.settings["lr"], "top1": result.top1, "top5": result.top5,
                "teacher_top1_sample": round(result.teacher["sample_accuracy"], 4),
                "seconds_distil": made.get("seconds_total", ""), "seconds_train": cost["seconds"]["train"],
                "peak_memory_mb": cost["peak_memory_mb"], "commit": cost["commit"],
                "torch": cost["versions"]["torch"],
                "machine": ran_on(cost), "date": time.strftime("%Y-%m-%d"),
            }, COLUMNS)  # fmt: skip
            print(f"{name}: {result.top1:.1%}", flush=True)


def done(path: Path, run: dict[str, object]) -> bool:
    if not path.exists():
        return False
    with path.open() as file:
        return any(
            all(row[name] == str(value) for name, value in run.items()) for row in csv.DictReader(file)
        )


def append(path: Path, row: dict[str, object], columns: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()

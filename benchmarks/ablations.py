"""Ablations on one source: the rows of a table differ in what they say, and share all else and the seeds.

    python benchmarks/ablations.py crops DATA --extractor VIT --teacher TEACHER --work runs/ablations

One row per run in results/ablation-<table>.csv as it ends: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from students import append, done, read

from focusdd import DistillSettings, ExtractSettings, TrainSettings, distill, extract, open_source, train

# table -> row -> settings of distilling and training
TABLES: dict[str, dict[str, dict[str, dict[str, Any]]]] = {
    "crops": {
        "random": {"distill": {"method": "random"}, "train": {"batch_size": 50}},
        **{
            f"{method}, tile crops {share:g}": {
                "distill": {"method": method, "keep": 0.0},
                "train": {"batch_size": 50, "tile_crops": share},
            }
            for method, share in (
                ("focus", 0.0),
                ("focus", 0.5),
                ("focus", 1.0),
                ("view", 1.0),
                ("rded", 1.0),
            )
        },
    },
    "batch": {
        f"{method}, batch {batch}": {
            "distill": {"method": method, "keep": 0.0},
            "train": {"batch_size": batch, "tile_crops": 1.0},
        }
        for batch in (50, 20)
        for method in ("random", "focus")
    },
    "selection": {
        f"{name}, {views} views": {
            "distill": {"keep": keep, "views": views},
            "train": {"batch_size": 20, "tile_crops": 1.0},
        }
        for name, keep in (("most realistic", 0.0), ("better half", 0.5), ("all", 1.0))
        for views in (1, 2)
    },
    "layout": {
        f"grid {grid}, {views} views": {
            "distill": {"keep": 1.0, "grid": grid, "views": views},
            "train": {"batch_size": 20, "tile_crops": 1.0},
        }
        for grid, views in ((1, 0), (2, 0), (2, 1), (2, 4), (3, 2), (4, 4))
    },
}
COLUMNS = ["row", "ipc", "seed", "student", "size", "epochs", "top1", "top5", "seconds_train", "commit",
           "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("data")
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--rows", nargs="+", help="only these")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--view-size", type=int, default=128, help="what the extractor sees")
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    source, val = open_source(options.data), open_source(options.data, "val")
    path = options.results / f"ablation-{options.table}.csv"
    for seed in options.seeds:
        for name, changes in TABLES[options.table].items():
            run = {"row": name, "ipc": options.ipc, "seed": seed, "student": options.student,
                   "size": options.size, "epochs": options.epochs}  # fmt: skip
            if done(path, run) or (options.rows and name not in options.rows):
                continue
            folder = options.work / options.table / f"{name}-ipc{options.ipc}-seed{seed}".replace(", ", "-")
            settings = DistillSettings(
                **{"ipc": options.ipc, "seed": seed, "teacher": options.teacher} | changes.get("distill", {})
            )
            index = None
            if settings.method == "focus":
                views = ExtractSettings(extractor=options.extractor, input_size=options.view_size)
                index = extract(source, options.work / "index", views)
            distilled = distill(source, folder / "distilled", settings, index=index)
            recipe = {"student": options.student, "teacher": options.teacher, "size": options.size,
                      "epochs": options.epochs, "seed": seed}  # fmt: skip
            recipe |= changes.get("train", {})
            out = folder / f"{options.student}-{options.size}px-{options.epochs}"
            result = train(distilled, val, out, TrainSettings(**recipe))
            cost = read(out / "run.json")
            append(path, run | {
                "top1": result["top1"], "top5": result["top5"], "seconds_train": cost["seconds"]["train"],
                "commit": cost["commit"], "machine": cost["machine"], "date": time.strftime("%Y-%m-%d"),
            }, COLUMNS)  # fmt: skip
            print(f"{folder.name}: {result['top1']:.1%}", flush=True)


if __name__ == "__main__":
    main()

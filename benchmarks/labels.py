"""Label kinds on one distilled dataset: bytes, accuracy and speed, one row per run in a CSV file.

    python benchmarks/labels.py TINY DATA --teacher TEACHER --work runs/labels --seeds 0 1 2

TINY is a distilled dataset, DATA the source whose validation images score the students. Finished rows are
kept: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from tables import append, done, ran_on, read

from focusdd import LabelSettings, TrainSettings, label, open_source, train
from focusdd.composition.dataset import open_distilled
from focusdd.labels.packed import record_type

# row -> settings of `label`; None asks the teacher online, {} learns the class index. Rows "by region" tell
# locations apart, all others know whole views alone
ROWS: dict[str, dict[str, Any] | None] = {
    "online": None,
    "online by region": None,
    "hard": {},
    "tiles, 8 bits": {"kind": "tiles"},
    "tiles, 4 bits": {"kind": "tiles", "bits": 4},
    "tiles, top 3, 8 bits": {"kind": "tiles", "top": 3},
    "6 views, 8 bits": {"kind": "views", "num_crops": 6},
    "12 views, 8 bits": {"kind": "views", "num_crops": 12},
    "21 views, 4 bits": {"kind": "views", "num_crops": 21, "bits": 4},
    "50 views, top 3, 8 bits": {"kind": "views", "num_crops": 50, "top": 3},
    "150 views, 8 bits": {"kind": "views", "num_crops": 150},
    "300 views, 8 bits": {"kind": "views", "num_crops": 300},
    "9 views by region, 4 x 4, 8 bits": {"kind": "views", "num_crops": 9, "dense": 4},
    "30 views by region, 4 x 4, 8 bits": {"kind": "views", "num_crops": 30, "dense": 4},
    "50 views by region, 4 x 4, 4 bits": {"kind": "views", "num_crops": 50, "dense": 4, "bits": 4},
    "150 views by region, 2 x 2, 8 bits": {"kind": "views", "num_crops": 150, "dense": 2},
    "150 views by region, 4 x 4, 8 bits": {"kind": "views", "num_crops": 150, "dense": 4},
}
COLUMNS = ["row", "method", "ipc", "seed", "student", "size", "epochs", "bytes_per_image", "of_full_fp16",
           "imagenet_ipc10_mb", "imagenet_ipc50_mb", "imagenet_ipc100_mb", "top1", "top5",
           "images_per_second", "seconds_label", "seconds_train", "commit", "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("distilled", type=Path)
    parser.add_argument("data")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, default=Path("results/labels-imagenette.csv"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    info = open_distilled(options.distilled).info
    val = open_source(options.data, "val")
    for seed in options.seeds:
        for name in options.rows:
            run = {"row": name, "method": info["method"], "ipc": info["ipc"], "seed": seed,
                   "student": options.student, "size": options.size, "epochs": options.epochs}  # fmt: skip
            if done(options.csv, run):
                continue
            changes = ROWS[name]
            folder = options.work / f"{name}-{options.epochs}-seed{seed}".replace(", ", "-").replace(" ", "-")
            own = folder / "tiny"
            if not own.exists():
                shutil.copytree(options.distilled, own, ignore=shutil.ignore_patterns("labels"))
            size, seconds = 0.0, 0.0
            if changes:
                settings = {"teacher": options.teacher, "size": options.size, "seed": seed} | changes
                (store,) = label(own, LabelSettings(**settings))
                size = store.bytes / store.info["images"]
                seconds = read(store.folder / "run.json")["seconds"]["label"]
            kind = "soft" if changes is None else changes.get("kind", "hard")
            recipe = TrainSettings(student=options.student, teacher=options.teacher, labels=kind,
                                   size=options.size, epochs=options.epochs, seed=seed,
                                   dense_weight=float("by region" in name))  # fmt: skip
            result = train(own, val, folder / "student", recipe)
            cost = read(folder / "student" / "run.json")
            full = options.epochs * len(info["classes"]) * 2
            append(options.csv, run | {
                "bytes_per_image": round(size, 1), "of_full_fp16": share(size, full),
                **{f"imagenet_ipc{ipc}_mb": round(imagenet_bytes(changes, info["grid"]) * ipc * 1e-3, 1)
                   for ipc in (10, 50, 100)},
                "top1": result.top1, "top5": result.top5,
                "images_per_second": round(cost["images"] * options.epochs / cost["seconds"]["train"], 1),
                "seconds_label": seconds, "seconds_train": cost["seconds"]["train"],
                "commit": cost["commit"], "machine": ran_on(cost), "date": time.strftime("%Y-%m-%d"),
            }, COLUMNS)  # fmt: skip
            print(f"{name}, seed {seed}: {result.top1:.1%}", flush=True)


def share(size: float, full: int) -> str:
    """A size as a part of another, or as so many times it."""
    return "" if not size else f"1/{full / size:.0f}" if size < full else f"{size / full:.1f}"


def imagenet_bytes(changes: dict[str, Any] | None, grid: int) -> int:
    """Bytes per image of these labels for 1,000 classes."""
    if not changes:
        return 0
    each = record_type(1000, changes.get("top", 32), changes.get("bits", 8)).itemsize
    if changes["kind"] == "views":
        labels = changes["views"] * (1 + changes.get("dense", 0) ** 2)
    else:
        labels = 1 + grid**2 if grid > 1 else 1
    return each * labels + 8  # and what recognises a changed image


if __name__ == "__main__":
    main()

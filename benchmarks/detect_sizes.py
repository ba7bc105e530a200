"""Detection by the sizes of objects: rows x seeds on several data sets, one CSV line per run.

    python benchmarks/detect_sizes.py ../shared/data/foda10 ../shared/data/cards --extractor runs/vit \
        --work runs/sizes --csv results/detect-sizes.csv --jobs 12

A row is a method of `detect distill` and the settings in which it differs from the defaults, such as
"focus mix=1 layout=grid". All rows have the same number of distilled images, steps and recipe. Indexes are
made first, then distilled datasets, then detectors, each in a pool of processes. What is finished is kept:
the same command goes on where it was stopped. `--seconds` stops handing out jobs, for machines that are lent
for a while.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

COLUMNS = ["data", "row", "seed", "images", "objects", "masked", "coverage", "source_px", "distilled_px",
           "size", "steps", "map", "map50", "seconds_distil", "seconds_train", "device"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+", help="sources with boxes that have a validation split")
    parser.add_argument("--rows", nargs="+", default=["focus", "random", "full"])
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--input-size", type=int, default=128, help="of the extractor")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=30, help="distilled images")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--detector", default="yolo11n")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1" if options.jobs > 1 else os.environ.get("OMP_NUM_THREADS", "")
    trials = [
        (data, row, seed) for seed in range(options.seeds) for data in options.data for row in options.rows
    ]
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        end = time.monotonic() + options.seconds
        for stage, jobs in (
            (extract, options.data),
            (distil, dict.fromkeys((data, row, dataset(data, row, seed)) for data, row, seed in trials)),
            (train, trials),
        ):
            for line in in_pool(pool, partial(stage, options=options), jobs, end):
                print(f"{end - time.monotonic():8.1f} s left  {line}", flush=True)
    lines = [result(trial, options) for trial in trials]
    with options.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(line for line in lines if line)
    for data in options.data:
        for row in options.rows:
            scores = [
                line["map"] for line in lines if line and (line["data"], line["row"]) == (data.name, row)
            ]
            if scores:
                spread = " ".join(f"{100 * score:.1f}" for score in scores)
                print(f"{data.name:10} {row:30} {100 * sum(scores) / len(scores):5.1f} mAP50-95 ({spread})")


def in_pool(
    pool: ProcessPoolExecutor, work: Callable[[Any], str], jobs: Iterable[Any], end: float
) -> Iterable[str]:
    """What the jobs say, as they end; those that have not begun at `end` are left out."""
    futures = [pool.submit(timely, work, job, end - time.monotonic(), time.time()) for job in jobs]
    for future in as_completed(futures):
        error = future.exception()
        yield future.result() if error is None else f"FAILED {error!r}"


def timely(work: Callable[[Any], str], job: Any, seconds: float, since: float) -> str:
    return work(job) if time.time() - since < seconds else f"not begun: {job}"


def parse(row: str) -> tuple[str, dict[str, Any]]:
    """The method of a row and its settings."""
    method, *changes = row.split()
    pairs = (change.split("=") for change in changes)
    return method, {
        name: json.loads(value) if value[0].isdigit() else value.strip("'") for name, value in pairs
    }


def dataset(data: Path, row: str, seed: int) -> str:
    """The name of a distilled dataset."""
    return "-".join([data.name, *row.split(), *([] if row == "full" else [f"seed{seed}"])])


def extract(data: Path, options: argparse.Namespace) -> str:
    from focusdd.settings import ExtractorSettings
    from focusdd.sources.detection import open_detection_source
    from focusdd.tasks.detect.task import DETECT
    from focusdd.tasks.extract import extract as run

    settings = ExtractorSettings(extractor=options.extractor, input_size=options.input_size)
    index = run(open_detection_source(data), options.work / f"{data.name}-index", settings, task=DETECT)
    return f"index {data.name}: {index.info['counts']}"


def distil(job: tuple[Path, str, str], options: argparse.Namespace) -> str:
    from focusdd.settings import DetectDistillSettings
    from focusdd.sources.detection import open_detection_source
    from focusdd.tasks.detect.task import DETECT
    from focusdd.tasks.distill import distill as run

    data, row, name = job
    method, changes = parse(row)
    seed = int(name.rpartition("seed")[2]) if "seed" in name else 0
    budget = {} if method == "full" else {"budget": options.budget}
    settings = DetectDistillSettings(method=method, size=options.size, seed=seed, **budget, **changes)
    index = options.work / f"{data.name}-index" if method in DETECT.distillation.with_index else None
    made = run(open_detection_source(data), options.work / name, settings, task=DETECT, index=index)
    return f"distilled {name}: {made.info['images']} images, {sum(made.info['objects'].values())} objects"


def train(trial: tuple[Path, str, int], options: argparse.Namespace) -> str:
    import torch

    from focusdd.settings import DetectTrainSettings
    from focusdd.sources.detection import open_detection_source
    from focusdd.tasks.detect.train import train as run

    if options.jobs > 1:
        torch.set_num_threads(1)
    data, row, seed = trial
    settings = DetectTrainSettings(
        detector=options.detector, size=options.size, steps=options.steps, seed=seed
    )
    made = options.work / dataset(data, row, seed)
    run(made, open_detection_source(data, "val"), folder(trial, options), settings)
    return f"trained {result(trial, options)}"


def folder(trial: tuple[Path, str, int], options: argparse.Namespace) -> Path:
    """Where the detector of a trial is."""
    data, row, seed = trial
    return options.work / "detectors" / f"{dataset(data, row, seed)}-{options.detector}-{seed}"


def result(trial: tuple[Path, str, int], options: argparse.Namespace) -> dict[str, Any] | None:
    """The line of a trial; None where it did not end."""
    import pyarrow.parquet as pq

    data, row, seed = trial
    made, out = options.work / dataset(data, row, seed), folder(trial, options)
    if not (out / "done.json").exists():
        return None
    info, score, distilled, trained = (
        json.loads(path.read_text())
        for path in (made / "distilled.json", out / "result.json", made / "run.json", out / "run.json")
    )
    plan = pq.read_table(made / "plan.parquet", columns=["left", "top", "right", "bottom"]).to_pydict()
    left, top, right, bottom = plan.values()
    area = sum((r - x) * (b - y) for x, y, r, b in zip(left, top, right, bottom, strict=True))
    shown = {name: " x ".join(map(str, info["object_size"][name])) for name in ("source", "distilled")}
    return {
        "data": data.name,
        "row": row,
        "seed": seed,
        "images": info["images"],
        "objects": sum(info["objects"].values()),
        "masked": info["masked"],
        "coverage": round(area / info["images"] / info["size"] ** 2, 3),
        "source_px": shown["source"],
        "distilled_px": shown["distilled"],
        "size": info["size"],
        "steps": score["steps"],
        "map": score["map"],
        "map50": score["map50"],
        "seconds_distil": distilled["seconds_total"],
        "seconds_train": trained["seconds"]["train"],
        "device": trained.get("device"),
    }


if __name__ == "__main__":
    main()

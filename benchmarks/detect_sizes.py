"""Detection by the sizes of objects: rows x seeds on several data sets, one CSV line per run.

    python benchmarks/detect_sizes.py ../shared/data/foda10 ../shared/data/cards --extractor runs/vit \
        --budget 101 30 --work runs/sizes --csv results/detect-sizes.csv --jobs 12

A row is a method of `detect distill` and the settings in which it differs from the defaults, those of
`detect train` too: "focus mix=1 layout=grid detector=ssdlite train.size=160". Rows come in order of worth:
all seeds and data sets of the first come first. Indexes are made first, then distilled datasets (`--until
distil` ends here), then detectors, each in a pool of processes. What is finished is kept: the same command
goes on where it was stopped, on another machine too, which then needs validation images only. `--seconds`
stops handing out jobs, for machines that are lent for a while; the CSV is written after each.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

Trial = tuple[Path, str, int]
"""Data, row and seed."""
COLUMNS = ["data", "row", "seed", "images", "objects", "masked", "coverage", "source_px", "distilled_px",
           "size", "steps", "map", "map50", "seconds_distil", "seconds_train",
           "commit", "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+", help="sources with boxes that have a validation split")
    parser.add_argument("--rows", nargs="+", default=["focus", "random", "full"])
    parser.add_argument("--extractor", default="", help="where indexes are not made yet")
    parser.add_argument("--input-size", type=int, default=128, help="of the extractor")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument(
        "--budget", type=int, nargs="+", default=[30], help="distilled images, of all sources or of each"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--until", choices=["distil", "train"], default="train", help="the last stage")
    options = parser.parse_args()
    options.budgets = dict(zip(options.data, options.budget * len(options.data), strict=False))
    os.environ["OMP_NUM_THREADS"] = "1" if options.jobs > 1 else os.environ.get("OMP_NUM_THREADS", "")
    trials = [(data, row, seed) for row in options.rows for seed in options.seeds for data in options.data]
    datasets = {dataset(trial, options): trial for trial in trials}
    stages: list[tuple[Callable[..., str], list[Any]]] = [
        (extract, options.data),
        (distil, list(datasets.values())),
        (train, trials if options.until == "train" else []),
    ]
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        end = time.monotonic() + options.seconds
        for stage, jobs in stages:
            for line in in_pool(pool, partial(stage, options=options), jobs, end):
                print(f"{end - time.monotonic():8.1f} s left  {line}", flush=True)
                if stage is train:
                    write_table([line for trial in trials if (line := result(trial, options))], options.csv)
    for data in options.data:
        for row in options.rows:
            lines = [result((data, row, seed), options) for seed in options.seeds]
            if scores := [100 * line["map"] for line in lines if line]:
                spread = " ".join(f"{score:.1f}" for score in scores)
                print(f"{data.name:10} {row:30} {sum(scores) / len(scores):5.1f} mAP50-95 ({spread})")


def write_table(lines: list[dict[str, Any]], path: Path) -> None:
    """The lines so far, whole: a run that is ended from outside leaves what it has."""
    new = path.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    new.replace(path)


def in_pool(
    pool: ProcessPoolExecutor, work: Callable[[Any], str], jobs: Iterable[Any], end: float
) -> Iterable[str]:
    """What the jobs say, as they end; those that have not begun at `end` are left out."""
    futures = [pool.submit(timely, work, job, end - time.monotonic(), time.time()) for job in jobs]
    for future in as_completed(futures):
        error = future.exception()
        yield future.result() if error is None else f"FAILED {''.join(traceback.format_exception(error))}"


def timely(work: Callable[[Any], str], job: Any, seconds: float, since: float) -> str:
    return work(job) if time.time() - since < seconds else f"not begun: {job}"


def parse(row: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The method of a row, and its settings of distilling and of training."""
    from focusdd.settings import DetectDistillSettings

    method, *changes = row.split()
    pairs = (change.split("=") for change in changes)
    values = {name: json.loads(value) if value[0].isdigit() else value for name, value in pairs}
    distilling = {name: values[name] for name in values if name in DetectDistillSettings.model_fields}
    training = {name.removeprefix("train."): values[name] for name in values if name not in distilling}
    return method, distilling, training


def dataset(trial: Trial, options: argparse.Namespace) -> str:
    """The name of a distilled dataset: all that it depends on."""
    data, row, seed = trial
    method, changes, _ = parse(row)
    own = [f"{name}={value}" for name, value in changes.items()]
    drawn = [] if method == "full" else [f"{options.budgets[data]}images", f"seed{seed}"]
    return "-".join([data.name, method, *own, *drawn])


@lru_cache
def opened(data: Path, split: str) -> Any:
    """A source, listed and hashed once in every process."""
    from focusdd.sources.detection import open_detection_source

    return open_detection_source(data, split)


def extract(data: Path, options: argparse.Namespace) -> str:
    from focusdd.settings import ExtractorSettings
    from focusdd.tasks.detect.task import DETECT
    from focusdd.tasks.extract import extract as run

    out = options.work / f"{data.name}-index"
    if (out / "done.json").exists():
        return f"index {data.name}: there"
    settings = ExtractorSettings(extractor=options.extractor, input_size=options.input_size)
    index = run(opened(data, "train"), out, settings, task=DETECT)
    return f"index {data.name}: {index.info['counts']}"


def distil(trial: Trial, options: argparse.Namespace) -> str:
    from focusdd.settings import DetectDistillSettings
    from focusdd.tasks.detect.task import DETECT
    from focusdd.tasks.distill import distill as run

    data, row, seed = trial
    name = dataset(trial, options)
    if (options.work / name / "done.json").exists():
        return f"distilled {name}: there"
    method, changes, _ = parse(row)
    budget = {} if method == "full" else {"budget": options.budgets[data]}
    settings = DetectDistillSettings(method=method, seed=seed, **(budget | changes))
    index = options.work / f"{data.name}-index" if method in DETECT.distillation.with_index else None
    made = run(opened(data, "train"), options.work / name, settings, task=DETECT, index=index)
    return f"distilled {name}: {made.info['images']} images, {sum(made.info['objects'].values())} objects"


def train(trial: Trial, options: argparse.Namespace) -> str:
    import torch

    from focusdd.settings import DetectTrainSettings
    from focusdd.tasks.detect.train import train as run

    if options.jobs > 1:
        torch.set_num_threads(1)
    data, row, seed = trial
    settings = DetectTrainSettings(**({"steps": options.steps, "seed": seed} | parse(row)[2]))
    run(options.work / dataset(trial, options), opened(data, "val"), folder(trial, options), settings)
    return f"trained {result(trial, options)}"


def folder(trial: Trial, options: argparse.Namespace) -> Path:
    """Where the detector of a trial is."""
    data, row, seed = trial
    return (
        options.work / "detectors" / "-".join([data.name, *row.split(), f"{options.steps}steps", str(seed)])
    )


def result(trial: Trial, options: argparse.Namespace) -> dict[str, Any] | None:
    """The line of a trial; None where it did not end."""
    import pyarrow.parquet as pq

    data, row, seed = trial
    made, out = options.work / dataset(trial, options), folder(trial, options)
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
        "commit": trained["commit"],
        "machine": ", ".join(dict.fromkeys([trained["device"], trained["machine"]])),
        "date": trained["date"],
    }


if __name__ == "__main__":
    main()

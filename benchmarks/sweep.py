"""Many students at once: every row of a TOML file x ipc x seeds, on several data sets, one CSV line per run.

    python benchmarks/sweep.py benchmarks/sweep.toml --data ../shared/data --models runs/pretrained \
        --work runs/sweep --csv results/sweep.csv --workers 3

A run waits for the models, the index and the distilled dataset that it needs; all of these are jobs, and a
pool of processes takes them in the order of the file. A finished line is kept: the same command goes on where
it was stopped. `--seconds` stops handing out jobs, for machines that are lent for a while. Rows of a group
with `corrupted = true` are scored on corrupted validation images too, into NAME-corrupted.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import re
import time
import tomllib
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from tables import append, commit, ran_on, read

from focusdd import (
    DistillSettings,
    ExtractSettings,
    FitSettings,
    TrainSettings,
    distill,
    extract,
    fit,
    open_source,
    train,
)
from focusdd.sources.pixels import DecodedOnce
from focusdd.training.corruptions import CORRUPTIONS
from focusdd.training.robustness import robustness

COLUMNS = ["group", "data", "row", "ipc", "seed", "student", "teacher", "extractor", "size", "epochs", "top1",
           "top5", "teacher_top1_sample", "seconds_distil", "seconds_train", "commit", "torch", "machine",
           "date"]  # fmt: skip
CORRUPTED_COLUMNS = ["group", "data", "row", "ipc", "seed", "student", "teacher", "epochs", "corrupted_top1",
                     *CORRUPTIONS, "commit", "machine", "date"]  # fmt: skip
KEY = ("group", "data", "row", "ipc", "seed", "student", "teacher")
MODEL_COLUMNS = ["model", "data", "settings", "val_top1", "seconds", "commit", "machine", "date"]
WITH_INDEX = ("focus", "herding", "k-center")
READING = (
    "input_size",
    "resize",
    "attention",
    "layers",
    "heads",
    "confidence",
)  # settings of extract in a row


@dataclass(frozen=True)
class Job:
    """Something that a process makes, once all it needs is there."""

    name: str
    kind: str
    """fit, extract, distill, train or corrupt."""
    facts: dict[str, Any]
    needs: tuple[str, ...] = field(default=())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--models", type=Path, required=True, help="folder of given checkpoints")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--groups", nargs="+", help="only these groups of rows")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--commit", default=None, help="what is measured, where there is no checkout")
    options = parser.parse_args()
    plan = tomllib.loads(options.sweep.read_text())
    jobs = {job.name: job for job in jobs_of(plan, options)}
    known = {"train": lines(options.csv, KEY), "corrupt": lines(corrupted_csv(options), KEY)}
    jobs = {
        name: job
        for name, job in jobs.items()
        if job.kind not in known or key_of(job.facts) not in known[job.kind]
    }
    # what an earlier call has made is needed no more
    jobs = {name: replace(job, needs=tuple(n for n in job.needs if n in jobs)) for name, job in jobs.items()}
    # what a run needs comes right before the first that needs it
    ordered: dict[str, Job] = {}
    for job in [job for job in jobs.values() if job.kind in known]:
        ordered |= {name: jobs[name] for name in (*closure(job, jobs), job.name) if name not in ordered}
    run_all(list(ordered.values()), options)


def jobs_of(plan: dict[str, Any], options: argparse.Namespace) -> Iterator[Job]:
    """All jobs of a sweep, in the order of the file."""
    for name, facts in plan.get("fit", {}).items():
        needs = tuple(f"fit {facts[key]}" for key in ("teacher", "model") if facts.get(key) in plan["fit"])
        yield Job(f"fit {name}", "fit", facts | {"name": name}, needs)
    for group in plan["runs"]:
        if options.groups and group["group"] not in options.groups:
            continue
        facts = plan.get("defaults", {}) | group
        students = facts["student"] if isinstance(facts["student"], list) else [facts["student"]]
        for ipc, seed, student, row in product(facts["ipc"], range(facts["seeds"]), students, facts["rows"]):
            own = {"row": row, "ipc": ipc, "seed": seed, "student": student}
            yield from jobs_of_row(plan, facts | own)


def jobs_of_row(plan: dict[str, Any], facts: dict[str, Any]) -> Iterator[Job]:
    method, changes = parse(facts["row"])
    fitted = plan.get("fit", {})
    teacher, extractor = (
        (f"fit {facts[key]}",) if facts.get(key) in fitted else () for key in ("teacher", "extractor")
    )
    facts = facts | {"method": method, "changes": changes}
    needs = teacher if method == "rded" else ()
    if method in WITH_INDEX:
        index = f"index {index_name(facts)}"
        yield Job(index, "extract", facts, extractor)
        needs = (index,)
    made = f"distilled {facts['data']} {distilled_name(facts)}"
    yield Job(made, "distill", facts, needs)
    name = " ".join(f"{facts[key]}" for key in KEY)
    yield Job(name, "train", facts, (made, *teacher))
    if facts.get("corrupted"):
        yield Job(f"{name}, corrupted", "corrupt", facts, (name,))


def distilled_name(facts: dict[str, Any]) -> str:
    own = {k: v for k, v in facts["changes"].items() if k in {*DistillSettings.model_fields, *READING}}
    words = [facts["method"], *(f"{k}={v}" for k, v in sorted(own.items())), f"ipc{facts['ipc']}"]
    words += [f"seed{facts['seed']}", f"{facts['canvas']}px", facts["extractor"]]
    words += [facts["teacher"]] if facts["method"] == "rded" else []
    return re.sub(r"[^\w=.-]", "_", "-".join(words))


def parse(row: str) -> tuple[str, dict[str, Any]]:
    """The method of a row and the settings in which it differs from the defaults."""
    method, *changes = row.split()
    found: dict[str, Any] = {}
    for name, _, value in (change.partition("=") for change in changes):
        if name not in {*DistillSettings.model_fields, *TrainSettings.model_fields, *READING}:
            raise SystemExit(f"{row!r}: no setting {name}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return method, found


def closure(job: Job, jobs: dict[str, Job]) -> Iterator[str]:
    """The names of all that a job needs, in an order in which they can be made."""
    for name in job.needs:
        yield from closure(jobs[name], jobs)
        yield name


def run_all(jobs: list[Job], options: argparse.Namespace) -> None:
    start, waiting, made, failed = time.monotonic(), jobs, set(), set()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool:
        running: dict[Future[Any], Job] = {}
        while waiting or running:
            late = time.monotonic() - start > options.seconds
            for job in [] if late else list(waiting):
                if len(running) == options.workers:
                    break
                if any(name in failed for name in job.needs):
                    failed.add(job.name)
                    waiting.remove(job)
                elif all(name in made for name in job.needs):
                    waiting.remove(job)
                    running[pool.submit(work, job, options)] = job
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if future.exception() is not None:
                    failed.add(job.name)
                    print(f"FAILED {job.name}: {future.exception()!r}", flush=True)
                else:
                    made.add(job.name)
                    print(f"{time.monotonic() - start:6.1f} s  {job.name}: {future.result()}", flush=True)
    print(f"{len(waiting)} jobs not begun, {len(failed)} failed", flush=True)


def work(job: Job, options: argparse.Namespace) -> str:
    try:
        does = {
            "fit": do_fit,
            "extract": do_extract,
            "distill": do_distill,
            "train": do_train,
            "corrupt": do_corrupt,
        }
        return does[job.kind](job.facts, options)
    except Exception as error:
        traceback.print_exc()
        raise RuntimeError(str(error)[:300]) from None  # whatever was raised has to travel


def do_fit(facts: dict[str, Any], options: argparse.Namespace) -> str:
    own = {k: v for k, v in facts.items() if k in FitSettings.model_fields}
    for key in ("teacher", "init"):
        if key in own:
            own[key] = model_path(own[key], options)
    data = options.data / facts["data"]
    out = options.work / "models" / facts["name"]
    if (out / "done.json").exists():
        return "made before"
    fit(open_source(data), out, FitSettings(**own), val=open_source(data, "val"))
    cost, score = read(out / "run.json"), read(out / "done.json")["counts"]["val_top1"]
    append(options.csv.with_name(f"{options.csv.stem}-models.csv"), {
        "model": facts["name"], "data": facts["data"],
        "settings": " ".join(f"{k}={v}" for k, v in facts.items() if k not in ("name", "data")),
        "val_top1": score, "seconds": cost["seconds_total"], "commit": options.commit or cost["commit"],
        "machine": ran_on(cost), "date": time.strftime("%Y-%m-%d"),
    }, MODEL_COLUMNS)  # fmt: skip
    return f"{score:.1%}"


def do_extract(facts: dict[str, Any], options: argparse.Namespace) -> str:
    reading = {"input_size": facts["extractor_size"]} | own_reading(facts)
    settings = ExtractSettings(
        extractor=model_path(facts["extractor"], options), tile=facts["canvas"] // 2, **reading
    )
    out = index_folder(facts, options)
    extract(open_source(options.data / facts["data"]), out, settings)
    return f"{read(out / 'run.json')['seconds_total']} s"


def do_distill(facts: dict[str, Any], options: argparse.Namespace) -> str:
    own = {k: v for k, v in facts["changes"].items() if k in DistillSettings.model_fields}
    settings = DistillSettings(
        method=facts["method"], ipc=facts["ipc"], seed=facts["seed"], size=facts["canvas"], **own,
        **({"teacher": model_path(facts["teacher"], options)} if facts["method"] == "rded" else {}),
    )  # fmt: skip
    index = index_folder(facts, options) if facts["method"] in WITH_INDEX else None
    source = open_source(options.data / facts["data"])
    distill(source, distilled_folder(facts, options), settings, index=index)
    return "made"


_VAL: dict[str, DecodedOnce] = {}


def do_train(facts: dict[str, Any], options: argparse.Namespace) -> str:
    own = own_training(facts)
    same = {"temperature": 20.0}  # whatever the families of teacher and student: a row names any other
    recipe = {k: facts[k] for k in ("student", "size", "epochs", "seed")} | same | own
    settings = TrainSettings(teacher=model_path(facts["teacher"], options), **recipe)
    if facts["data"] not in _VAL:
        _VAL[facts["data"]] = DecodedOnce(open_source(options.data / facts["data"], "val"))
    out, made = student_folder(facts, options), distilled_folder(facts, options)
    result = train(made, _VAL[facts["data"]], out, settings)
    cost = read(out / "run.json")
    append(options.csv, facts | {
        "extractor": facts["extractor"] if facts["method"] in WITH_INDEX else "",
        "top1": result.top1, "top5": result.top5,
        "teacher_top1_sample": round(result.teacher["sample_accuracy"], 4),
        "seconds_distil": read(made / "run.json")["seconds_total"], "seconds_train": cost["seconds"]["train"],
        "commit": options.commit or commit(), "torch": cost["versions"]["torch"], "machine": ran_on(cost),
        "date": time.strftime("%Y-%m-%d"),
    }, COLUMNS)  # fmt: skip
    return f"{result.top1:.1%}"


def do_corrupt(facts: dict[str, Any], options: argparse.Namespace) -> str:
    student = student_folder(facts, options)
    val = open_source(options.data / facts["data"], "val")
    found = robustness(student, val, student.with_name(f"{student.name}-corrupted"))
    append(corrupted_csv(options), facts | {
        **{name: round(mean(tops), 5) for name, tops in found["corruptions"].items()},
        "corrupted_top1": found["corrupted_top1"], "commit": options.commit or commit(),
        "machine": ran_on(read(student / "run.json")), "date": time.strftime("%Y-%m-%d"),
    }, CORRUPTED_COLUMNS)  # fmt: skip
    return f"{found['corrupted_top1']:.1%}"


def own_reading(facts: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in facts["changes"].items() if k in READING}


def index_name(facts: dict[str, Any]) -> str:
    return "-".join([facts["data"], facts["extractor"], *(f"{k}={v}" for k, v in own_reading(facts).items())])


def own_training(facts: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in facts["changes"].items() if k in TrainSettings.model_fields}


def model_path(name: str, options: argparse.Namespace) -> str:
    for folder in (options.models / name, options.work / "models" / name):
        if (folder / "config.json").exists():
            return str(folder)
    return name


def index_folder(facts: dict[str, Any], options: argparse.Namespace) -> Path:
    return options.work / "index" / index_name(facts)


def distilled_folder(facts: dict[str, Any], options: argparse.Namespace) -> Path:
    return options.work / "distilled" / facts["data"] / distilled_name(facts)


def student_folder(facts: dict[str, Any], options: argparse.Namespace) -> Path:
    words = [f"{k}={v}" for k, v in sorted(own_training(facts).items())]
    words = [
        distilled_name(facts),
        facts["student"],
        facts["teacher"],
        str(facts["size"]),
        str(facts["epochs"]),
        *words,
    ]
    return options.work / "students" / facts["data"] / re.sub(r"[^\w=.-]", "_", "-".join(words))


def corrupted_csv(options: argparse.Namespace) -> Path:
    return options.csv.with_name(f"{options.csv.stem}-corrupted.csv")


def key_of(facts: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(facts[k]) for k in KEY)


def lines(path: Path, columns: tuple[str, ...]) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[name] for name in columns) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()

"""Ablations on one source: what each setting is worth, with all else and the seeds the same.

    python benchmarks/ablations.py layout DATA --extractor VIT --teacher TEACHER --work runs/ablations

A row is a method and what differs from the reference, as in "focus grid=3 views=2"; tables, reference and the
two recipes are in ablations.toml, and --rows takes any such text. One line per run in results/ablations.csv
as it ends: the same command goes on where it was stopped, and a row that several tables have is run once.
"extractor=NAME" takes a ViT of ablations.toml, which is fitted on DATA first; results/extractors.csv has one
line for each. `python tools/benchmarks_page.py` makes docs/ablations.md of them.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from pathlib import Path
from typing import Any

from students import append, done, read
from tables import commit, machine, ran_on

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
from focusdd.models.classes import matched_outputs
from focusdd.models.device import pick_device
from focusdd.models.load import load_model
from focusdd.sources import Source
from focusdd.sources.pixels import load_source
from focusdd.training.evaluate import evaluate

WORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
REFERENCE: dict[str, Any] = WORDS["reference"]
COLUMNS = ["row", "recipe", "ipc", "seed", "student", "size", "epochs", "top1", "top5", "seconds_train",
           "commit", "machine", "date"]  # fmt: skip
EXTRACTOR_COLUMNS = ["extractor", "model", "model_args", "size", "epochs", "top1", "seconds_fit", "commit",
                     "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=[*WORDS["tables"], "rows"], help="rows: those of --rows")
    parser.add_argument("data")
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, default=Path("results/ablations.csv"))
    parser.add_argument("--rows", nargs="+", help='such as "focus grid=3" "random batch_size=50"')
    parser.add_argument("--recipe", choices=[*WORDS["recipes"]], default="region")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    source, val = open_source(options.data), open_source(options.data, "val")
    describe_given(options.extractor, val, options.csv.with_name("extractors.csv"))
    for seed in options.seeds:
        for name in options.rows or WORDS["tables"][options.table]["rows"]:
            run = {"row": name, "recipe": options.recipe, "ipc": options.ipc, "seed": seed,
                   "student": options.student, "size": options.size, "epochs": options.epochs}  # fmt: skip
            if done(options.csv, run):
                continue
            method, changes = parse(name)
            settings = REFERENCE | WORDS["recipes"][options.recipe] | changes | {
                "method": method, "ipc": options.ipc, "seed": seed, "teacher": options.teacher,
                "student": options.student, "size": options.size, "epochs": options.epochs,
                "extractor": options.extractor,
            }  # fmt: skip
            if "extractor" in changes:
                settings["extractor"] = str(fitted(changes["extractor"], source, val, options))
            to_distill = DistillSettings(**_fields(DistillSettings, settings, {"size"}))
            index = None
            if method == "focus":
                view = ExtractSettings(**_fields(ExtractSettings, settings, {"batch_size"}))
                kind = "-".join(f"{settings[key]}" for key in ("attention", "layers", "heads", "input_size"))
                kind += f"-{Path(settings['extractor']).name}"
                index = extract(source, options.work / f"index-{kind}", view.model_copy(update=_STORED))
            folder = options.work / f"{name.replace(' ', '-')}-ipc{options.ipc}-seed{seed}"
            distilled = distill(source, folder / "distilled", to_distill, index=index)
            out = folder / f"{options.recipe}-{options.student}-{options.size}px-{options.epochs}"
            result = train(distilled, val, out, TrainSettings(**_fields(TrainSettings, settings)))
            cost = read(out / "run.json")
            append(options.csv, run | {
                "top1": result.top1, "top5": result.top5, "seconds_train": cost["seconds"]["train"],
                "commit": cost["commit"], "machine": ran_on(cost), "date": time.strftime("%Y-%m-%d"),
            }, COLUMNS)  # fmt: skip
            print(f"{name}, seed {seed}: {result.top1:.1%}", flush=True)


_STORED = {name: ExtractSettings.model_fields[name].default for name in ("window", "share", "patches")}


def fitted(name: str, source: Source, val: Source, options: argparse.Namespace) -> Path:
    """The checkpoint of a ViT of ablations.toml, fitted on the source from the teacher's labels."""
    settings = FitSettings(teacher=options.teacher, **WORDS["extractors"][name])
    out = fit(source, options.work / "extractors" / name, settings, val=val)
    table = options.csv.with_name("extractors.csv")
    if not done(table, {"extractor": name}):
        cost = read(out / "run.json")
        append(table, {
            "extractor": name, "model": settings.model, "size": settings.size, "epochs": settings.epochs,
            "model_args": " ".join(f"{key}={value}" for key, value in settings.model_args.items()),
            "top1": read(out / "done.json")["counts"]["val_top1"], "seconds_fit": cost["seconds"]["train"],
            "commit": cost["commit"], "machine": ran_on(cost), "date": time.strftime("%Y-%m-%d"),
        }, EXTRACTOR_COLUMNS)  # fmt: skip
    return out


def describe_given(extractor: str, val: Source, table: Path) -> None:
    """The line of the ViT that --extractor names, scored at the reference's input size."""
    name, size = Path(extractor).name, REFERENCE["input_size"]
    if done(table, {"extractor": name}):
        return
    model = load_model(extractor, pick_device("auto"), size)
    outputs = matched_outputs(model, val, "extractor")
    pixels = load_source(val, size, "evaluate")
    score = evaluate(model.net, pixels, model.mean, model.std, model.device, len(val.classes), outputs)
    append(table, {
        "extractor": name, "size": size, "top1": round(score.top1, 5), "commit": commit(),
        "machine": machine(), "date": time.strftime("%Y-%m-%d"),
    }, EXTRACTOR_COLUMNS)  # fmt: skip


def parse(row: str) -> tuple[str, dict[str, Any]]:
    """The method of a row and the settings in which it differs."""
    method, *changes = row.split()
    found: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        known = [*REFERENCE, *WORDS["recipes"]["region"], "extractor"]
        if name not in known:
            raise SystemExit(f"{row!r}: no setting {name}; there are {', '.join(known)}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return method, found


def _fields(kind: Any, settings: dict[str, Any], without: set[str] = frozenset()) -> dict[str, Any]:
    # rows of older tables have the names of their time
    named = {kind.renamed.get(name, name): value for name, value in settings.items()}
    return {name: value for name, value in named.items() if name in kind.model_fields.keys() - without}


if __name__ == "__main__":
    main()

"""`compare`: methods x ipc x students x labels x seeds on one source, a row of `results.csv` for each.

Every index, distilled dataset and student is a stage of its own, so an interrupted comparison goes on where
it was, and one that was extended does only what is new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import pyarrow as pa

from focusdd.console import say
from focusdd.dataset import Distilled
from focusdd.errors import FocusError
from focusdd.focus.extract import extract
from focusdd.index import Index
from focusdd.pipeline import WITH_INDEX, depends_on_seed, distill, extract_settings
from focusdd.run import csv_text, locked, read_json, write_whole
from focusdd.scores import Scores, Trial, score
from focusdd.settings import CompareSettings
from focusdd.sources.base import Source
from focusdd.training.corruptions import CORRUPTIONS
from focusdd.training.robustness import robustness
from focusdd.training.train import train, train_on_source

RESULTS, SCORES = "results.csv", "scores.csv"
_TEXT, _COUNT, _SHARE = pa.string(), pa.int32(), pa.float64()
SCHEMA = pa.schema(
    [
        ("method", _TEXT),
        ("ipc", _COUNT),  # for full: mean images per class
        ("seed", _COUNT),
        ("student", _TEXT),
        ("labels", _TEXT),
        ("augmented", pa.bool_()),
        ("size", _COUNT),  # side of the student's input, pixels
        ("epochs", _COUNT),
        ("lr", _SHARE),
        ("weight_decay", _SHARE),
        ("top1", _SHARE),  # fractions, 0 to 1
        ("top5", _SHARE),
        ("corrupted_top1", _SHARE),  # mean over corruptions and strengths
        *((f"{name}_top1", _SHARE) for name in CORRUPTIONS),  # mean over strengths
        ("other_top1", _SHARE),  # on the second source
        ("teacher_top1", _SHARE),  # on a sample of the validation images
        ("seconds_extract", _SHARE),  # once for all datasets of the index
        ("seconds_distil", _SHARE),
        ("seconds_train", _SHARE),
        ("memory_distil_mb", _COUNT),  # peak of the stage
        ("memory_train_mb", _COUNT),
        ("device_memory_train_mb", _COUNT),  # peak on the GPU
        *((name, _TEXT) for name in ("device", "commit", "focusdd", "torch", "timm", "machine", "date")),
    ]
)
_SCORE_COLUMNS = ["method", "ipc", "student", "seeds"]
_SCORE_COLUMNS += [column for name in Scores._fields[3:] for column in (name, f"{name}_std")]
# what compare sets itself: the name of its own setting for each
_OWN = {
    "views": {"extractor": "extractor", "device": "device"},
    "distill": {"ipc": "ipc", "method": "methods", "seed": "seeds", "teacher": "teacher"},
    "train": {"student": "students", "teacher": "teacher", "labels": "labels", "seed": "seeds",
              "augment": "plain", "device": "device"},
}  # fmt: skip


class Cell(NamedTuple):
    """One run of the comparison."""

    method: str
    ipc: int
    """0 for full."""
    student: str
    labels: str
    augmented: bool
    seed: int

    @property
    def dataset(self) -> str:
        return f"{self.method}-ipc{self.ipc}" if self.ipc else self.method


@dataclass(frozen=True)
class _Bench:
    """What all runs share."""

    settings: CompareSettings
    source: Source
    val: Source
    other: Source | None
    index: Index | None
    out: Path
    overwrite: bool
    made: dict[Path, Distilled]
    """Datasets opened so far."""


def compare(
    source: Source,
    val: Source,
    out: Path | str,
    settings: CompareSettings | None = None,
    *,
    other: Source | None = None,
    overwrite: bool = False,
) -> pa.Table:
    """Distils, trains and scores every combination, and writes `results.csv` and `scores.csv` into `out`.

    Both are written anew after every run. All methods share composition, labels and recipe.

    Args:
        other: a second source with the same classes, which every student is scored on too.

    Returns:
        The rows of `results.csv`; its columns are SCHEMA. Accuracies are fractions, times seconds.

    Raises:
        FocusError: a setting is missing or does not fit, or `out` is in use; what is finished stays.
    """
    settings, out = settings or CompareSettings(), Path(out)
    _check(settings)
    for held_out in filter(None, (val, other)):
        if held_out.classes != source.classes:
            raise FocusError(
                f"{held_out.name} has other classes than {source.name}: give a source of the same"
            )
    with locked(out):
        return _compare(source, val, out, settings, other, overwrite)


def _compare(
    source: Source, val: Source, out: Path, settings: CompareSettings, other: Source | None, overwrite: bool
) -> pa.Table:
    cells = _cells(settings)
    index = None
    if any(cell.method in WITH_INDEX for cell in cells):
        views = settings.views.model_copy(update={"extractor": settings.extractor, "device": settings.device})
        index = extract(source, out / "index", extract_settings(settings.distill, views), overwrite=overwrite)
    bench = _Bench(settings, source, val, other, index, out, overwrite, {})
    work = [_work(cell, bench) for cell in cells]
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        left = _left(work[number:], cells[number:], list(zip(work, rows, strict=False)))
        augmented = "" if cell.augmented else " without augmentation"
        say(
            f"{number + 1} of {len(cells)}: {cell.dataset}, {cell.student}, {cell.labels} labels{augmented}, "
            f"seed {cell.seed}{left}"
        )
        rows.append(_run(cell, bench))
        write_whole(out / RESULTS, csv_text(SCHEMA.names, rows))
    scores = [_score_row(scores) for scores in score(_trial(row) for row in rows)]
    write_whole(out / SCORES, csv_text(_SCORE_COLUMNS, scores))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _check(settings: CompareSettings) -> None:
    for group, names in _OWN.items():
        for name in sorted(getattr(settings, group).model_fields_set & names.keys()):
            raise FocusError(f"{group}.{name} is what is compared: use --{names[name]}")
    if not settings.teacher and ("soft" in settings.labels or "rded" in settings.methods):
        raise FocusError(
            "soft labels and method rded need a teacher: give --teacher, or compare other methods with "
            "--labels hard"
        )
    if not settings.extractor and (wanting := [name for name in settings.methods if name in WITH_INDEX]):
        raise FocusError(
            f"method {wanting[0]} needs a ViT: give --extractor, a checkpoint folder or timm name"
        )


def _cells(settings: CompareSettings) -> list[Cell]:
    """All runs, seed by seed, so that an unfinished comparison has something of everything."""
    methods = dict.fromkeys([*settings.methods, "random"])
    return [
        Cell(method, ipc, student, labels, augmented, seed)
        for seed in range(settings.seeds)
        for method in methods
        for ipc in (sorted(set(settings.ipc)) if method != "full" else [0])
        for student in dict.fromkeys(settings.students)
        for labels in dict.fromkeys(settings.labels)
        for augmented in ([True, False] if settings.plain and method != "full" else [True])
    ]


def _run(cell: Cell, bench: _Bench) -> dict[str, Any]:
    """Runs one cell, or finds it finished; returns its row."""
    settings = bench.settings
    recipe = settings.train.model_copy(
        update={
            "student": cell.student,
            "teacher": settings.teacher,
            "labels": cell.labels,
            "augment": cell.augmented,
            "epochs": _epochs(cell, bench),
            "seed": cell.seed,
            "device": settings.device,
        }
    )
    data = cell.dataset if cell.ipc else f"{cell.method}-{recipe.epochs}passes"
    plain = [] if cell.augmented else ["plain"]
    name = "-".join([data, cell.student.replace("/", "_"), cell.labels, *plain, f"seed{cell.seed}"])
    folder, made = bench.out / "students" / name, None
    if cell.method == "full":
        side = settings.distill.size
        result = train_on_source(
            bench.source, bench.val, folder, recipe, side=side, overwrite=bench.overwrite
        )
    else:
        made = _distilled(cell, bench)
        result = train(made, bench.val, folder, recipe, overwrite=bench.overwrite)
    outside = None
    if settings.corruptions or bench.other is not None:
        outside = robustness(
            folder,
            bench.val,
            bench.out / "robustness" / name,
            other=bench.other,
            corruptions=settings.corruptions,
            device=settings.device,
            overwrite=bench.overwrite,
        )
    return _row(cell, result, outside, folder, made, bench.index if cell.method in WITH_INDEX else None)


def _distilled(cell: Cell, bench: _Bench) -> Distilled:
    settings = bench.settings
    wanted = settings.distill.model_copy(
        update={"ipc": cell.ipc, "method": cell.method, "seed": cell.seed, "teacher": settings.teacher}
    )
    seed = f"-seed{cell.seed}" if depends_on_seed(wanted) else ""
    folder = bench.out / "distilled" / (cell.dataset + seed)
    if folder not in bench.made:
        views = settings.views.model_copy(update={"device": settings.device})
        bench.made[folder] = distill(
            bench.source, folder, wanted, index=bench.index, views=views, overwrite=bench.overwrite
        )
    return bench.made[folder]


def _epochs(cell: Cell, bench: _Bench) -> int:
    """Passes over what a student learns from; full takes the steps of the largest ipc, in whole passes."""
    settings, batch = bench.settings, bench.settings.train.batch_size
    if cell.method != "full":
        return settings.train.epochs
    if settings.full_epochs is not None:
        return settings.full_epochs
    steps = settings.train.epochs * math.ceil(max(settings.ipc) * len(bench.source.classes) / batch)
    return math.ceil(steps / math.ceil(len(bench.source.records) / batch))


def _work(cell: Cell, bench: _Bench) -> float:
    """Images that a student will have seen."""
    images = cell.ipc * len(bench.source.classes) if cell.ipc else len(bench.source.records)
    return float(images * _epochs(cell, bench))


def _left(work: Sequence[float], cells: Sequence[Cell], done: list[tuple[float, dict[str, Any]]]) -> str:
    """How long the cells will take, by the pace of the finished ones: those of the same student if any."""
    if not done:
        return ""
    total = 0.0
    for images, cell in zip(work, cells, strict=True):
        alike = [(seen, row) for seen, row in done if row["student"] == cell.student] or done
        spent = sum((row["seconds_train"] or 0.0) + (row["seconds_distil"] or 0.0) for _, row in alike)
        total += images * spent / sum(seen for seen, _ in alike)
    return f" (about {total / 60:.0f} min left)" if total >= 90 else f" (about {total:.0f} s left)"


def _row(
    cell: Cell,
    result: dict[str, Any],
    outside: dict[str, Any] | None,
    folder: Path,
    made: Distilled | None,
    index: Index | None,
) -> dict[str, Any]:
    """A row of the results; what a stage left no record of is None."""
    trained = read_json(folder / "run.json")
    distilled = read_json(made.folder / "run.json") if made is not None else {}
    extracted = read_json(index.folder / "run.json") if index is not None else {}
    outside = outside or {}
    corrupted = outside.get("corruptions") or {}
    settings = result["settings"]
    return {
        **cell._asdict(),
        "ipc": result["distilled"]["ipc"],
        **{name: settings[name] for name in ("size", "epochs", "lr", "weight_decay")},
        "top1": result["top1"],
        "top5": result["top5"],
        "corrupted_top1": outside.get("corrupted_top1"),
        **{f"{name}_top1": round(mean(corrupted[name]), 5) if corrupted else None for name in CORRUPTIONS},
        "other_top1": (outside.get("other") or {}).get("top1"),
        "teacher_top1": round(result["teacher"]["sample_accuracy"], 5) if result["teacher"] else None,
        "seconds_extract": extracted.get("seconds_total"),
        "seconds_distil": distilled.get("seconds_total"),
        "seconds_train": trained["seconds"]["train"],
        "memory_distil_mb": distilled.get("peak_memory_mb"),
        "memory_train_mb": trained["peak_memory_mb"],
        "device_memory_train_mb": trained.get("device_memory_mb"),
        **{name: trained.get(name) for name in ("device", "commit", "focusdd", "machine", "date")},
        **{name: trained["versions"][name] for name in ("torch", "timm")},
    }


def _trial(row: dict[str, Any]) -> Trial:
    return Trial(*(row[name] for name in Trial._fields))


def _score_row(scores: Scores) -> dict[str, Any]:
    """The mean of every score over the seeds and its sample standard deviation."""
    row: dict[str, Any] = dict(zip(_SCORE_COLUMNS, scores[:3], strict=False))
    row["seeds"] = max(len(values) for values in scores[3:])
    for name, values in zip(Scores._fields[3:], scores[3:], strict=True):
        row[name] = round(mean(values), 5) if values else None
        row[f"{name}_std"] = round(stdev(values), 5) if len(values) > 1 else None
    return row

"""`compare`: methods x ipc x students x labels x seeds on one source, a row of `results.csv` for each.

Every index, distilled dataset and student is a stage of its own, so an interrupted comparison goes on where
it was, and one that was extended does only what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa

from focusdd.comparison.scores import Scores, Trial, score
from focusdd.comparison.trials import Bench, Cell, row_of, run_cell
from focusdd.core.console import say, warn
from focusdd.core.errors import FocusError
from focusdd.core.files import csv_text, write_whole
from focusdd.core.lock import locked
from focusdd.execute import session
from focusdd.settings import CompareSettings, EngineSettings
from focusdd.settings.resolve import idle_in_all, resolve
from focusdd.settings.train import BY_REGION, WHOLE_VIEWS
from focusdd.sources.base import Source
from focusdd.sources.pixels import DecodedOnce
from focusdd.tasks.classify.distill import WITH_INDEX, extract_settings
from focusdd.tasks.classify.extract import extract
from focusdd.training.corruptions import CORRUPTIONS

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
        ("by_region", pa.bool_()),  # what was learnt: labels of places, not of whole views
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
    "extract": {"extractor": "extractor", "device": "device"},
    "distill": {"ipc": "ipc", "method": "methods", "seed": "seeds", "teacher": "teacher"},
    "train": {"student": "students", "teacher": "teacher", "labels": "labels", "seed": "seeds",
              "augment": "plain", "device": "device"},
}  # fmt: skip


def compare(
    source: Source,
    val: Source,
    out: Path | str,
    settings: CompareSettings | None = None,
    *,
    other: Source | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> pa.Table:
    """Distils, trains and scores every combination, and writes `results.csv` and `scores.csv` into `out`.

    Both are written anew after every run. All methods share composition, labels and recipe.

    Args:
        other: a second source with the same classes, which every student is scored on too.
        engine: where the runs are made; default: here, one after another.

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
    with locked(out), session(engine):
        return _compare(source, val, out, settings, other, overwrite, engine or EngineSettings())


def _compare(
    source: Source,
    val: Source,
    out: Path,
    settings: CompareSettings,
    other: Source | None,
    overwrite: bool,
    engine: EngineSettings,
) -> pa.Table:
    cells = _cells(settings)
    index = None
    reading = settings.extract.model_copy(update={"extractor": settings.extractor, "device": settings.device})
    if any(cell.method in WITH_INDEX for cell in cells):
        wanted = extract_settings(settings.distill, reading)
        index = extract(source, out / "index", wanted, overwrite=overwrite, engine=engine)
    bench = Bench(settings, source, DecodedOnce(val), other, index, out, overwrite, {})
    for remark in _remarks(cells, bench):
        warn(remark)
    rows: dict[Cell, dict[str, Any]] = {}

    def finished(cell: Cell) -> None:
        rows[cell] = row_of(cell, bench)
        write_whole(out / RESULTS, csv_text(SCHEMA.names, [rows[one] for one in cells if one in rows]))

    if engine.engine == "local":
        for number, cell in enumerate(cells):
            left = _left(cells[number:], rows, bench)
            say(f"{number + 1} of {len(cells)}: {_words(cell)}{left}")
            run_cell(cell, bench)
            finished(cell)
    else:
        from focusdd.comparison.remote import run_cells

        run_cells(cells, bench, engine, finished)
    table = [rows[cell] for cell in cells]
    scores = [_score_row(scores) for scores in score(_trial(row) for row in table)]
    write_whole(out / SCORES, csv_text(_SCORE_COLUMNS, scores))
    return pa.Table.from_pylist(table, schema=SCHEMA)


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


def _remarks(cells: Sequence[Cell], bench: Bench) -> list[str]:
    """What of the user's settings has no effect in any run."""
    settings = bench.settings
    methods = [cell.method for cell in cells]
    reader = "extractor" if bench.index is not None else f"methods {' '.join(dict.fromkeys(methods))}"
    asked = "teacher" if "soft" in settings.labels or "rded" in methods else "hard labels"
    taught = BY_REGION if "soft" in settings.labels else WHOLE_VIEWS
    return [
        *resolve(settings, reader=reader, asked=asked).remarks,
        *idle_in_all(settings.extract, [resolve(settings.extract, reader=reader)], "extract."),
        *idle_in_all(
            settings.distill, [resolve(bench.distilling(cell)) for cell in cells if cell.ipc], "distill."
        ),
        *idle_in_all(
            settings.train, [resolve(bench.training(cell), taught=taught) for cell in cells], "train."
        ),
    ]


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


def _words(cell: Cell) -> str:
    augmented = "" if cell.augmented else " without augmentation"
    return f"{cell.dataset}, {cell.student}, {cell.labels} labels{augmented}, seed {cell.seed}"


def _left(cells: Sequence[Cell], done: Mapping[Cell, dict[str, Any]], bench: Bench) -> str:
    """How long the cells will take, by the pace of the finished ones: those of the same student if any."""
    if not done:
        return ""
    total = 0.0
    for cell in cells:
        alike = [one for one in done if one.student == cell.student] or list(done)
        spent = sum((done[one]["seconds_train"] or 0) + (done[one]["seconds_distil"] or 0) for one in alike)
        total += bench.work(cell) * spent / sum(bench.work(one) for one in alike)
    return f" (about {total / 60:.0f} min left)" if total >= 90 else f" (about {total:.0f} s left)"


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

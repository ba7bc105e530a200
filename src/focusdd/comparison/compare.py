"""`compare`: methods x budgets x students x seeds on one source, a row of `results.csv` for each.

Every index, distilled dataset and student is a stage of its own, so an interrupted comparison goes on where
it was, and one that was extended does only what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa

from focusdd.comparison.remote import hand_out
from focusdd.comparison.scores import Outcome, Scores, score
from focusdd.comparison.verdict import verdicts
from focusdd.core.console import say, warn, warn_once
from focusdd.core.errors import FocusError
from focusdd.core.expected import expecting
from focusdd.core.files import csv_text, known_in, read_json, write_whole
from focusdd.core.lock import locked
from focusdd.core.spelling import number_of
from focusdd.core.stage import overwrite_if_other
from focusdd.execute.ray import connected
from focusdd.extraction.index import Index, open_index
from focusdd.settings import EngineSettings
from focusdd.settings.resolve import idle_in_all, not_given, resolve
from focusdd.sources.disk import require_apart
from focusdd.sources.understood import fact, understood, understood_validation
from focusdd.tasks.base import Task
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.distill import distill, require_index_of, require_smaller
from focusdd.tasks.extract import extract
from focusdd.tasks.trials import ComparisonContext, Trial

RESULTS, SCORES = "results.csv", "scores.csv"
_SECONDS = ("seconds_extract", "seconds_distil", "seconds_train")
_SCORE_COLUMNS = ["method", "ipc", "student", "seeds"]
_SCORE_COLUMNS += [column for name in Scores._fields[3:] for column in (name, f"{name}_std")]


def compare(
    source: Any,
    val: Any,
    out: Path | str,
    settings: Any = None,
    *,
    task: Task = CLASSIFY,
    other: Any = None,
    index: Index | Path | str | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> pa.Table:
    """Distils, trains and scores every combination, and writes `results.csv` into `out` after every run.

    All methods share composition, labels and recipe. A verdict is said at the end (`verdict.verdicts`).

    Args:
        settings: of the task's kind; default: its own.
        other: a second source with the same classes, which every student is scored on too.
        index: what `extract` made of this source; made in `out`/index when it is not given and a method
            needs one.
        engine: where the runs are made; default: here, one after another.

    Returns:
        The rows of `results.csv`. Accuracies are fractions, times seconds.

    Raises:
        FocusError: a setting is missing or does not fit, or `out` is in use; what is finished stays.
    """
    settings, out, engine = settings or task.comparison.settings(), Path(out), engine or EngineSettings()
    settings = _of_one_size(settings)
    trials = task.comparison.trials(settings)
    found = open_index(index) if index is not None else None
    _check(task, settings, trials, found, source)
    require_apart(out, source, val, other)
    understood(source)
    for held_out, role in ((val, "val"), (other, "other")):
        if held_out is not None:
            understood_validation(held_out, source, role=role)
    fact("writes", f"{out}: {number_of(len(trials), 'run')}")
    needing = [trial for trial in trials if trial.method in task.distillation.with_index]
    cluster = nullcontext() if engine.engine == "local" else connected(engine.address)
    with locked(out), cluster:
        held_out = task.comparison.validation(val)
        context = ComparisonContext(task, settings, source, held_out, other, found, out, overwrite)
        reader = "methods " + " ".join(dict.fromkeys(trial.method for trial in trials))
        task.comparison.ready(settings, held_out, engine)
        if needing:
            reader = "--index" if found is not None else "extractor"
        elif found is not None:
            warn(f"--index has no effect with {reader}")
        for remark in _remarks(trials, context, reader):
            warn(remark)
        with expecting(out, _stages(trials, context, bool(needing) and found is None)):
            # whatever method falls short is known before the long pass, where it can be
            early = [] if task.comparison.exact else [trial for trial in trials if trial not in needing]
            _distil(early, context, engine)
            if needing and found is None:
                own = {"extractor": settings.extractor, "device": settings.device}
                reading = settings.extract.model_copy(update=own)
                wanted = not_given(task.distillation.extract_settings(settings.distill, reading))
                make = partial(extract, source, out / "index", wanted, task=task, engine=engine)
                context = replace(context, index=overwrite_if_other(make, overwrite))
            _distil([trial for trial in trials if trial not in early], context, engine)
            return _run(trials, context, engine)


def _of_one_size(settings: Any) -> Any:
    """Distilled images of the size that students see, where only that one is given."""
    if "size" in settings.distill.model_fields_set or "size" not in settings.train.model_fields_set:
        return settings
    distilling = settings.distill.model_copy(update={"size": settings.train.size})
    return settings.model_copy(update={"distill": distilling})


def _check(task: Task, settings: Any, trials: Sequence[Trial], index: Index | None, source: Any) -> None:
    for group, names in settings.own.items():
        for name in sorted(getattr(settings, group).model_fields_set & names.keys()):
            raise FocusError(f"{group}.{name} is what is compared: use --{names[name]}")
    task.comparison.check(settings)
    if index is not None:
        require_index_of(task, index, source)
    facts = task.distillation.facts(source, settings.distill)
    for trial in trials:
        wanted = task.comparison.distilling(trial, settings)
        if wanted is not None:
            settled = resolve(wanted, **facts).settings
            task.distillation.check(source, settled)
            require_smaller(task, source, settled)


def _remarks(trials: Sequence[Trial], context: ComparisonContext, reader: str) -> list[str]:
    """What of the user's settings has no effect in any run; `reader`: who looks at the images."""
    task, settings = context.task, context.settings
    facts = {"reader": reader, "task": task.words} | task.comparison.facts(settings)
    distilling = [wanted for trial in trials if (wanted := context.distilling(trial)) is not None]
    training = [task.comparison.training(trial, context) for trial in trials]
    remarks = resolve(settings, **facts).remarks
    for group, used in (("extract", [settings.extract]), ("distill", distilling), ("train", training)):
        resolved = [resolve(one, **facts) for one in used]
        remarks += idle_in_all(getattr(settings, group), resolved, f"{group}.")
    return remarks


def _stages(trials: Sequence[Trial], context: ComparisonContext, reading: bool) -> dict[str, str]:
    """The stages of a comparison, by their folders below its own.

    Args:
        reading: it makes an index of its own.
    """
    prefix, out = context.task.prefix, context.out
    stages = {out / "index": f"{prefix}extract"} if reading else {}
    for trial in trials:
        if (dataset := context.dataset(trial)) is not None:
            stages[dataset] = f"{prefix}distill"
        student, *outside = context.task.comparison.folders(trial, context)
        stages |= {student: f"{prefix}train"} | dict.fromkeys(outside, "robustness")
    return {folder.relative_to(out).as_posix(): stage for folder, stage in stages.items()}


def _distil(trials: Sequence[Trial], context: ComparisonContext, engine: EngineSettings) -> None:
    """Makes what each trial learns from, every dataset once."""
    firsts: dict[Path, Trial] = {}
    for trial in trials:
        if (folder := context.dataset(trial)) is not None:
            firsts.setdefault(folder, trial)
    for folder, trial in firsts.items():
        # of one that is there already it is seen here whether it is the one that is asked for
        if engine.engine == "local" or ((folder / "done.json").exists() and not context.overwrite):
            make_dataset(trial, context)
    if missing := {trial: [folder] for folder, trial in firsts.items() if folder not in context.made}:
        hand_out("distil", make_dataset, missing, context, engine, lambda _: None)


def _run(trials: Sequence[Trial], context: ComparisonContext, engine: EngineSettings) -> pa.Table:
    comparison, out = context.task.comparison, context.out
    rows: dict[Trial, dict[str, Any]] = {}
    names = comparison.schema.names

    def finished(trial: Trial) -> None:
        rows[trial] = row_of(trial, context)
        ordered = [rows[one] for one in trials if one in rows]
        write_whole(out / RESULTS, csv_text(names, ({n: row[n] for n in names} for row in ordered)))

    if engine.engine == "local":
        for number, trial in enumerate(trials):
            say(f"{number + 1} of {len(trials)}: {trial}{_left(trials[number:], rows, context)}")
            run_trial(trial, context)
            finished(trial)
    else:
        folders = {trial: comparison.folders(trial, context) for trial in trials}
        hand_out("train", run_trial, folders, context, engine, finished)
    table = [rows[trial] for trial in trials]
    if {"labels", "top1"} <= set(names):
        outcomes = (Outcome(*(row[name] for name in Outcome._fields)) for row in table)
        write_whole(out / SCORES, csv_text(_SCORE_COLUMNS, map(_score_row, score(outcomes))))
    for verdict in verdicts(table, comparison.score):
        say(str(verdict))
    return pa.Table.from_pylist(table, schema=comparison.schema)


def make_dataset(trial: Trial, context: ComparisonContext) -> Any:
    """Distils what a trial learns from, or finds it finished; None where it learns from the source."""
    folder = context.dataset(trial)
    if folder is None:
        return None
    if folder not in context.made:
        with_index = trial.method in context.task.distillation.with_index
        reading = context.settings.extract.model_copy(update={"device": context.settings.device})
        make = partial(
            distill,
            context.source,
            folder,
            context.distilling(trial),
            task=context.task,
            index=context.index if with_index else None,
            extract=not_given(reading),
        )
        context.made[folder] = overwrite_if_other(make, context.overwrite)
        _require_all(trial, context, folder)
    return context.made[folder]


def _require_all(trial: Trial, context: ComparisonContext, folder: Path) -> None:
    """Raises FocusError where a dataset has fewer images than its budget: all methods shall have as many."""
    asked = context.task.distillation.images(context.source, resolve(context.distilling(trial)).settings)
    made = read_json(folder / "done.json")["counts"].get("images", asked)
    if trial.budget is not None and made < asked:
        raise FocusError(
            f"method {trial.method} makes {made:,} of {asked:,} images of {context.source.name}, so methods "
            f"cannot be compared at --{trial.budget.name} {trial.budget.value:g}: use a lower one"
        )


def run_trial(trial: Trial, context: ComparisonContext) -> None:
    """Runs one trial, or finds it finished."""
    context.task.comparison.train(trial, make_dataset(trial, context), context)


def row_of(trial: Trial, context: ComparisonContext) -> dict[str, Any]:
    """The row of a finished trial; what a stage left no record of is None."""
    task, dataset, folder = context.task, context.dataset(trial), context.student(trial)
    with_index = context.index is not None and trial.method in task.distillation.with_index
    index = context.index.folder if with_index and context.index else None
    trained, distilled, extracted = (_run_of(stage) for stage in (folder, dataset, index))
    row = {
        **trained.get("versions", {}),
        **trained,
        **trial._asdict(),
        "redrawn": context.redrawn(trial),
        "seconds_extract": extracted.get("seconds_total"),
        "seconds_distil": distilled.get("seconds_total"),
        "seconds_train": trained.get("seconds", {}).get("train"),
        "memory_distil_mb": distilled.get("peak_memory_mb"),
        "memory_train_mb": trained.get("peak_memory_mb"),
        "device_memory_train_mb": trained.get("device_memory_mb"),
        **task.comparison.row(trial, read_json(folder / "result.json"), context),
    }
    return {name: row.get(name) for name in dict.fromkeys([*task.comparison.schema.names, *_SECONDS])}


def _run_of(folder: Path | None) -> dict[str, Any]:
    """What a finished stage cost; empty without a stage, and where its record is lost."""
    if folder is None:
        return {}
    known = known_in(folder / "run.json")
    if not known:
        lost = f"{folder / 'run.json'} is missing or damaged, so {RESULTS} does not tell what it cost"
        warn_once(f"{lost}: remove {folder} and run the same again where that matters")
    return known


def _left(trials: Sequence[Trial], done: Mapping[Trial, dict[str, Any]], context: ComparisonContext) -> str:
    """How long the trials will take, by the pace of the finished ones: those of the same student if any."""
    timed = [trial for trial, row in done.items() if row["seconds_train"] is not None]
    if not timed:
        return ""
    total, work = 0.0, context.task.comparison.work
    for trial in trials:
        alike = [one for one in timed if one.student == trial.student] or timed
        spent = sum(done[one]["seconds_train"] for one in alike)
        total += work(trial, context) * spent / sum(work(one, context) for one in alike)
    return f" (about {total / 60:.0f} min left)" if total >= 90 else f" (about {total:.0f} s left)"


def _score_row(scores: Scores) -> dict[str, Any]:
    """The mean of every score over the seeds and its sample standard deviation."""
    row: dict[str, Any] = dict(zip(_SCORE_COLUMNS, scores[:3], strict=False))
    row["seeds"] = max(len(values) for values in scores[3:])
    for name, values in zip(Scores._fields[3:], scores[3:], strict=True):
        row[name] = round(mean(values), 5) if values else None
        row[f"{name}_std"] = round(stdev(values), 5) if len(values) > 1 else None
    return row

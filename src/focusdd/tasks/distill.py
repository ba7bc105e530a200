"""Stage 2: `distill` extracts when there is no index yet, selects, composes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from focusdd.composition.images import compose, files_of
from focusdd.core.console import progress, say, warn
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.files import make_folder, write_json, write_whole
from focusdd.core.manifest import CARD
from focusdd.core.spelling import number_of
from focusdd.core.stage import Stage, Workspace, overwrite_if_other, run_stage
from focusdd.extraction.index import Index, open_index
from focusdd.settings import EngineSettings, ExtractorSettings
from focusdd.settings.resolve import not_given, resolve_and_warn
from focusdd.sources.disk import require_apart
from focusdd.sources.identity import content_hashes
from focusdd.sources.understood import fact, understood, understood_validation
from focusdd.tasks.base import Content, Task
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.extract import extract as run_extract


def distill(
    source: Any,
    out: Path | str,
    settings: Any = None,
    *,
    task: Task = CLASSIFY,
    val: Any = None,
    index: Index | Path | str | None = None,
    extract: ExtractorSettings | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> Any:
    """Makes a distilled dataset.

    Args:
        settings: of the task's kind; default: its own.
        val: validation images to write beside the distilled ones, for a task that does.
        index: what `extract` made of this source; made in a folder `out`-index when it is not given and the
            method needs one.
        extract: how to extract when there is no index yet.
        engine: where images are read, for the index and for the result; default: here.

    Raises:
        FocusError: the index is of another source, the settings cannot be met, or `out` holds something else.
    """
    adapter, out = task.distillation, Path(out)
    require_apart(out, source)
    settings = settings or adapter.settings()
    resolved = resolve_and_warn(settings, **adapter.facts(source, settings))
    settings = resolved.settings
    understood(source)
    adapter.check(source, settings)
    require_smaller(task, source, settings)
    reading = reading_for(task, settings.method, settings.method in adapter.with_index, index, extract)
    inputs = {"source": source.fingerprint, **beside_inputs(task, source, val)}
    found, judge = None, adapter.judge(settings, reading)
    if settings.method in adapter.with_index:
        wanted = adapter.extract_settings(settings, reading)
        found = index_for(task, source, out, wanted, index, overwrite, engine)
        inputs |= {"index": found.key, "content": found.info["content"]}
    if judge is not None:
        inputs["teacher"] = judge.weights

    def make(work: Workspace) -> dict[str, Any]:
        wanted = adapter.images(source, settings) or len(source.records)
        fact(
            "writes", f"{out}: {number_of(wanted, 'image')} of {settings.size} px by method {settings.method}"
        )
        with work.record.measure("select"):
            plan = adapter.plan(source, settings, found, judge, out)
            keys = (tile.key for tile in plan.tiles)
            plan = plan.with_hashes(found.hashes(keys) if found else content_hashes(source, keys))
        if plan.short:
            have = number_of(len(plan.short), "class has", "classes have")
            few = ", ".join(plan.short[:5])
            warn(f"{have} fewer {adapter.unit} than tiles, so they are used again: {few}")
        beside = adapter.beside(source, val) if adapter.beside else {}
        work.declare([*files_of(plan, settings, adapter.drawing), *beside, "distilled.json", CARD])
        write_missing(out, beside, "copy")
        with work.record.measure("compose"):
            images = compose(source, plan, out, settings, adapter.drawing, work.key, engine)
        described = {
            **task.mark,
            **{name: getattr(settings, name) for name in ("method", "size", "seed")},
            "key": work.key,
            "source": {"name": source.name, "split": source.split, "fingerprint": source.fingerprint},
            "source_images": len(source.records),
            "extractor": found.info["extractor"] if found is not None else None,
            "index": Path(os.path.relpath(found.folder, out)).as_posix() if found is not None else None,
            "judge": {"name": judge.name, "weights": judge.weights} if judge is not None else None,
            "classes": list(source.classes),
            "class_names": list(source.class_names),
            "settings": resolved.key,
            "short_classes": list(plan.short),
            **adapter.describe(source, settings, plan, found),
        }
        described = {field: described[field] for field in adapter.fields}
        write_json(out / "distilled.json", described)
        if not (out / CARD).exists():  # people edit it
            write_whole(out / CARD, adapter.card(described))
        work.record.note(images=images)
        if words := adapter.summary(described):
            say(words)
        return adapter.counts(described)

    name = f"{task.prefix}distill"
    stage = Stage(name, adapter.version, resolved.key, inputs, adapter.scratch)
    return adapter.open(run_stage(stage, out, make, overwrite))


def reading_for(
    task: Task, method: str, needed: bool, index: Any, extract: ExtractorSettings | None
) -> ExtractorSettings:
    """How images are read for a method, which may need no index; says what has no effect."""
    reader = "extractor" if index is None else "--index"
    if not needed:
        reader = f"method {method}"
        if index is not None:
            warn(f"--index has no effect with {reader}")
    return resolve_and_warn(extract or ExtractorSettings(), reader=reader, task=task.words).settings


def beside_inputs(task: Task, source: Any, val: Any) -> dict[str, str]:
    """What a result depends on where validation images are written beside it."""
    if val is None:
        return {}
    if task.distillation.beside is None:
        raise FocusError(f"{val.name} is not copied beside images with a class: give it to `focusdd train`")
    understood_validation(val, source)
    return {"val": val.fingerprint}


def index_for(
    task: Task,
    source: Any,
    out: Path,
    wanted: Any,
    index: Index | Path | str | None,
    overwrite: bool,
    engine: EngineSettings | None,
) -> Index:
    """Opens an index, or makes one of these settings in the folder OUT-index."""
    if index is None:
        named = out if out.name not in ("", "..") else out.resolve()
        folder, settings = Path(f"{named}-index"), not_given(wanted)
        return overwrite_if_other(
            partial(run_extract, source, folder, settings, task=task, engine=engine), overwrite
        )
    opened = open_index(index)
    require_index_of(task, opened, source)
    return opened


def require_index_of(task: Task, index: Index, source: Any) -> None:
    """Raises FocusError when an index is not of this source, as it is now, and of this task."""
    made_of = index.info["source"]
    if index.info.get("task", CLASSIFY.name) != task.name or made_of["fingerprint"] != source.fingerprint:
        raise FocusError(
            f"the index {index.folder} was made of another source or an earlier state of it "
            f"({made_of['name']}), not of {source.name} as it is now: leave --index away to make a new one"
        )


def require_smaller(task: Task, source: Any, settings: Any) -> None:
    """Raises FocusError where a distilled dataset would have no fewer images than its source."""
    wanted, there = task.distillation.images(source, settings), len(source.records)
    if wanted >= there and not settings.oversize:
        raise FocusError(
            f"{number_of(wanted, 'distilled image is', 'distilled images are')} no fewer than the {there:,} "
            f"of {source.name}: ask for fewer, or add --distill.oversize"
        )


def write_missing(out: Path, contents: Mapping[str, Content], what: str) -> None:
    """Writes the files that are not there yet, by their names below `out`.

    Args:
        what: is done, in a word.
    """

    def write(name: str) -> None:
        path = out / name
        if path.exists():
            return
        content = contents[name]()
        if isinstance(content, Path):
            path.unlink(missing_ok=True)  # a link to where the source was
            path.symlink_to(content.absolute())
        else:
            write_whole(path, content)

    for folder in {(out / name).parent for name in contents}:
        make_folder(folder)
    # half of the threads wait for the disk to sync
    with progress(what, len(contents), "files") as advance, ThreadPoolExecutor(2 * cpu_count()) as pool:
        for _ in pool.map(write, contents):
            advance(1, "")

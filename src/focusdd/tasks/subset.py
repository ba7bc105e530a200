"""A subset of original images, as a list, links or copies: the selection of `distill` without composing."""

from __future__ import annotations

import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from focusdd.core.console import progress, say, warn
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.files import csv_text, write_whole
from focusdd.core.images import UnreadableImage, decode
from focusdd.core.spelling import number_of
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.extraction.index import Index
from focusdd.selection.subset import Candidates, choose
from focusdd.settings import EngineSettings, ExtractorSettings, SubsetSettings
from focusdd.settings.resolve import resolve_and_warn
from focusdd.sources.disk import require_apart
from focusdd.sources.listed import SUBSET_COLUMNS
from focusdd.sources.names import has_image_suffix
from focusdd.sources.understood import fact, understood
from focusdd.tasks.base import Content, OpenedImage, Task
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.distill import beside_inputs, index_for, reading_for, write_missing


def subset(
    source: Any,
    out: Path | str,
    settings: SubsetSettings | None = None,
    *,
    task: Task = CLASSIFY,
    val: Any = None,
    index: Index | Path | str | None = None,
    extract: ExtractorSettings | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> Path:
    """Chooses original images of a source.

    Writes `subset.csv` (key, class, file: below `out`, or for a list where the source has it),
    `left_out.csv` (key, reason; not images that were merely not chosen), and with `form` links or copies the
    images: labelled ones as `train/<class>/`, those with boxes as `images/train/` with `labels/train/`,
    `data.yaml` and `annotations.json`. A list of labelled files is a source, and so is the folder.

    Args:
        val: validation images to copy beside the chosen ones, for a task that does.
        index: of the source; default: one is made in the folder OUT-index, if the method needs it.
        extract: how to extract when there is no index yet.

    Returns:
        `out`.

    Raises:
        FocusError: not one of number, ratio and per_class is given, the index is of another source, or `out`
            holds something else.
    """
    resolved, out = resolve_and_warn(settings or SubsetSettings()), Path(out)
    settings = resolved.settings
    require_apart(out, source)
    if sum(value is not None for value in (settings.number, settings.ratio, settings.per_class)) != 1:
        raise FocusError("give one of --number, --ratio and --per-class")
    if settings.form == "links" and not hasattr(source, "root"):
        raise FocusError(f"{source.name} has no files to link to: use --form copies")
    understood(source)
    if val is not None and settings.form == "list":
        raise FocusError("--val has no place beside a list: use --form links or --form copies")
    inputs, found = {"source": source.fingerprint, **beside_inputs(task, source, val)}, None
    reading = reading_for(task, settings.method, settings.method != "random", index, extract)
    if settings.method != "random":
        wanted = task.extraction.settings(**reading.model_dump())
        found = index_for(task, source, out, wanted, index, overwrite, engine)
        inputs |= {"index": found.key, "content": found.info["content"]}
    make = partial(_make, task, source, val, found, settings)
    return run_stage(Stage(f"{task.prefix}subset", 2, resolved.key, inputs), out, make, overwrite)


def _make(
    task: Task, source: Any, val: Any, index: Index | None, settings: SubsetSettings, work: Workspace
) -> dict[str, Any]:
    fact("writes", f"{work.out}: a subset by method {settings.method} as {settings.form}")
    images = task.subsetting.candidates(source, index)
    opened: list[OpenedImage] = []
    unreadable: dict[str, str] = {}
    while True:  # until all that are chosen can be read
        usable = np.array([key not in unreadable for key in images.keys])
        chosen, duplicates = choose(images, settings, usable)
        if settings.form == "list":
            break
        with work.record.measure("read"):
            opened, failed = _opened(task, source, images, chosen)
        if not failed:
            break
        unreadable |= failed
        if len(unreadable) == len(images.keys):
            last = ": ".join(list(unreadable.items())[-1])
            raise FocusError(
                f"no image of {source.name} can be read ({last}): check that the files are whole"
            )
    left_out = [*source.skipped] if index is None else [*map(tuple, index.info["skipped"])]
    left_out += [*unreadable.items(), *((images.keys[row], "near-duplicate") for row in duplicates)]
    files = {one.key: one.file for one in opened}
    contents: dict[str, Content] = {}
    if opened:
        original = source.read if settings.form == "copies" else partial(Path, source.root)
        contents = {file: partial(original, key) for key, file in files.items()}
        contents |= {name: partial(str, text) for name, text in task.subsetting.about(source, opened).items()}
        if task.distillation.beside:
            contents |= task.distillation.beside(source, val)
    work.declare(["subset.csv", "left_out.csv", *contents])
    write_missing(work.out, contents, settings.form)
    labels = images.labels()
    root = Path(source.root).absolute() if settings.form == "list" and hasattr(source, "root") else None
    rows = [
        {
            "key": (key := images.keys[row]),
            "class": "|".join(source.classes[label] for label in labels[row]),
            "file": str(root / key) if root else files.get(key, ""),
        }
        for row in chosen
    ]
    write_whole(work.out / "subset.csv", csv_text(SUBSET_COLUMNS, rows))
    reasons = [{"key": key, "reason": reason} for key, reason in left_out]
    write_whole(work.out / "left_out.csv", csv_text(["key", "reason"], reasons))
    counts = [int(np.isin(shown, chosen).sum()) for shown in images.shown]
    _say(source, counts, len(rows), left_out, settings.per_class)
    work.record.note(images=len(rows))
    return {"images": len(rows), "left_out": len(left_out)}


def _say(
    source: Any, counts: list[int], images: int, left_out: list[tuple[str, str]], per_class: int | None
) -> None:
    few, most = min(counts), max(counts)
    of_each = f"{few} of each class" if few == most else f"{few} to {most} of a class"
    say(f"{images} of {len(source.records)} images, {of_each}")
    for reason, count in Counter(reason for _, reason in left_out).most_common(3):
        say(f"left out: {count} ({reason})")
    there = {record.key for record in source.records}
    say(f"not chosen: {len(there) - images - sum(key in there for key, _ in left_out)}")
    known = [*zip(source.classes, counts, strict=True)]
    if empty := [name for name, count in known if not count]:
        warn(f"{number_of(len(empty), 'class has', 'classes have')} no image: {', '.join(empty[:3])}")
    if short := [name for name, count in known if count < (per_class or 0)]:
        have = number_of(len(short), "class has", "classes have")
        warn(f"{have} fewer images than --per-class {per_class}: {', '.join(short[:3])}")


def _opened(
    task: Task, source: Any, images: Candidates, chosen: np.ndarray
) -> tuple[list[OpenedImage], dict[str, str]]:
    """Reads the chosen images; and those that cannot be read, with the reason.

    Each gets the name of its file, and names that differ in nothing but case or suffix a number: labels have
    the name of their image, but for the suffix.
    """

    def read(row: int) -> tuple[str, int, int, Any] | str:
        key = images.keys[row]
        try:
            data = source.read(key)
            _, width, height = decode(data, least_side=1)
            notes = task.subsetting.notes(source, key, width, height)
        except UnreadableImage as error:
            return str(error)
        name = PurePosixPath(key).name
        if not has_image_suffix(name):
            name += f".{(Image.open(io.BytesIO(data)).format or 'img').lower()}"
        return name, width, height, notes

    opened: list[OpenedImage] = []
    failed: dict[str, str] = {}
    taken: set[str] = set()
    with progress("read", len(chosen), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for row, found in zip(chosen, pool.map(read, chosen), strict=True):
            advance(1, "")
            if isinstance(found, str):
                failed[images.keys[row]] = found
                continue
            name, *rest = found
            file = f"{task.subsetting.folder(source, int(images.groups[row]))}/{name}"
            while (stem := file.rpartition(".")[0].lower()) in taken:
                file = f"{file.rpartition('/')[0]}/{len(taken):05d}_{name}"
                name = file.rpartition("/")[2]
            taken.add(stem)
            opened.append(OpenedImage(images.keys[row], file, *rest))
    return opened, failed

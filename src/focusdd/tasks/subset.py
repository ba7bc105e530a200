"""A subset of original images, as a list, links or copies: the selection of `distill` without composing."""

from __future__ import annotations

import io
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from focusdd.core.console import progress, say, warn
from focusdd.core.errors import FocusError
from focusdd.core.files import csv_text, make_folder, write_whole
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.extraction.index import Index
from focusdd.selection.subset import Subset, choose
from focusdd.settings import EngineSettings, ExtractorSettings, ExtractSettings, SubsetSettings
from focusdd.settings.resolve import settle
from focusdd.sources.apart import require_apart
from focusdd.sources.base import Source, has_image_suffix
from focusdd.tasks.base import Task
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.distill import index_for


def subset(
    source: Source,
    out: Path | str,
    settings: SubsetSettings | None = None,
    *,
    task: Task = CLASSIFY,
    index: Index | Path | str | None = None,
    extract: ExtractorSettings | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> Path:
    """Chooses original images of a source.

    Writes `subset.csv` (key, class, file), `left_out.csv` (key, reason; not images that were merely not
    chosen), and with `form` links or copies an image folder `train/<class>/`.

    Args:
        index: of the source; default: one is made in the folder OUT-index, if the method needs it.
        extract: how to extract when there is no index yet.

    Returns:
        `out`.

    Raises:
        FocusError: not one of number, ratio and per_class is given, the index is of another source, or `out`
            holds something else.
    """
    resolved, out = settle(settings or SubsetSettings()), Path(out)
    settings = resolved.settings
    require_apart(out, source)
    if sum(value is not None for value in (settings.number, settings.ratio, settings.per_class)) != 1:
        raise FocusError("give one of --number, --ratio and --per-class")
    if settings.form == "links" and not hasattr(source, "root"):
        raise FocusError(f"{source.name} has no files to link to: use --form copies")
    inputs, found = {"source": source.fingerprint}, None
    if settings.method == "random":
        if index is not None:
            warn("--index has no effect with method random")
    else:
        wanted = ExtractSettings(**(extract or ExtractorSettings()).model_dump(exclude_unset=True))
        found = index_for(task, source, out, wanted, index, overwrite, engine)
        inputs |= {"index": found.key, "content": found.info["content"]}
    make = partial(_make, source, found, settings)
    return run_stage(Stage("subset", 1, resolved.key, inputs), out, make, overwrite)


def _make(source: Source, index: Index | None, settings: SubsetSettings, work: Workspace) -> dict[str, Any]:
    made = choose(source, index, settings)
    files = {key: "" for keys in made.chosen for key in keys}
    if settings.form != "list":
        with work.record.measure("read"):
            files = _names(source, made)
    skipped = source.skipped if index is None else tuple(map(tuple, index.info["skipped"]))
    left_out = [(key, "near-duplicate") for keys in made.duplicates for key in keys] + [*skipped]
    work.declare(["subset.csv", "left_out.csv", *filter(None, files.values())])
    if settings.form != "list":
        _fill(source, files, settings.form, work.out)
    rows = [
        {"key": key, "class": folder, "file": files[key]}
        for folder, keys in zip(source.classes, made.chosen, strict=True)
        for key in keys
    ]
    write_whole(work.out / "subset.csv", csv_text(["key", "class", "file"], rows))
    reasons = [{"key": key, "reason": reason} for key, reason in left_out]
    write_whole(work.out / "left_out.csv", csv_text(["key", "reason"], reasons))
    _say(source, made, len(rows), left_out)
    work.record.note(images=len(rows))
    return {"images": len(rows), "left_out": len(left_out)}


def _say(source: Source, made: Subset, images: int, left_out: list[tuple[str, str]]) -> None:
    counts = [len(keys) for keys in made.chosen]
    say(f"{images} of {len(source.records)} images, {min(counts)} to {max(counts)} of a class")
    for reason, count in Counter(reason for _, reason in left_out).most_common(3):
        say(f"left out: {count} ({reason})")
    say(f"not chosen: {len(source.records) - images - sum(map(len, made.duplicates))}")
    if empty := [folder for folder, count in zip(source.classes, counts, strict=True) if not count]:
        warn(f"{len(empty)} classes have no image: {', '.join(empty[:3])}")


def _names(source: Source, made: Subset) -> dict[str, str]:
    """The file of every chosen image below the output folder; equal names are told apart by a number."""
    names: dict[str, str] = {}
    for folder, keys in zip(source.classes, made.chosen, strict=True):
        taken: set[str] = set()
        for key in keys:
            name = key.rsplit("/", 1)[-1]
            if not has_image_suffix(name):
                name += f".{(Image.open(io.BytesIO(source.read(key))).format or 'img').lower()}"
            name = name if name.lower() not in taken else f"{len(taken):05d}_{name}"
            taken.add(name.lower())
            names[key] = f"train/{folder}/{name}"
    return names


def _fill(source: Source, files: dict[str, str], form: str, out: Path) -> None:
    with progress("link" if form == "links" else "copy", len(files), "images") as advance:
        for key, name in files.items():
            path = out / name
            make_folder(path.parent)
            if form == "copies":
                write_whole(path, source.read(key))
            elif not path.is_symlink():
                path.symlink_to((Path(source.root) / key).absolute())  # type: ignore[attr-defined]
            advance(1, "")

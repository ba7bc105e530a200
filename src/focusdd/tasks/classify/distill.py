"""`distill`: extract when there is no index yet, select, compose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from focusdd.composition.dataset import Distilled, card, open_distilled
from focusdd.composition.images import compose, files_of
from focusdd.core.console import warn
from focusdd.core.errors import FocusError
from focusdd.core.files import write_json, write_whole
from focusdd.core.manifest import CARD
from focusdd.core.stage import Stage, Workspace, replacing, run_stage
from focusdd.extraction.index import Index, open_index
from focusdd.selection.focus import select
from focusdd.selection.plan import Plan
from focusdd.settings import (
    DistillSettings,
    EngineSettings,
    ExtractorSettings,
    ExtractSettings,
    PatchSettings,
)
from focusdd.settings.resolve import Resolved, not_given, resolve, settle
from focusdd.sources.base import Source
from focusdd.sources.identity import content_hashes

VERSION = 3
_CHOSEN = "chosen"  # folder of an unfinished stage: what method rded has chosen so far
WITH_INDEX = ("focus", "herding", "k-center")  # methods that choose among what `extract` found
_WHOLE = ("random", "herding", "k-center")  # a distilled image is one whole image


def distill(
    source: Source,
    out: Path | str,
    settings: DistillSettings | None = None,
    *,
    index: Index | Path | str | None = None,
    extract: ExtractorSettings | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> Distilled:
    """Makes a distilled dataset.

    Args:
        index: what `extract` made of this source; made in a folder `out`-index when it is not given and the
            method needs one.
        extract: how to extract when there is no index yet.
        engine: where images are read, for the index and for the result; default: here.

    Raises:
        FocusError: the index is of another source, or `out` holds something else.
    """
    resolved, out = settle(settings or DistillSettings()), Path(out)
    settings = resolved.settings
    _check_layout(settings)
    reader = "extractor" if index is None else "--index"
    if settings.method not in WITH_INDEX:
        reader = f"method {settings.method}"
        if index is not None:
            warn(f"--index has no effect with {reader}")
    extract = settle(extract or ExtractorSettings(), reader=reader).settings
    inputs = {"source": source.fingerprint}
    teacher = None
    if settings.method in WITH_INDEX:
        index = _index(source, out, settings, index, extract, overwrite, engine)
        inputs |= {"index": index.key, "content": index.info["content"]}
    else:
        index = None
    if settings.method == "rded":
        teacher = _teacher(settings, extract)
        inputs["teacher"] = teacher.weights

    def make(work: Workspace) -> dict[str, Any]:
        with work.record.measure("select"):
            plan = _plan(source, settings, index, teacher, out / _CHOSEN)
            plan = plan.with_hashes(
                index.hashes if index else content_hashes(source, (tile.key for tile in plan.tiles))
            )
        if plan.short:
            few = ", ".join(plan.short[:5])
            warn(f"{len(plan.short)} classes have fewer images than tiles, theirs are used again: {few}")
        work.declare([*files_of(plan, settings), "distilled.json", CARD])
        with work.record.measure("compose"):
            images = compose(source, plan, out, settings, work.key, engine)
        description = _description(source, resolved, plan, index, teacher, work.key, out)
        write_json(out / "distilled.json", description)
        if not (out / CARD).exists():  # people edit it
            write_whole(out / CARD, card(description))
        work.record.note(images=images)
        return {"images": images, "classes": len(source.classes), "ipc": settings.ipc}

    stage = Stage("distill", VERSION, resolved.key, inputs, scratch=(_CHOSEN,))
    return open_distilled(run_stage(stage, out, make, overwrite))


def _check_layout(settings: DistillSettings) -> None:
    if settings.method not in _WHOLE and settings.size // settings.grid < 8:
        raise FocusError(
            f"a {settings.grid} x {settings.grid} grid on {settings.size} px makes tiles under 8 px: "
            "use a smaller --grid or a larger --size"
        )


def depends_on_seed(settings: DistillSettings) -> bool:
    """Whether another seed makes another distilled dataset."""
    return "seed" in resolve(settings).key


def _index(
    source: Source,
    out: Path,
    settings: DistillSettings,
    index: Index | Path | str | None,
    reading: ExtractorSettings,
    overwrite: bool,
    engine: EngineSettings | None,
) -> Index:
    if index is None:
        from focusdd.tasks.classify.extract import extract

        wanted = extract_settings(settings, reading)
        folder = out.with_name(out.name + "-index")
        index = replacing(
            lambda anew: extract(source, folder, wanted, overwrite=anew, engine=engine), overwrite
        )
    elif not isinstance(index, Index):
        index = open_index(index)
    if index.info["source"]["fingerprint"] != source.fingerprint:
        made_of = index.info["source"]["name"]
        raise FocusError(
            f"the index {index.folder} was made of another source or an earlier state of it ({made_of}), "
            f"not of {source.name} as it is now: run `focusdd extract` again"
        )
    return index


def extract_settings(settings: DistillSettings, reading: ExtractorSettings) -> ExtractSettings:
    """How to extract so that the index holds the key patches that `settings` ask for."""
    patches = {name: getattr(settings, name) for name in PatchSettings.model_fields}
    tile = settings.size // settings.grid
    return not_given(ExtractSettings(**reading.model_dump(), **patches, tile=tile))


def _teacher(settings: DistillSettings, reading: ExtractorSettings) -> Any:
    from focusdd.models.device import pick_device
    from focusdd.models.load import load_model

    if not settings.teacher:
        raise FocusError("method rded needs a teacher to judge its crops: give --teacher")
    return load_model(settings.teacher, pick_device(reading.device), settings.size // settings.grid)


def _plan(source: Source, settings: DistillSettings, index: Any, teacher: Any, chosen: Path) -> Plan:
    if settings.method == "focus":
        return select(index, settings, settings.size // settings.grid)
    if index is not None:
        from focusdd.selection.coresets import coreset_plan

        return coreset_plan(source, index, settings)
    from focusdd.selection.baselines import random_plan, rded_plan

    if settings.method == "rded":
        return rded_plan(source, settings, teacher, chosen)
    return random_plan(source, settings, "whole" if settings.method == "random" else "view")


def _description(
    source: Source,
    resolved: Resolved[DistillSettings],
    plan: Plan,
    index: Any,
    teacher: Any,
    key: str,
    out: Path,
) -> dict[str, Any]:
    settings = resolved.settings
    return {
        "key": key,
        "method": settings.method,
        "ipc": settings.ipc,
        "grid": plan.grid,
        "size": settings.size,
        "seed": settings.seed,
        "settings": resolved.key,
        "source": {"name": source.name, "split": source.split, "fingerprint": source.fingerprint},
        "source_images": len(source.records),
        "extractor": index.info["extractor"] if index is not None else None,
        "index": os.path.relpath(index.folder, out) if index is not None else None,
        "judge": {"name": teacher.name, "weights": teacher.weights} if teacher is not None else None,
        "classes": list(source.classes),
        "class_names": list(source.class_names),
        "short_classes": list(plan.short),
    }

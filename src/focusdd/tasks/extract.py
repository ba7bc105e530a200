"""Stage 1: one pass of a ViT over downsampled views of all images fills the index."""

from __future__ import annotations

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from focusdd.core.decoders import PILLOW
from focusdd.core.files import write_json
from focusdd.core.run_record import RunRecord
from focusdd.core.stage import Stage, Workspace, run_stage, stage_in
from focusdd.execute import Work
from focusdd.execute.remote import SourceName, load_same, require_shared
from focusdd.extraction.index import Index, open_index, read_notes
from focusdd.extraction.inference import as_extractor, batch_size
from focusdd.extraction.nvjpeg import decoder_for
from focusdd.extraction.parts import fill_parts, make_parts
from focusdd.models.device import device_name, pick_device
from focusdd.models.load import Model, load_model
from focusdd.settings import EngineSettings
from focusdd.settings.resolve import record, resolve, resolve_and_warn
from focusdd.sources.disk import require_apart
from focusdd.sources.understood import fact, model_fact, understood, warn_of_skipped
from focusdd.tasks.base import Task
from focusdd.tasks.classify.task import CLASSIFY


def extract(
    source: Any,
    out: Path | str,
    settings: Any = None,
    *,
    task: Task = CLASSIFY,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> Index:
    """Runs the extractor over every image of a source and writes the index.

    Interrupted work resumes; an index that is already complete is returned as it is.

    Args:
        settings: of the task's kind; default: its own.
        engine: where the images are read; default: here.

    Raises:
        FocusError: the extractor's attention cannot be read, its accuracy on the source is near chance, no
            image can be read, or `out` holds something else.
    """
    adapter = task.extraction
    settings = settings or adapter.settings()
    require_apart(Path(out), source)
    understood(source)
    run = RunRecord()
    side = resolve(settings).settings.input_size
    model = load_model(settings.extractor, pick_device(settings.device), side)
    vit = as_extractor(model)
    facts = {"input_size": model.input_size, "batch_size": batch_size(vit, model)}
    resolved = resolve_and_warn(settings, task=task.words, **facts)
    settings = resolved.settings
    decoder = _begun_with(Path(out), overwrite) or decoder_for(source, model.device)
    inputs = {"source": source.fingerprint, "extractor": model.weights}
    if decoder != PILLOW:
        inputs["decoder"] = decoder

    def make(work: Workspace) -> dict[str, Any]:
        model_fact("extractor", model)
        fact("writes", f"{out}: an index with a row for each image")
        with run.measure("check"):
            adapter.check(source, model, settings)
        name = SourceName.of(source, task.open_source)
        known = (task, name, work.out.absolute(), work.key, settings, model.weights, decoder)
        worker = partial(partial, _work, *known)
        inference = adapter.inference(source, model, vit, settings)._replace(decoder=decoder)
        with run.measure("extract"):
            images = fill_parts(work, inference, worker, engine)
        run.note(images=images, device=device_name(model.device))
        with run.measure("finish"):
            grid = list(vit.grid(model.input_size, model.input_size))
            return _finish(task, work, source, model, settings, decoder, grid)

    stage = Stage(f"{task.prefix}extract", adapter.version, resolved.key, inputs)
    return open_index(run_stage(stage, out, make, overwrite, run))


def _begun_with(out: Path, overwrite: bool) -> str | None:
    """The decoder of an index that is there: it is gone on with, on whatever machine."""
    stage = None if overwrite else stage_in(out)
    return None if stage is None else stage.get("inputs", {}).get("decoder", PILLOW)


def _work(
    task: Task, name: SourceName, out: Path, key: str, settings: Any, weights: str, decoder: str, shard: int
) -> Work:
    """Reads images in another process as `extract` does in its own."""
    require_shared(out, key)
    model = load_same(settings.extractor, weights, settings.device, settings.input_size)
    inference = task.extraction.inference(name.reopen(), model, as_extractor(model), settings)
    return partial(make_parts, inference._replace(decoder=decoder), out, shard)


def _finish(
    task: Task, work: Workspace, source: Any, model: Model, settings: Any, decoder: str, grid: list[int]
) -> dict[str, Any]:
    """Fills in what only all rows together tell, and writes index.json; returns the counts."""
    index = Index(work.out, {})
    notes = [read_notes(part) for part in index.parts()]
    skipped = [*map(list, source.skipped), *chain.from_iterable(note["skipped"] for note in notes)]
    found = task.extraction.finish(work.out, source, model, settings, skipped)
    info = {
        "key": work.key,
        **task.mark,
        "source": {"name": source.name, "split": source.split, "fingerprint": source.fingerprint},
        "extractor": {
            "name": model.name,
            "weights": model.weights,
            "input_size": model.input_size,
            "confidence": found.confidence,
            "accuracy": found.accuracy,
        },
        "decoder": {"name": decoder, "fallback": sum(note.get("fallback", 0) for note in notes)},
        "settings": record(settings),
        "grid": grid,
        "classes": list(source.classes),
        "class_names": list(source.class_names),
        "counts": found.counts,
        "skipped": skipped,
        "content": index.content(),
        **found.facts,
    }
    write_json(work.out / "index.json", info)
    if unreadable := skipped[len(source.skipped) :]:
        warn_of_skipped(unreadable, source.name, " and listed in index.json")
    judged = {f"{found.confidence} accuracy": found.accuracy} if found.confidence else {}
    return found.counts | judged

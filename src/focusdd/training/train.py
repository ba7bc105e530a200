"""Stage 3: a student learns from a distilled dataset and is judged on the untouched validation set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from focusdd.composition.dataset import Distilled, open_distilled, source_hashes
from focusdd.core.console import say, warn_once
from focusdd.core.distributed import local_world_size
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json
from focusdd.core.run_record import RunRecord
from focusdd.core.stage import Stage, Workspace
from focusdd.labels.reader import LabelledViews
from focusdd.models.checkpoint import CHECKPOINT, save_checkpoint
from focusdd.models.checks import checked_outputs
from focusdd.models.dense import dense_grid
from focusdd.models.device import pick_device
from focusdd.models.families import other_family, other_sizes, recipe
from focusdd.models.load import Model, load_model, new_net, normalisation
from focusdd.settings import TrainSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import flag, record, resolve, resolve_and_warn
from focusdd.settings.train import DENSE, WHOLE_VIEWS
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.sources.disk import require_apart
from focusdd.sources.identity import num_shared
from focusdd.sources.pixels import Pixels, load_files, load_source
from focusdd.sources.understood import fact, understood_validation
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import RESUME, cosine, half_cosine
from focusdd.training.losses import online_loss, stored_loss
from focusdd.training.ranks import Ranks, process_group
from focusdd.training.result import TrainedStudent
from focusdd.training.stage import Learn, run_training

VERSION = 6
_FACTS = ("key", "method", "ipc", "size", "grid", "seed")


class _TrainingSet(NamedTuple):
    """What a student learns from."""

    name: str
    classes: tuple[str, ...]
    inputs: dict[str, str]
    """Its part of the stage's key."""
    facts: dict[str, Any]
    """What `result.json` says of it: key, method, ipc, size, grid and seed."""
    read: Callable[[], Pixels]
    source: tuple[str, str]
    """Fingerprint and name of the source of its images."""
    hashes: Callable[[Pixels], Iterable[str]]
    """Of the files of all images that it shows, by what `read` gave."""
    stored: Callable[[TrainSettings, torch.device], LabelledViews] | None = None
    """Opens its stored labels."""


@with_keywords(settings=TrainSettings)
def train(
    distilled: Distilled | Path | str,
    val: Source | Path | str,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
) -> TrainedStudent:
    """Trains a student on a distilled dataset by knowledge distillation.

    The weights of the last epoch, or their average with --ema, are scored once on all of `val`; nothing is
    chosen by it. The processes of a `torchrun` train one student together.

    Returns:
        Top-1 and top-5 as fractions, and what they were reached with: the content of `result.json`.

    Raises:
        FocusError: the teacher or `val` has other classes, the teacher is near chance, or `out` holds
            something else.
    """
    distilled = open_distilled(distilled)
    info = distilled.info
    dataset = _TrainingSet(
        name=str(distilled.folder),
        classes=distilled.classes,
        inputs={"distilled": info["key"]},
        facts={name: info[name] for name in _FACTS},
        read=lambda: load_files(distilled.files(), info["size"], local_world_size()),
        source=(info["source"]["fingerprint"], info["source"]["name"]),
        hashes=lambda _: source_hashes(distilled.folder),
        stored=partial(LabelledViews, distilled),
    )
    return _train(dataset, open_source(val, "val"), Path(out), settings or TrainSettings(), overwrite)


def train_on_source(
    source: Source,
    val: Source,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    side: int = 224,
    overwrite: bool = False,
) -> TrainedStudent:
    """Trains a student on all images of a source, by the recipe of `train`: the row "full" of a table.

    Args:
        side: the images are squashed to it, as whole images of a distilled dataset are; all of them are held
            in memory.

    Returns:
        As `train`; its ipc is the mean number of images per class.

    Raises:
        FocusError: as `train`; or the images do not fit into memory.
    """
    require_apart(Path(out), source)
    ipc = len(source.records) / len(source.classes)
    dataset = _TrainingSet(
        name=source.name,
        classes=source.classes,
        inputs={"source": source.fingerprint, "side": str(side)},
        facts=dict(zip(_FACTS, (source.fingerprint, "full", round(ipc), side, 1, 0), strict=True)),
        read=lambda: load_source(source, side, "read", local_world_size()),
        source=(source.fingerprint, source.name),
        hashes=lambda pixels: pixels.hashes,
    )
    return _train(dataset, val, Path(out), settings or TrainSettings(), overwrite)


def _train(
    dataset: _TrainingSet, val: Source, out: Path, asked: TrainSettings, overwrite: bool
) -> TrainedStudent:
    understood_validation(val, dataset, dataset.source)
    require_apart(out, val)
    device = pick_device(asked.device)
    with process_group(device) as ranks:
        return TrainedStudent.of(out, _train_on(ranks, device, dataset, val, out, asked, overwrite))


def _train_on(
    ranks: Ranks,
    device: torch.device,
    dataset: _TrainingSet,
    val: Source,
    out: Path,
    asked: TrainSettings,
    overwrite: bool,
) -> dict[str, Any]:
    """Makes the stage; returns the content of result.json."""
    run = RunRecord()
    teacher = None
    if asked.labels == "soft":
        if not asked.teacher:
            raise FocusError(
                "soft labels need a teacher: give --teacher, or use --labels stored or --labels hard"
            )
        teacher = load_model(asked.teacher, device, asked.size)
    data = _stored(dataset, asked, device) if asked.labels not in ("soft", "hard") else None
    inputs = dataset.inputs | {"val": val.fingerprint}
    facts: dict[str, Any] = {"taught": WHOLE_VIEWS, "size": dataset.facts["size"], "other_family": ""}
    if teacher is not None:
        inputs["teacher"] = teacher.weights
        other = other_family(asked.teacher, asked.student)
        facts = {"taught": DENSE, "size": teacher.input_size, "other_family": other}
    elif data is not None:
        inputs["labels"], facts = data.store.key, data.facts
    facts = facts | recipe(asked.student)._asdict()
    settings, own = (resolved := resolve_and_warn(asked, **facts)).settings, resolved.key
    if teacher and (words := other_sizes(dataset.facts["size"], teacher.fitted_size, settings.size)):
        warn_once(words)
    if facts["other_family"]:
        at = f". The temperature is {settings.temperature:g}" if "temperature" in own else ""
        warn_once(facts["other_family"] + at)

    def make(work: Workspace, learn: Learn) -> dict[str, Any]:
        fact("writes", f"{out}: a {asked.student} taught by {dataset.name}")
        outputs, judged = None, None
        if data is not None:
            stored = data.store.info["teacher"]
            judged = {"name": stored["name"], "sample_accuracy": stored["accuracy"]}
        elif teacher is not None:
            with run.measure("check"):
                outputs, found = checked_outputs(teacher, val, "teacher", settings.anyway)
            judged = {"name": teacher.name, "sample_accuracy": found.top1}
        with run.measure("read"):
            pixels = dataset.read() if data is None else data.pixels
        classes = len(dataset.classes)
        net, arguments = new_net(settings.student, classes, settings.size, device, settings.seed)
        possible = _followed(asked, facts, net, teacher, device)
        if data is None:
            grid = dataset.facts["grid"]
            loss = online_loss(net, pixels, grid, teacher, outputs, possible, device, ranks)
        else:
            loss = stored_loss(net, data, possible, device, ranks)
        trained = learn(net, pixels, loss)
        if trained is None:
            return {}
        with run.measure("evaluate"):
            held_out = load_source(val, settings.size, "evaluate")
            score = evaluate(trained, held_out, *normalisation(net), device, classes)
        scores = {name: round(getattr(score, name), 5) for name in ("top1", "top5", "balanced", "chance")}
        per_class = (None if math.isnan(share) else round(share, 4) for share in score.per_class)
        result = {
            "student": settings.student,
            **scores,
            "per_class": dict(zip(dataset.classes, per_class, strict=True)),
            "val": {
                "name": val.name,
                "images": len(held_out),
                "shared": num_shared(dataset.hashes(pixels), held_out.hashes, val.name),
                "skipped": [list(image) for image in held_out.skipped],
            },
            "distilled": dataset.facts,
            "teacher": judged,
            "settings": record(settings),
            "taught": {"dense": possible.dense_weight > 0, "tile_crops": possible.tile_crops},
        }
        about = {"made_by": "focusdd train", "top1": scores["top1"], "distilled": dataset.facts}
        names = dataset.classes, val.class_names
        work.declare([*CHECKPOINT, "result.json"])
        save_checkpoint(work.out, trained, *names, settings.size, arguments, about)
        write_json(work.out / "result.json", result)
        return {"top1": scores["top1"], "top5": scores["top5"]}

    stage = Stage("train", VERSION, own, inputs, scratch=(RESUME,))
    rate = cosine if settings.schedule == "cosine" else half_cosine
    run_training(stage, out, make, settings, rate, device, ranks, overwrite, run)
    return ranks.broadcast(read_json(out / "result.json") if ranks.rank == 0 else None)


def _stored(dataset: _TrainingSet, settings: TrainSettings, device: torch.device) -> LabelledViews:
    """The images with their stored labels, which are distributions of CutMix views."""
    if dataset.stored is None:
        raise FocusError(f"{dataset.name} is a whole source without stored labels: use --labels soft")
    for name in ("mix", "loss", "hard_weight"):
        if getattr(settings, name) != (usual := TrainSettings.model_fields[name].default):
            raise FocusError(
                f"stored labels can only be learnt with {flag(name)} {usual}: use that, or --labels soft"
            )
    return dataset.stored(settings, device)


def _followed(
    asked: TrainSettings,
    facts: dict[str, Any],
    net: nn.Module,
    teacher: Model | None,
    device: torch.device,
) -> TrainSettings:
    """The settings as networks and labels can follow them: dense labels only where all can.

    Args:
        facts: what the settings derive their defaults from.
    """
    settings = resolve(asked, **facts).settings
    nets = [net] if teacher is None else [net, teacher.net]
    dense = asked.dense_weight > 0 and facts["taught"] == DENSE
    if dense and not all(dense_grid(one, settings.size, device) for one in nets):
        say(f"{asked.student} is taught by whole views: it or its teacher has no dense logits")
        dense = False
    if dense:
        return settings
    if teacher is not None:  # crops that stored labels were made for stay as they are
        settings = resolve(asked, **facts | {"taught": WHOLE_VIEWS}).settings
    return settings.model_copy(update={"dense_weight": 0.0})

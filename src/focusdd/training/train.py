"""Stage 3: a student learns from a distilled dataset and is judged on the untouched validation set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from focusdd.composition.dataset import Distilled, open_distilled, source_hashes
from focusdd.core.console import say, warn
from focusdd.core.distributed import local_world_size
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json
from focusdd.core.run_record import RunRecord
from focusdd.core.stage import Stage, Workspace
from focusdd.labels.reader import LabelledViews
from focusdd.models.checkpoint import CHECKPOINT, save_checkpoint
from focusdd.models.checks import sample_accuracy
from focusdd.models.classes import matched_outputs
from focusdd.models.dense import has_dense_logits
from focusdd.models.device import device_name, peak_device_memory_mb, pick_device
from focusdd.models.graphs import let_go
from focusdd.models.load import Model, load_model, new_net, normalisation
from focusdd.settings import TrainSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import record, resolve, settle
from focusdd.settings.train import DENSE, WHOLE_VIEWS
from focusdd.sources import open_source
from focusdd.sources.apart import require_apart
from focusdd.sources.base import Source
from focusdd.sources.classes import require_same_classes
from focusdd.sources.identity import num_shared, require_other
from focusdd.sources.pixels import Pixels, load_files, load_source
from focusdd.sources.understood import fact, understood
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import RESUME, cosine, half_cosine, run_epochs
from focusdd.training.losses import online_loss, stored_loss
from focusdd.training.ranks import Ranks, joined, run_together
from focusdd.training.recipes import other_family, recipe
from focusdd.training.result import TrainedStudent

VERSION = 5
_warn_once = cache(warn)  # a comparison trains many students


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
    distilled, val = open_distilled(distilled), open_source(val, "val")
    facts = {name: distilled.info[name] for name in ("key", "method", "ipc", "size", "grid", "seed")}
    dataset = _TrainingSet(
        name=str(distilled.folder),
        classes=distilled.classes,
        inputs={"distilled": distilled.info["key"]},
        facts=facts,
        read=lambda: load_files(distilled.files(), distilled.info["size"], local_world_size()),
        source=(distilled.info["source"]["fingerprint"], distilled.info["source"]["name"]),
        hashes=lambda _: source_hashes(distilled.folder),
        stored=lambda settings, device: LabelledViews(distilled, settings, device),
    )
    return _train(dataset, val, Path(out), settings or TrainSettings(), overwrite)


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
    dataset = _TrainingSet(
        name=source.name,
        classes=source.classes,
        inputs={"source": source.fingerprint, "side": str(side)},
        facts={
            "key": source.fingerprint,
            "method": "full",
            "ipc": round(len(source.records) / len(source.classes)),
            "size": side,
            "grid": 1,
            "seed": 0,
        },
        read=lambda: load_source(source, side, "read", local_world_size()),
        source=(source.fingerprint, source.name),
        hashes=lambda pixels: pixels.hashes,
    )
    return _train(dataset, val, Path(out), settings or TrainSettings(), overwrite)


def _train(
    dataset: _TrainingSet, val: Source, out: Path, settings: TrainSettings, overwrite: bool
) -> TrainedStudent:
    understood(val, "val")
    require_same_classes(val.name, val.classes, dataset.name, dataset.classes)
    require_other(val, *dataset.source)
    fact("writes", f"{out}: a {settings.student} taught by {dataset.name}")
    require_apart(out, val)
    device = pick_device(settings.device)
    try:
        with joined(device) as ranks:
            result = _train_together(ranks, dataset, val, out, settings, device, overwrite)
            return TrainedStudent.of(out, result)
    finally:
        let_go(device)


def _train_together(
    ranks: Ranks,
    dataset: _TrainingSet,
    val: Source,
    out: Path,
    asked: TrainSettings,
    device: torch.device,
    overwrite: bool,
) -> dict[str, Any]:
    run = RunRecord()
    teacher = _teacher(asked, device)
    inputs = dataset.inputs | {"val": val.fingerprint}
    if teacher is not None:
        inputs["teacher"] = teacher.weights
        if words := other_family(asked.teacher, asked.student):
            _warn_once(words)
    data = None
    if asked.labels in ("stored", "tiles", "views"):
        if dataset.stored is None:
            raise FocusError(f"{dataset.name} is a whole source without stored labels: use --labels soft")
        _check_stored(asked)
        with run.measure("read"):
            data = dataset.stored(asked, device)
        inputs["labels"] = data.store.key
    dense = asked.labels == "soft" if data is None else data.store.dense > 0
    size = dataset.facts["size"]
    if data is not None:
        size = data.settings.size
    elif teacher is not None:
        size = teacher.input_size
    facts = recipe(asked)._asdict() | {"taught": DENSE if dense else WHOLE_VIEWS, "size": size}
    resolved = settle(asked, **facts)
    settings, own = resolved.settings, resolved.key

    def make(work: Workspace) -> dict[str, Any]:
        outputs, accuracy = None, None
        if teacher is not None:
            with run.measure("check"):
                matched = matched_outputs(teacher, val, "teacher")
                accuracy = sample_accuracy(teacher, matched, val, "teacher", settings.anyway).top1
            outputs = torch.as_tensor(matched, device=device)
        with run.measure("read"):
            pixels = dataset.read() if data is None else data.pixels
        ranks.require_same(pixels.skipped, "readable images")
        peak_device_memory_mb(device)  # from here on
        net, arguments = new_net(settings.student, len(dataset.classes), settings.size, device, settings.seed)
        settled = _settled(asked, facts, net, teacher, device)
        if data is None:
            grid = dataset.facts["grid"]
            loss = online_loss(net, pixels, grid, teacher, outputs, settled, device, ranks)
        else:
            loss = stored_loss(net, data, settled, device, ranks)
        trained, run.seconds["train"] = run_epochs(
            net,
            loss,
            len(pixels),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            rate=cosine if settings.schedule == "cosine" else half_cosine,
            seed=settings.seed,
            device=device,
            checkpoint=work.out / RESUME,
            what="train",
            ema=settings.ema,
            ranks=ranks,
        )
        if ranks.rank > 0:
            return {}
        with run.measure("evaluate"):
            held_out = load_source(val, settings.size, "evaluate")
            mean, std = normalisation(net)
            score = evaluate(trained, held_out, mean, std, device, len(dataset.classes))
        result = {
            "student": settings.student,
            "top1": round(score.top1, 5),
            "top5": round(score.top5, 5),
            "balanced": round(score.balanced, 5),
            "chance": round(score.chance, 5),
            "per_class": dict(
                zip(dataset.classes, (_rounded(share) for share in score.per_class), strict=True)
            ),
            "val": {
                "name": val.name,
                "images": len(held_out),
                "shared": num_shared(dataset.hashes(pixels), held_out.hashes, val.name),
                "skipped": [list(i) for i in held_out.skipped],
            },
            "distilled": dataset.facts,
            "teacher": _teacher_facts(teacher, accuracy, data),
            "settings": record(settings),
            "taught": {"dense": settled.dense_weight > 0, "tile_crops": settled.tile_crops},
        }
        about = {"made_by": "focusdd train", "top1": result["top1"], "distilled": result["distilled"]}
        work.declare([*CHECKPOINT, "result.json"])
        save_checkpoint(work.out, trained, dataset.classes, val.class_names, settings.size, arguments, about)
        write_json(work.out / "result.json", result)
        run.note(
            device=device_name(device),
            device_memory_mb=peak_device_memory_mb(device),
            epochs=settings.epochs,
            images=len(pixels),
            processes=ranks.count,
        )
        return {"top1": result["top1"], "top5": result["top5"]}

    stage = Stage("train", VERSION, own, inputs, scratch=(RESUME,))
    run_together(ranks, stage, out, make, overwrite, run)
    return ranks.of_first(read_json(out / "result.json") if ranks.rank == 0 else None)


def _settled(
    asked: TrainSettings,
    facts: dict[str, Any],
    net: torch.nn.Module,
    teacher: Model | None,
    device: torch.device,
) -> TrainSettings:
    """The settings as networks and labels can follow them: dense labels only where all can."""
    nets = [net, *([] if teacher is None else [teacher.net])]
    dense = asked.dense_weight > 0 and facts["taught"] == DENSE
    if dense and not all(has_dense_logits(one, asked.size, device) for one in nets):
        say(f"{asked.student} is taught by whole views: it or its teacher has no dense logits")
        dense = False
    if dense:
        return resolve(asked, **facts).settings
    # crops that stored labels were made for stay as they are
    possible = facts if teacher is None else facts | {"taught": WHOLE_VIEWS}
    return resolve(asked, **possible).settings.model_copy(update={"dense_weight": 0.0})


def _check_stored(settings: TrainSettings) -> None:
    """Stored labels are distributions of views that CutMix made."""
    for name in ("mix", "loss", "hard_weight"):
        if getattr(settings, name) != (usual := TrainSettings.model_fields[name].default):
            flag = name.replace("_", "-")
            raise FocusError(
                f"stored labels can only be learnt with --{flag} {usual}: use that, or --labels soft"
            )


def _rounded(share: float) -> float | None:
    return None if math.isnan(share) else round(share, 4)


def _teacher(settings: TrainSettings, device: torch.device) -> Model | None:
    if settings.labels != "soft":
        return None
    if not settings.teacher:
        raise FocusError("soft labels need a teacher: give --teacher, or use --labels stored or hard")
    return load_model(settings.teacher, device, settings.size)


def _teacher_facts(
    teacher: Model | None, accuracy: float | None, data: LabelledViews | None
) -> dict[str, Any] | None:
    """Whose labels were learnt: the teacher at hand, or that of the stored labels with its top-1 on tiles."""
    if data is not None:
        stored = data.store.info["teacher"]
        return {"name": stored["name"], "sample_accuracy": stored["accuracy"]}
    return {"name": teacher.name, "sample_accuracy": accuracy} if teacher is not None else None

"""Stage 3: a student learns from a distilled dataset and is judged on the untouched validation set."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from focusdd.composition.dataset import Distilled, open_distilled
from focusdd.core.console import say
from focusdd.core.distributed import local_world_size
from focusdd.core.errors import FocusError
from focusdd.core.run_record import Clock
from focusdd.core.stage import open_stage, read_json, write_json
from focusdd.labels.augment import tile_crops_of
from focusdd.labels.reader import LabelledViews
from focusdd.models.checkpoint import new_net, save_checkpoint
from focusdd.models.checks import sample_accuracy
from focusdd.models.classes import matched_outputs
from focusdd.models.device import device_name, peak_device_memory_mb, pick_device
from focusdd.models.graphs import let_go
from focusdd.models.load import Model, load_model, normalisation
from focusdd.models.regions import has_regions
from focusdd.settings import AugmentSettings, TrainSettings
from focusdd.sources.base import Source
from focusdd.sources.pixels import Pixels, load_files, load_source
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import RESUME, cosine, half_cosine, run_epochs
from focusdd.training.losses import online_loss, stored_loss
from focusdd.training.ranks import Ranks, joined, opened_together
from focusdd.training.recipes import Recipe, recipe

VERSION = 4
_NOT_IN_KEY = {"device", "teacher"}  # the weights' hash stands for the teacher


class _Lesson(NamedTuple):
    """What a student learns from."""

    name: str
    classes: tuple[str, ...]
    inputs: dict[str, str]
    """Its part of the stage's key."""
    facts: dict[str, Any]
    """What `result.json` says of it: key, method, ipc, size, grid and seed."""
    read: Callable[[], Pixels]
    stored: Callable[[TrainSettings, torch.device], LabelledViews] | None = None
    """Opens its stored labels."""
    extents: Callable[[], torch.Tensor] | None = None


def train(
    distilled: Distilled | Path | str,
    val: Source,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trains a student on a distilled dataset by knowledge distillation.

    The weights of the last epoch, or their average with --ema, are scored once on all of `val`; nothing is
    chosen by it. The processes of a `torchrun` train one student together.

    Returns:
        The content of `result.json`: top-1 and top-5 as fractions, and what they were reached with.

    Raises:
        FocusError: the teacher or `val` has other classes, the teacher is near chance, or `out` holds
            something else.
    """
    distilled = distilled if isinstance(distilled, Distilled) else open_distilled(distilled)
    facts = {name: distilled.info[name] for name in ("key", "method", "ipc", "size", "grid", "seed")}
    lesson = _Lesson(
        name=str(distilled.folder),
        classes=distilled.classes,
        inputs={"distilled": distilled.info["key"]},
        facts=facts,
        read=lambda: load_files(distilled.files(), distilled.info["size"], local_world_size()),
        stored=lambda settings, device: LabelledViews(distilled, settings, device),
        extents=lambda: _extents(distilled),
    )
    return _train(lesson, val, Path(out), settings or TrainSettings(), overwrite)


def _extents(distilled):
    """(n, cells) share of the side of its photograph that every tile shows, images in order of the files."""
    names = {path.stem: row for row, (path, _) in enumerate(distilled.files())}
    plan = distilled.plan()
    found = torch.ones((len(names), plan.grid**2))
    for name, tiles in plan.images():
        for tile in tiles:
            x0, y0, x1, y1 = tile.box
            share = ((x1 - x0) * (y1 - y0) / (tile.width * tile.height)) ** 0.5
            found[names[name.split("/")[-1]], tile.row * plan.grid + tile.column] = min(1.0, share)
    return found


def train_on_source(
    source: Source,
    val: Source,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    side: int = 224,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trains a student on all images of a source, by the recipe of `train`: the row "full" of a table.

    Args:
        side: the images are squashed to it, as whole images of a distilled dataset are; all of them are held
            in memory.

    Returns:
        The content of `result.json`; its ipc is the mean number of images per class.

    Raises:
        FocusError: as `train`; or the images do not fit into memory.
    """
    lesson = _Lesson(
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
    )
    return _train(lesson, val, Path(out), settings or TrainSettings(), overwrite)


def _train(
    lesson: _Lesson, val: Source, out: Path, settings: TrainSettings, overwrite: bool
) -> dict[str, Any]:
    rates = recipe(settings)
    if val.classes != lesson.classes:
        raise FocusError(
            f"{val.name} has other classes than {lesson.name}: {len(val.classes)} and "
            f"{len(lesson.classes)}, the first {val.classes[0]!r} and {lesson.classes[0]!r}"
        )
    device = pick_device(settings.device)
    try:
        with joined(device) as ranks:
            return _train_together(ranks, lesson, val, out, settings, rates, device, overwrite)
    finally:
        let_go(device)


def _train_together(
    ranks: Ranks,
    lesson: _Lesson,
    val: Source,
    out: Path,
    settings: TrainSettings,
    rates: Recipe,
    device: torch.device,
    overwrite: bool,
) -> dict[str, Any]:
    teacher = _teacher(settings, device)
    inputs = lesson.inputs | {"val": val.fingerprint}
    if teacher is not None:
        inputs["teacher"] = teacher.weights
    clock = Clock()
    data = None
    if settings.labels in ("stored", "tiles", "views"):
        if lesson.stored is None:
            raise FocusError(f"{lesson.name} is a whole source without stored labels: use --labels soft")
        _check_stored(settings)
        with clock.measure("read"):
            data = lesson.stored(settings, device)
        inputs["labels"] = data.store.key
    own = settings.model_dump(exclude=_unused(settings, data)) | rates._asdict()
    alone = open_stage(out, "train", VERSION, own, inputs, overwrite, scratch=(RESUME,))
    with opened_together(ranks, alone, (own, inputs)) as stage:
        if stage.complete:
            say(f"{out} is complete already: nothing to do")
            return ranks.of_first(read_json(stage.out / "result.json") if ranks.rank == 0 else None)
        outputs, accuracy = None, None
        if teacher is not None:
            with clock.measure("check"):
                matched = matched_outputs(teacher, val, "teacher")
                accuracy = sample_accuracy(teacher, matched, val, "teacher")
            say(f"teacher {teacher.name}: {accuracy:.1%} top-1 on a sample of {val.name}")
            outputs = torch.as_tensor(matched, device=device)
        with clock.measure("read"):
            pixels = lesson.read() if data is None else data.pixels
        ranks.require_same(pixels.skipped, "readable images")
        peak_device_memory_mb(device)  # from here on
        net, arguments = new_net(settings.student, len(lesson.classes), settings.size, device, settings.seed)
        settled = _settled(settings, net, teacher, data, device)
        if data is None:
            grid = lesson.facts["grid"]
            extents = lesson.extents() if settings.scale_crops else None
            loss = online_loss(net, pixels, grid, teacher, outputs, settled, device, ranks, extents)
        else:
            loss = stored_loss(net, data, settled, device, ranks)
        average = copy.deepcopy(net) if settings.ema else None
        clock.seconds["train"] = run_epochs(
            net,
            loss,
            len(pixels),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=rates.lr,
            weight_decay=rates.weight_decay,
            rate=cosine if settings.schedule == "cosine" else half_cosine,
            seed=settings.seed,
            device=device,
            checkpoint=stage.out / RESUME,
            what="train",
            average=average,
            decay=settings.ema,
            ranks=ranks,
        )
        if ranks.rank > 0:
            return ranks.of_first()
        kept = net if average is None else average
        with clock.measure("evaluate"):
            held_out = load_source(val, settings.size, "evaluate")
            mean, std = normalisation(net)
            score = evaluate(kept, held_out, mean, std, device, len(lesson.classes))
        result = {
            "student": settings.student,
            "top1": round(score.top1, 5),
            "top5": round(score.top5, 5),
            "per_class": dict(
                zip(lesson.classes, (_rounded(share) for share in score.per_class), strict=True)
            ),
            "val": {
                "name": val.name,
                "images": len(held_out),
                "skipped": [list(i) for i in held_out.skipped],
            },
            "distilled": lesson.facts,
            "teacher": _teacher_facts(teacher, accuracy, data),
            "settings": settings.model_dump(exclude=_NOT_IN_KEY) | rates._asdict(),
            "taught": {"by_region": settled.regions > 0, "tile_crops": settled.tile_crops},
        }
        facts = {"made_by": "focusdd train", "top1": result["top1"], "distilled": result["distilled"]}
        save_checkpoint(
            stage.out,
            kept,
            settings.student,
            lesson.classes,
            val.class_names,
            settings.size,
            arguments,
            facts,
        )
        write_json(stage.out / "result.json", result)
        clock.write(
            stage.out,
            device=device_name(device),
            device_memory_mb=peak_device_memory_mb(device),
            epochs=settings.epochs,
            images=len(pixels),
            processes=ranks.count,
        )
        stage.finish({"top1": result["top1"], "top5": result["top5"]})
        return ranks.of_first(result)


def _unused(settings: TrainSettings, data: LabelledViews | None) -> set[str]:
    """Settings that do not change the result, and so are no part of its key."""
    unused = _NOT_IN_KEY | ({"augment"} if settings.augment else set(AugmentSettings.model_fields))
    by_region = settings.labels == "soft" if data is None else data.store.places > 0
    return unused if by_region else unused | {"regions"}


def _settled(
    settings: TrainSettings,
    net: torch.nn.Module,
    teacher: Model | None,
    data: LabelledViews | None,
    device: torch.device,
) -> TrainSettings:
    """The settings as networks and labels can follow them: by region only if all of them have regions."""
    regions = settings.regions if teacher is not None or (data is not None and data.store.places) else 0.0
    nets = [net, *([] if teacher is None else [teacher.net])]
    if regions and not all(has_regions(one, settings.size, device) for one in nets):
        say(f"{settings.student} is taught by whole views: it or its teacher has no regions")
        regions = 0.0
    crops = tile_crops_of(settings, regions > 0) if data is None else data.settings.tile_crops
    return settings.model_copy(update={"regions": regions, "tile_crops": crops})


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

"""`run`: every stage from photographs to a student, each in a folder of its own.

The teacher has the student's architecture and is fitted on the source: measured on imagenette, such a teacher
teaches 20 to 30 points more than a better one of another architecture (results/sweep.csv).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Column, Table

from focusdd.core.console import console, say
from focusdd.core.cores import cpu_count
from focusdd.core.files import read_json
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.labels.label import label
from focusdd.models.classes import matched_outputs
from focusdd.models.device import pick_device
from focusdd.models.load import load_model, new_net
from focusdd.models.names import Origin, needs_download, origin
from focusdd.models.precision import autocast
from focusdd.settings import (
    DistillSettings,
    ExtractorSettings,
    FitSettings,
    LabelSettings,
    RunSettings,
    TrainSettings,
)
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import not_given, resolve
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.sources.disk import require_apart
from focusdd.sources.understood import understood, understood_validation
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.distill import distill
from focusdd.tasks.extract import extract
from focusdd.training.fit import fit
from focusdd.training.result import TrainedStudent
from focusdd.training.train import train

_SIZE = 224  # pixels, where no teacher says another
_CUTMIX = 0.5  # of the batches that the teacher learns from
_PROBED = 8  # images that seconds are estimated from


@dataclass(frozen=True)
class Ran:
    """What `run` gives."""

    folder: Path
    teacher: Path
    """Checkpoint folder."""
    distilled: Path
    student: TrainedStudent
    control: TrainedStudent | None
    """The student of random images; None without --control."""
    following: tuple[str, ...]
    """The words of the next command, without "focusdd"."""


class _Step(NamedTuple):
    """A stage as the plan and the last table show it."""

    command: str
    folder: str
    """Below that of the run."""
    model: str
    images: int
    seconds: float
    """How long it will take, estimated."""


@with_keywords(settings=RunSettings)
def run(
    source: Source | Path | str,
    out: Path | str,
    settings: RunSettings,
    *,
    val: Source | Path | str | None = None,
    overwrite: bool = False,
) -> Ran:
    """Reads the images, fits a teacher, distils and trains a student; finished stages are kept.

    The folders are those that `extract`, `fit`, `distill`, `label` and `train` make with the same settings.

    Args:
        out: holds index, teacher, distilled, student, and with a control random and random-student.
        val: default: the validation split of `source`.

    Raises:
        FocusError: as the stages; what is finished stays.
    """
    held_out = open_source(source if val is None else val, "val")
    source, out = open_source(source), Path(out)
    given = origin(settings.teacher, weights=False) if settings.teacher else None
    own = given if given is not None and _is_teacher(given, settings.student) else None
    settings = resolve(settings, size=own.input_size if own else _SIZE).settings
    seed, device, size = settings.seed, settings.device, settings.size
    require_apart(out, source, held_out)
    understood(source)
    understood_validation(held_out, source)
    reading = ExtractorSettings(extractor=settings.extractor, device=device, anyway=settings.anyway)
    wanted = not_given(DistillSettings(ipc=settings.ipc, size=size, seed=seed))
    how = not_given(CLASSIFY.distillation.extract_settings(wanted, reading))
    steps = _plan(source, out, settings, resolve(how).settings.input_size, own is not None)
    if given is not None:  # before hours are spent
        matched_outputs(load_model(settings.teacher, device, size), source, "teacher")
    index = extract(source, out / "index", how, overwrite=overwrite)
    if own is not None and own.folder is not None:
        teacher = own.folder
    else:
        fitting = FitSettings(
            model=settings.student, size=size, epochs=settings.fit_epochs, mix_prob=_CUTMIX,
            teacher=settings.teacher, device=device, seed=seed, anyway=settings.anyway,
        )  # fmt: skip
        teacher = fit(source, out / "teacher", fitting, val=held_out, overwrite=overwrite)

    # of a teacher that was fitted here it is known what it was fitted on, however little it has learnt
    anyway = settings.anyway or own is None
    common: dict[str, Any] = {"size": size, "device": device, "seed": seed, "anyway": anyway}

    def student(folder: str, trained: str, method: DistillSettings) -> TrainedStudent:
        chosen = index if method.method in CLASSIFY.distillation.with_index else None
        made = distill(source, out / folder, method, index=chosen, overwrite=overwrite)
        asked = common | settings.model_dump(include={"student", "labels", "epochs"})
        if settings.labels == "soft":
            asked["teacher"] = str(teacher)
        else:
            labels = LabelSettings(teacher=str(teacher), kind=settings.labels, **common)
            label(made, not_given(labels), overwrite=overwrite)
        return train(made, held_out, out / trained, not_given(TrainSettings(**asked)), overwrite=overwrite)

    ours = student("distilled", "student", wanted)
    random = wanted.model_copy(update={"method": "random"})
    control = student("random", "random-student", random) if settings.control else None
    _say_table(out, teacher, steps)
    following: tuple[str, ...] = ("publish", str(out / "distilled"))
    if settings.labels == "soft":
        following = ("label", str(out / "distilled"), "--teacher", str(teacher))
    return Ran(out, teacher, out / "distilled", ours, control, following)


def _is_teacher(given: Origin, student: str) -> bool:
    """Whether a model is a checkpoint of the student's architecture."""
    names = given.architecture, origin(student, weights=False).architecture
    return given.folder is not None and len({name.partition(".")[0] for name in names}) == 1


def _plan(source: Source, out: Path, settings: RunSettings, input_size: int | None, own: bool) -> list[_Step]:
    """The stages with their models, images and estimated minutes, which it says."""
    images, tiny, student = len(source.records), settings.ipc * len(source.classes), settings.student
    read, look, learn, ask, guide = _costs(source, settings, input_size)
    steps = [_Step("extract", "index", settings.extractor, images, images * (read + look))]
    if not own:
        seconds = images * (read + settings.fit_epochs * (learn + guide))
        steps.append(_Step("fit", "teacher", student, images, seconds))
    shown = {"soft": settings.epochs, "tiles": 5, "views": LabelSettings.model_fields["num_crops"].default}
    asking = tiny * shown[settings.labels] * ask
    for folder, trained in (("distilled", "student"), ("random", "random-student")):
        if folder == "random" and not settings.control:
            continue
        steps.append(_Step("distill", folder, "", tiny, tiny * read))
        learning = tiny * settings.epochs * learn
        if settings.labels == "soft":
            learning += asking
        else:
            steps.append(_Step("label", f"{folder}/labels/{settings.labels}", student, tiny, asking))
        steps.append(_Step("train", trained, student, tiny, learning))
    folders, models = (Column(name, overflow="fold") for name in ("folder", "model"))
    table = Table("stage", folders, models, "images", "estimate", title="plan")
    missing = []
    for step in steps:
        done = (out / step.folder / "done.json").exists()
        table.add_row(*step[:3], f"{step.images:,}", "done" if done else f"about {_minutes(step.seconds)}")
        needed = {"extract": [settings.extractor], "fit": [student, settings.teacher]}.get(step.command, [])
        missing += [] if done else [name for name in needed if name and needs_download(name)]
    console.print(table)
    if missing:
        say(f"to be downloaded: the weights of {', '.join(missing)}")
    return steps


def _costs(source: Source, settings: RunSettings, input_size: int | None) -> list[float]:
    """Seconds per image, tried on networks without trained weights.

    To read it; forward pass of the extractor; forward and backward pass of the student, or of a teacher like
    it; forward pass of a teacher like it, and of the large teacher.
    """
    device, size = pick_device(settings.device), settings.size
    keys = [record.key for record in source.records[:: -(-len(source.records) // _PROBED)]]

    def read() -> None:
        for key in keys:
            with contextlib.suppress(UnreadableImage):
                square(decode(source.read(key), size)[0], size)

    def forward(name: str, side: int | None) -> Callable[[], object]:
        model = load_model(name, device, side, pretrained=False)
        images = torch.zeros((_PROBED, 3, model.input_size, model.input_size))
        return lambda: model.logits(images).cpu()

    net, _ = new_net(settings.student, len(source.classes), size, device, 0)
    images = torch.zeros((_PROBED, 3, size, size), device=device)

    def learn() -> None:
        with autocast(device):
            net(images).float().sum().backward()
        float(next(net.parameters()).detach().sum())  # waits for the GPU

    probes = [forward(settings.extractor, input_size), learn, forward(settings.student, size)]
    guide = _each(forward(settings.teacher, size)) if settings.teacher else 0.0
    return [_each(read) / cpu_count(), *map(_each, probes), guide]


def _each(probe: Callable[[], object]) -> float:
    """Seconds for one of the images of a probe: the better of two tries."""
    best = float("inf")
    for _ in range(2):
        begin = time.perf_counter()
        probe()
        best = min(best, time.perf_counter() - begin)
    return best / _PROBED


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(1, round(seconds))} s"


def _say_table(out: Path, teacher: Path, steps: list[_Step]) -> None:
    """What every stage made: top-1, bytes and seconds."""
    folders = Column("folder", overflow="fold")
    table = Table("stage", folders, "top-1", "images", "bytes", "seconds", title=str(out))
    known = read_json(teacher / "config.json").get("focusdd", {}).get("val_top1")
    if teacher != out / "teacher":
        table.add_row("", str(teacher), _share(known))
    for step in steps:
        folder = out / step.folder
        top1 = TrainedStudent.read(folder).top1 if step.command == "train" else None
        size = sum(file.get("bytes", 0) for file in read_json(folder / "done.json")["files"].values())
        seconds = read_json(folder / "run.json")["seconds_total"]
        score = _share(known if step.command == "fit" else top1)
        table.add_row(*step[:2], score, f"{step.images:,}", f"{size:,}", f"{seconds:,.0f}")
    console.print(table)


def _share(top1: float | None) -> str:
    return f"{top1:.1%}" if top1 is not None else ""

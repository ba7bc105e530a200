"""`run`: every stage from photographs to a student, each in a folder of its own.

The teacher has the student's architecture and is fitted on the source: measured on imagenette, such a teacher
teaches 20 to 30 points more than a better one of another architecture (results/sweep.csv).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table

from focusdd.core.console import console
from focusdd.core.files import read_json
from focusdd.models.device import pick_device
from focusdd.models.load import new_net
from focusdd.models.names import origin
from focusdd.settings import DistillSettings, ExtractorSettings, FitSettings, RunSettings, TrainSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import not_given
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.distill import distill
from focusdd.tasks.extract import extract
from focusdd.training.fit import fit
from focusdd.training.result import TrainedStudent
from focusdd.training.train import train

_CUTMIX = 0.5  # of the batches that the teacher learns from
_PROBED = 8  # images that a stage's seconds are estimated from


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


@with_keywords(settings=RunSettings)
def run(
    source: Source | Path | str,
    out: Path | str,
    settings: RunSettings,
    *,
    val: Source | Path | str | None = None,
    overwrite: bool = False,
) -> Ran:
    """Fits a teacher, reads the images, distils them and trains a student; finished stages are kept.

    The folders are those that `fit`, `extract`, `distill` and `train` make with the same settings.

    Args:
        out: holds teacher, index, distilled, student, and with a control random and random-student.
        val: default: the validation split of `source`.

    Raises:
        FocusError: as the stages; what is finished stays.
    """
    held_out = open_source(source if val is None else val, "val")
    source, out = open_source(source), Path(out)
    own = bool(settings.teacher) and origin(settings.teacher).architecture == settings.student
    fitting = FitSettings(
        model=settings.student, size=settings.size, epochs=settings.fit_epochs, mix_prob=_CUTMIX,
        teacher=settings.teacher, device=settings.device, seed=settings.seed,
    )  # fmt: skip
    reading = ExtractorSettings(extractor=settings.extractor, device=settings.device)
    _say_plan(source, out, settings, own)
    if own:
        teacher = Path(settings.teacher)
    else:
        teacher = fit(source, out / "teacher", fitting, val=held_out, overwrite=overwrite)
    recipe = TrainSettings(
        student=settings.student, teacher=str(teacher), size=settings.size, epochs=settings.epochs,
        device=settings.device, seed=settings.seed,
    )  # fmt: skip
    wanted = not_given(DistillSettings(ipc=settings.ipc, size=settings.size, seed=settings.seed))
    how = not_given(CLASSIFY.distillation.extract_settings(wanted, reading))
    index = extract(source, out / "index", how, overwrite=overwrite)
    made = distill(source, out / "distilled", wanted, index=index, overwrite=overwrite)
    student = train(made, held_out, out / "student", recipe, overwrite=overwrite)
    control = None
    if settings.control:
        random = wanted.model_copy(update={"method": "random"})
        made = distill(source, out / "random", random, overwrite=overwrite)
        control = train(made, held_out, out / "random-student", recipe, overwrite=overwrite)
    ran = Ran(out, teacher, out / "distilled", student, control)
    _say_table(ran)
    return ran


def _say_plan(source: Source, out: Path, settings: RunSettings, own: bool) -> None:
    """The stages with their models, images and estimated minutes."""
    images, tiny = len(source.records), settings.ipc * len(source.classes)
    table = Table("stage", "folder", "model", "images", "estimate", title="plan")
    device = pick_device(settings.device)
    step = _seconds_per_image(settings, device)
    students = 2 if settings.control else 1
    rows = [
        ("extract", "index", settings.extractor, images, None),
        ("distill", "distilled", "", tiny, None),
        ("train", "student", settings.student, tiny, step * tiny * settings.epochs * students),
    ]
    if not own:
        start = f"{settings.student}, taught by {settings.teacher}" if settings.teacher else settings.student
        rows.insert(0, ("fit", "teacher", start, images, step * images * settings.fit_epochs))
    for stage, folder, model, count, seconds in rows:
        if (out / folder / "done.json").exists():
            words = "done"
        else:
            words = "" if seconds is None else f"about {max(1, round(seconds / 60))} min"
        table.add_row(stage, folder, model, f"{count:,}", words)
    console.print(table)


def _seconds_per_image(settings: RunSettings, device: torch.device) -> float:
    """What a step of training takes, per image: forward and backward pass, and a teacher's forward pass."""
    net, _ = new_net(settings.student, 10, settings.size, device, 0)
    images = torch.zeros((_PROBED, 3, settings.size, settings.size), device=device)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        net(images).sum().backward()
        with torch.inference_mode():
            float(net(images).sum())
        best = min(best, time.perf_counter() - begin)
    return best / _PROBED


def _say_table(ran: Ran) -> None:
    table = Table("", "top-1", "images", "bytes", "seconds", title=str(ran.folder))
    known = read_json(ran.teacher / "config.json").get("focusdd", {}).get("val_top1")
    table.add_row("teacher", f"{known:.1%}" if known is not None else "", "", "", _seconds(ran.teacher))
    rows = [("student", ran.distilled, ran.student)]
    if ran.control is not None:
        rows.append(("student of random images", ran.folder / "random", ran.control))
    for name, folder, student in rows:
        images = [
            path for path in (folder / "train").rglob("*") if path.suffix != ".jsonl" and path.is_file()
        ]
        size = sum(path.stat().st_size for path in images)
        score = f"{student.top1:.1%}"
        table.add_row(name, score, f"{len(images):,}", f"{size:,}", _seconds(student.folder))
    console.print(table)


def _seconds(folder: Path) -> str:
    record = folder / "run.json"
    return f"{read_json(record)['seconds_total']:,.0f}" if record.exists() else ""

"""What `run` is going to do: its stages, which of them are there, and how long the others will take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Column, Table

from focusdd.core.console import console, say
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.core.stage import stage_in
from focusdd.models.device import autocast, pick_device
from focusdd.models.load import Model, load_model
from focusdd.models.names import needs_download
from focusdd.settings import LabelSettings, RunSettings
from focusdd.sources.base import Source

STUDENTS = {"distilled": "student", "random": "random-student"}  # images -> who learns from them
_CHOSEN = {"ipc", "size", "seed", "epochs", "student", "model", "input_size"}  # stages derive others
_PROBED = 8  # images that seconds are estimated from


class Step(NamedTuple):
    """A stage of a run."""

    command: str
    folder: str
    """Below that of the run."""
    settings: Any
    after: tuple[str, ...] = ()
    """Folders of stages that it is made from."""


def made_again(out: Path, steps: Sequence[Step], fingerprint: str, overwrite: bool) -> set[str]:
    """Folders whose finished stage was made with other settings, or from such a stage.

    A stage finds out by its key, but only when its turn comes: the plan says it before.

    Raises:
        FocusError: there is such a stage and it may not be overwritten.
    """
    again: set[str] = set()
    for step in steps:
        before = stage_in(out / step.folder) or {}
        known, now = before.get("settings", {}), step.settings.model_dump(include=_CHOSEN, exclude_none=True)
        changed = [
            f"{name} was {known[name]!r}, now {value!r}"
            for name, value in now.items()
            if name in known and known[name] != value
        ]
        if before.get("inputs", {}).get("source", fingerprint) != fingerprint:
            changed.append("its images were others")
        if changed and not overwrite:
            raise FocusError(
                f"{out / step.folder} was made with other settings ({', '.join(changed[:3])}): use another "
                "--out, or --overwrite, which makes again only what has changed"
            )
        if changed or again.intersection(step.after):
            again.add(step.folder)
    return again


def say_plan(
    source: Source,
    out: Path,
    settings: RunSettings,
    extractor: Model,
    steps: Sequence[Step],
    again: set[str],
) -> None:
    """Says the stages with their models, images and estimated minutes.

    Args:
        extractor: without trained weights.
        again: folders that are there and will be made again.
    """
    images, tiny, student = len(source.records), settings.ipc * len(source.classes), settings.student
    read, look, learn, ask, guide = _costs(source, settings, extractor)
    shown = {"soft": settings.epochs, "tiles": 5, "views": LabelSettings.model_fields["num_crops"].default}
    asking, learning = tiny * shown[settings.labels] * ask, tiny * settings.epochs * learn
    known = {  # model, images and seconds by command
        "extract": (settings.extractor, images, images * (read + look)),
        "fit": (student, images, images * (read + settings.fit_epochs * (learn + guide))),
        "distill": ("", tiny, tiny * read),
        "label": (student, tiny, asking),
        "train": (student, tiny, learning + (asking if settings.labels == "soft" else 0)),
    }
    folders, models = (Column(name, overflow="fold") for name in ("folder", "model"))
    table = Table("stage", folders, models, "images", "estimate", title="plan")
    missing = []
    for step in steps:
        model, count, seconds = known[step.command]
        done = step.folder not in again and (out / step.folder / "done.json").exists()
        estimate = "done" if done else f"about {_minutes(seconds)}"
        short = Path(model).name if Path(model).is_dir() else model
        table.add_row(step.command, step.folder, short, f"{count:,}", estimate)
        needed = {"extract": [settings.extractor], "fit": [student, settings.teacher]}.get(step.command, [])
        missing += [] if done else [name for name in needed if name and needs_download(name)]
    console.print(table)
    if missing:
        say(f"to be downloaded: the weights of {', '.join(dict.fromkeys(missing))}")


def _costs(source: Source, settings: RunSettings, extractor: Model) -> list[float]:
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

    def forward(model: Model) -> float:
        images = torch.zeros((_PROBED, 3, model.input_size, model.input_size))
        return _each(lambda: model.logits(images).cpu())

    classes = len(source.classes)
    student = load_model(settings.student, device, size, pretrained=False, num_classes=classes)
    student.net.train()
    images = torch.zeros((_PROBED, 3, size, size), device=device)

    def learn() -> None:
        with autocast(device):
            student.net(images).float().sum().backward()
        float(next(student.net.parameters()).detach().sum())  # waits for the GPU

    learning = _each(learn)
    student.net.eval()
    guide = forward(load_model(settings.teacher, device, size, pretrained=False)) if settings.teacher else 0.0
    return [_each(read) / cpu_count(), forward(extractor), learning, forward(student), guide]


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

"""`run`: every stage from photographs to a student, each in a folder of its own.

The teacher has the student's architecture and is fitted on the source: measured on imagenette, such a teacher
teaches 20 to 30 points more than a better one of another architecture (results/sweep.csv).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.table import Column, Table

from focusdd.composition.dataset import open_distilled
from focusdd.core.console import console, say
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.core.stage import overwrite_if_other, stage_in
from focusdd.extraction.attention import as_vit
from focusdd.labels.label import label
from focusdd.models.checks import matched_outputs
from focusdd.models.device import autocast, pick_device
from focusdd.models.load import load_model, new_net
from focusdd.models.names import Origin, needs_download, origin, require_reachable
from focusdd.settings import (
    DistillSettings,
    ExtractorSettings,
    FitSettings,
    LabelSettings,
    RunSettings,
    TrainSettings,
)
from focusdd.settings.base import Settings
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = 224  # pixels, where no teacher says another
_CUTMIX = 0.5  # of the batches that the teacher learns from
_STUDENTS = {"distilled": "student", "random": "random-student"}  # images -> who learns from them
_CHOSEN = {"ipc", "size", "seed", "epochs", "student", "model", "input_size"}  # stages derive others
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

    def show(self, images: int = 20) -> Figure:
        """A matplotlib figure of so many distilled images; see `Distilled.show`."""
        return open_distilled(self.distilled).show(images)


class _Made(NamedTuple):
    """What the folder of a stage is made with."""

    settings: Settings
    after: tuple[str, ...] = ()
    """Folders of stages that it is made from."""


class _Step(NamedTuple):
    """A stage as the plan shows it."""

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
        overwrite: make stages again that were made with other settings, and those made from them.

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
    own_folder = own.folder if own is not None else None
    teacher = own_folder or out / "teacher"
    made = {"index": _Made(how)}
    fitting = FitSettings(
        model=settings.student, size=size, epochs=settings.fit_epochs, mix_prob=_CUTMIX,
        teacher=settings.teacher, device=device, seed=seed, anyway=settings.anyway,
    )  # fmt: skip
    fitting = not_given(fitting)  # nothing is remarked on settings that nobody typed
    if own_folder is None:
        made["teacher"] = _Made(fitting)
    # of a teacher that was fitted here it is known what it was fitted on, however little it has learnt
    anyway = settings.anyway or own is None
    common: dict[str, Any] = {"size": size, "device": device, "seed": seed, "anyway": anyway}
    asked = common | settings.model_dump(include={"student", "labels", "epochs"})
    if settings.labels == "soft":
        asked["teacher"] = str(teacher)
    else:
        labels = not_given(LabelSettings(teacher=str(teacher), kind=settings.labels, **common))
    lesson = not_given(TrainSettings(**asked))
    methods = {"distilled": wanted}
    if settings.control:
        methods["random"] = not_given(wanted.model_copy(update={"method": "random"}))
    for folder, method in methods.items():
        uses_index = method.method in CLASSIFY.distillation.with_index
        made[folder] = _Made(method, ("index",) if uses_index else ())
        if settings.labels != "soft":
            made[f"{folder}/labels/{settings.labels}"] = _Made(labels, (folder, "teacher"))
        made[_STUDENTS[folder]] = _Made(lesson, (folder, "teacher"))
    again = _made_again(out, made, source.fingerprint, overwrite)
    side = resolve(how).settings.input_size
    as_vit(load_model(settings.extractor, device, side, pretrained=False).net, settings.extractor)
    require_reachable(settings.extractor)
    _plan(source, out, settings, side, own is not None, again)
    if given is not None:  # before hours are spent
        matched_outputs(load_model(settings.teacher, device, size), source, "teacher")

    def stage(folder: str, make: Callable[..., Any]) -> Any:
        return overwrite_if_other(partial(make, overwrite=folder in again), overwrite)

    index = stage("index", partial(extract, source, out / "index", how))
    if own_folder is None:
        stage("teacher", partial(fit, source, teacher, fitting, val=held_out))

    students: list[TrainedStudent] = []
    for folder, method in methods.items():
        chosen = index if method.method in CLASSIFY.distillation.with_index else None
        tiny = stage(folder, partial(distill, source, out / folder, method, index=chosen))
        if settings.labels != "soft":
            stage(f"{folder}/labels/{settings.labels}", partial(label, tiny, labels))
        trained = _STUDENTS[folder]
        students.append(stage(trained, partial(train, tiny, held_out, out / trained, lesson)))
    ours, control = students[0], students[1] if settings.control else None
    _say_table(out, teacher, ours, control)
    following: tuple[str, ...] = ("publish", str(out / "distilled"))
    if settings.labels == "soft":
        following = ("label", str(out / "distilled"), "--teacher", str(teacher))
    return Ran(out, teacher, out / "distilled", ours, control, following)


def _made_again(out: Path, made: dict[str, _Made], fingerprint: str, overwrite: bool) -> set[str]:
    """Folders whose finished stage was made with other settings, or from such a stage.

    Raises:
        FocusError: there is such a stage and it may not be overwritten.
    """
    again: set[str] = set()
    for folder, (settings, after) in made.items():
        before = stage_in(out / folder) or {}
        known, now = before.get("settings", {}), settings.model_dump(include=_CHOSEN, exclude_none=True)
        changed = [
            f"{name} was {known[name]!r}, now {value!r}"
            for name, value in now.items()
            if name in known and known[name] != value
        ]
        if before.get("inputs", {}).get("source", fingerprint) != fingerprint:
            changed.append("its images were others")
        if changed and not overwrite:
            raise FocusError(
                f"{out / folder} was made with other settings ({', '.join(changed[:3])}): use another --out, "
                "or --overwrite, which makes again only what has changed"
            )
        if changed or again.intersection(after):
            again.add(folder)
    return again


def _is_teacher(given: Origin, student: str) -> bool:
    """Whether a model is a checkpoint of the student's architecture."""
    names = given.architecture, origin(student, weights=False).architecture
    return given.folder is not None and len({name.partition(".")[0] for name in names}) == 1


def _plan(
    source: Source, out: Path, settings: RunSettings, input_size: int | None, own: bool, again: set[str]
) -> None:
    """Says the stages with their models, images and estimated minutes.

    Args:
        own: the teacher need not be fitted.
        again: folders that are there and will be made again.
    """
    images, tiny, student = len(source.records), settings.ipc * len(source.classes), settings.student
    read, look, learn, ask, guide = _costs(source, settings, input_size)
    steps = [_Step("extract", "index", settings.extractor, images, images * (read + look))]
    if not own:
        seconds = images * (read + settings.fit_epochs * (learn + guide))
        steps.append(_Step("fit", "teacher", student, images, seconds))
    shown = {"soft": settings.epochs, "tiles": 5, "views": LabelSettings.model_fields["num_crops"].default}
    asking = tiny * shown[settings.labels] * ask
    for folder, trained in _STUDENTS.items():
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
        done = step.folder not in again and (out / step.folder / "done.json").exists()
        table.add_row(*step[:3], f"{step.images:,}", "done" if done else f"about {_minutes(step.seconds)}")
        needed = {"extract": [settings.extractor], "fit": [student, settings.teacher]}.get(step.command, [])
        missing += [] if done else [name for name in needed if name and needs_download(name)]
    console.print(table)
    if missing:
        say(f"to be downloaded: the weights of {', '.join(dict.fromkeys(missing))}")


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


def _say_table(out: Path, teacher: Path, ours: TrainedStudent, control: TrainedStudent | None) -> None:
    """Top-1 of teacher and students, the images that they learnt from, and the seconds of their training."""
    table = Table("", "top-1", "images", "bytes", "seconds", title=str(out))
    known = read_json(teacher / "config.json").get("focusdd", {}).get("val_top1")
    fitted = teacher == out / "teacher"
    table.add_row("teacher", _share(known), "", "", _seconds(teacher) if fitted else "")
    rows = zip(("student", "student of random images"), _STUDENTS.items(), (ours, control), strict=True)
    for name, (folder, trained), student in rows:
        if student is not None:
            files = [path for path, _ in open_distilled(out / folder).files()]
            size = sum(path.stat().st_size for path in files)
            table.add_row(name, _share(student.top1), f"{len(files):,}", f"{size:,}", _seconds(out / trained))
    console.print(table)


def _seconds(folder: Path) -> str:
    return f"{read_json(folder / 'run.json')['seconds_total']:,.0f}"


def _share(top1: float | None) -> str:
    return f"{top1:.1%}" if top1 is not None else ""

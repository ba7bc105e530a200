"""`run`: every stage from photographs to a student, each in a folder of its own.

The teacher has the student's architecture and is fitted on the source: measured on imagenette, such a teacher
teaches 20 to 30 points more than a better one of another architecture (results/sweep.csv).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from focusdd.comparison.plan import STUDENTS, Step, made_again, say_plan
from focusdd.composition.dataset import open_distilled
from focusdd.core.console import console
from focusdd.core.expected import expecting
from focusdd.core.files import known_in, read_json
from focusdd.core.stage import overwrite_if_other
from focusdd.extraction.attention import as_vit
from focusdd.labels.label import label
from focusdd.models.checks import matched_outputs
from focusdd.models.load import Model, load_model
from focusdd.models.names import Origin, origin, require_reachable
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
from focusdd.training.fit import fit, near_chance
from focusdd.training.result import TrainedStudent
from focusdd.training.train import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = 224  # pixels, where no teacher says another
_CUTMIX = 0.5  # of the batches that the teacher learns from


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
    size = own.input_size if own else _SIZE
    settings = resolve(settings, size=size, classes=len(source.classes)).settings
    device, size = settings.device, settings.size
    require_apart(out, source, held_out)
    understood(source)
    understood_validation(held_out, source)
    told = settings.model_dump(include={"extractor", "input_size", "anyway"})
    reading = ExtractorSettings(**told, device=device)
    teacher = own.folder if own is not None and own.folder is not None else out / "teacher"
    steps = _steps(settings, reading, str(teacher), own is not None)
    again = made_again(out, steps, source.fingerprint, overwrite)
    side = resolve(steps[0].settings).settings.input_size
    say_plan(source, out, settings, _extractor(settings, side), steps, again)
    if given is not None:  # before hours are spent
        matched_outputs(load_model(settings.teacher, device, size), source, "teacher")
    with expecting(out, {step.folder: step.command for step in steps}):
        made = _made(steps, out, source, held_out, overwrite)
    ours, control = made["student"], made.get("random-student")
    _say_table(out, teacher, ours, control)
    following: tuple[str, ...] = ("publish", str(out / "distilled"))
    if settings.labels == "soft":
        following = ("label", str(out / "distilled"), "--teacher", str(teacher))
        if own is None and near_chance(teacher):
            following += ("--anyway",)
    return Ran(out, teacher, out / "distilled", ours, control, following)


def _made(steps: Sequence[Step], out: Path, source: Source, val: Source, overwrite: bool) -> dict[str, Any]:
    """Makes the stages, or finds them finished: what each of them gives, by its folder."""
    made: dict[str, Any] = {}
    for step in steps:
        folder, data = out / step.folder, made.get(step.after[0]) if step.after else None
        make: partial[Any]
        if step.command == "extract":
            make = partial(extract, source, folder, step.settings)
        elif step.command == "fit":
            make = partial(fit, source, folder, step.settings, val=val)
        elif step.command == "distill":
            make = partial(distill, source, folder, step.settings, index=data)
        elif step.command == "label":
            make = partial(label, data, step.settings)
        else:
            make = partial(train, data, val, folder, step.settings)
        made[step.folder] = overwrite_if_other(make, overwrite)
    return made


def _steps(settings: RunSettings, reading: ExtractorSettings, teacher: str, fitted: bool) -> list[Step]:
    """The stages with their settings, in the order of the work.

    Args:
        reading: how images are read.
        teacher: its folder.
        fitted: it is there already.
    """
    seed, device, size = settings.seed, settings.device, settings.size
    ours = DistillSettings(ipc=settings.ipc, size=size, seed=seed)
    how = CLASSIFY.distillation.extract_settings(ours, reading)
    steps = [Step("extract", "index", how)]
    if not fitted:
        fitting = FitSettings(
            model=settings.student, size=size, epochs=settings.fit_epochs, mix_prob=_CUTMIX,
            teacher=settings.teacher, device=device, seed=seed, anyway=settings.anyway,
        )  # fmt: skip
        steps.append(Step("fit", "teacher", fitting))
    # of a teacher that was fitted here it is known what it was fitted on, however little it has learnt
    common: dict[str, Any] = {"size": size, "device": device, "seed": seed}
    common["anyway"] = settings.anyway or not fitted
    lesson: dict[str, Any] = common | settings.model_dump(include={"student", "labels", "epochs"})
    if settings.labels == "soft":
        lesson["teacher"] = teacher
    methods = {"distilled": ours}
    if settings.control:
        methods["random"] = ours.model_copy(update={"method": "random"})
    for folder, method in methods.items():
        uses_index = method.method in CLASSIFY.distillation.with_index
        steps.append(Step("distill", folder, method, ("index",) if uses_index else ()))
        if settings.labels != "soft":
            labels = LabelSettings(teacher=teacher, kind=settings.labels, **common)
            steps.append(Step("label", f"{folder}/labels/{settings.labels}", labels, (folder, "teacher")))
        steps.append(Step("train", STUDENTS[folder], TrainSettings(**lesson), (folder, "teacher")))
    # nothing is remarked on settings that nobody typed
    return [step._replace(settings=not_given(step.settings)) for step in steps]


def _extractor(settings: RunSettings, side: int | None) -> Model:
    """The extractor without its weights. Raises FocusError where it is no ViT, or they cannot be had."""
    model = load_model(settings.extractor, settings.device, side, pretrained=False)
    as_vit(model.net, settings.extractor)
    require_reachable(settings.extractor)
    return model


def _is_teacher(given: Origin, student: str) -> bool:
    """Whether a model is a checkpoint of the student's architecture."""
    names = given.architecture, origin(student, weights=False).architecture
    return given.folder is not None and len({name.partition(".")[0] for name in names}) == 1


def _say_table(out: Path, teacher: Path, ours: TrainedStudent, control: TrainedStudent | None) -> None:
    """Top-1 of teacher and students, the images that they learnt from, and the seconds of their training."""
    table = Table("", "top-1", "images", "bytes", "seconds", title=str(out))
    if teacher == out / "teacher":
        known = read_json(teacher / "config.json")["focusdd"]["val_top1"]
        table.add_row("teacher", _share(known), "", "", _seconds(teacher))
    elif ours.teacher:  # what its folder says may be of other images
        table.add_row("teacher, on a sample", _share(ours.teacher["sample_accuracy"]), "", "", "")
    rows = zip(("student", "student of random images"), STUDENTS.items(), (ours, control), strict=True)
    for name, (folder, trained), student in rows:
        if student is not None:
            files = [path for path, _ in open_distilled(out / folder).files()]
            size = sum(path.stat().st_size for path in files)
            table.add_row(name, _share(student.top1), f"{len(files):,}", f"{size:,}", _seconds(out / trained))
    console.print(table)


def _seconds(folder: Path) -> str:
    seconds = known_in(folder / "run.json").get("seconds_total")  # people may have removed it
    return f"{seconds:,.0f}" if seconds is not None else ""


def _share(top1: float | None) -> str:
    return f"{top1:.1%}" if top1 is not None else ""

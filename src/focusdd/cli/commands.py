"""The commands: arguments in, one call of the public function of the same name, words out."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from rich.table import Column, Table

from focusdd import settings as tree
from focusdd.cli import flags
from focusdd.core.console import console, say
from focusdd.core.manifest import remedy_for
from focusdd.core.spelling import number_of
from focusdd.settings.source import validation_name, with_options


def run(
    source: flags.Images,
    /,
    *,
    out: flags.Out,
    val: flags.ValOrSource = None,
    options: flags.SourceOptions = None,
    settings: Annotated[tree.RunSettings | None, flags.Flat] = None,
    overwrite: flags.Overwrite = False,
) -> None:
    from focusdd import report, run

    val, source = validation_name(val or source, source, options), with_options(source, options)
    made = run(source, out, settings, val=val, overwrite=overwrite)
    say(f"wrote {out}. Open {report(out)} in a browser. Next: {_command(*made.following)}")


def extract(
    source: flags.Images,
    /,
    *,
    out: flags.Out,
    options: flags.SourceOptions = None,
    settings: Annotated[tree.ExtractSettings | None, flags.Flat] = None,
    engine: flags.Engine = None,
    overwrite: flags.Overwrite = False,
) -> None:
    from focusdd import extract

    source = with_options(source, options)
    index = extract(source, out, settings, overwrite=overwrite, engine=engine)
    following = _command("distill", source, "--index", out, "--out", "...")
    say(f"wrote {out}: {number_of(index.info['counts']['images'], 'image')}. Next: {following}")


def distill(
    source: flags.Images,
    /,
    *,
    out: flags.Out,
    val: Annotated[str | None, flags.Hidden] = None,
    index: flags.Index = None,
    options: flags.SourceOptions = None,
    settings: Annotated[tree.DistillSettings | None, flags.Flat] = None,
    extract: Annotated[tree.ExtractorSettings | None, flags.Flat] = None,
    engine: flags.Engine = None,
    overwrite: flags.Overwrite = False,
    task: Annotated[str, flags.Hidden] = "",
    name: Annotated[str, flags.Hidden] = "distill",
) -> None:
    val, source = validation_name(val, source, options), with_options(source, options)
    opened = _public(task).open_source(source)
    made = getattr(_public(task), name)(
        opened, out, settings, val=val, index=index, extract=extract, overwrite=overwrite, engine=engine
    )
    held_out = val or _validation(source, opened.has_val)
    if name == "subset":
        _say_subset(task, out, settings, held_out)
        return
    teacher = [] if task == "detect" else ["--teacher", "..."]
    following = _command(*task.split(), "train", out, "--val", held_out, *teacher, "--out", "...")
    say(f"wrote {out}: {number_of(len(made.files()), 'image')}. Next: {following}")


def _say_subset(task: str, out: Path, settings: Any, val: str) -> None:
    """What was written, and what reads it."""
    table = out / "subset.csv"
    images = out if settings is not None and settings.form != "list" else None
    if images is None and task != "detect":
        with table.open(encoding="utf-8", newline="") as file:
            first = next(csv.DictReader(file), {"file": ""})
        images = table if first["file"] else None
    if images is None:
        say(f"wrote {table}. With --form copies other commands read the images")
    elif task == "detect":
        say(f"wrote {table}. Next: {_command('detect', 'distill', images, '--out', '...')}")
    else:
        following = _command("fit", images, "--model", "resnet18", "--val", val, "--out", "...")
        say(f"wrote {table}. Every command reads {images} as its SOURCE. Next: {following}")


def _validation(source: str, there: bool) -> str:
    """What gives validation images to what was made of a source; "..." where the source has none."""
    if there:
        return source
    say(f"{source} has no validation images: give others as --val, or use --holdout 0.1 in every command")
    return "..."


def fit(
    source: flags.Images,
    /,
    *,
    out: flags.Out,
    val: flags.OptionalVal = None,
    options: flags.SourceOptions = None,
    settings: Annotated[tree.FitSettings | None, flags.Flat] = None,
    overwrite: flags.Overwrite = False,
) -> None:
    from focusdd import fit
    from focusdd.core.console import warn
    from focusdd.training.fit import near_chance

    own = source if options is not None and options.holdout is not None else None
    val, source = validation_name(val or own, source, options), with_options(source, options)
    fit(source, out, settings, val=val, overwrite=overwrite)
    if near_chance(out):
        warn(f"{out} is near chance on the validation images: fit it for more --epochs or on more images")
        return
    say(f"wrote {out}. Use it as --teacher {out}, or as --extractor {out} if it is a ViT")


def label(
    distilled: flags.Distilled,
    /,
    *,
    settings: Annotated[tree.LabelSettings, flags.Flat],
    engine: flags.Engine = None,
    overwrite: flags.Overwrite = False,
) -> None:
    from focusdd import label

    for store in label(distilled, settings, overwrite=overwrite, engine=engine):
        say(f"wrote {store.folder}: {store.bytes / store.info['images']:,.0f} bytes per image")
    say(f"Next: {_command('train', distilled, '--labels', 'stored', '--val', '...', '--out', '...')}")


def train(
    distilled: flags.Distilled,
    /,
    *,
    val: flags.Val,
    out: flags.Out,
    options: flags.SourceOptions = None,
    settings: Annotated[tree.TrainSettings | None, flags.Flat] = None,
    overwrite: flags.Overwrite = False,
    task: Annotated[str, flags.Hidden] = "",
) -> None:
    trained = _public(task).train(distilled, with_options(val, options), out, settings, overwrite=overwrite)
    say(f"{trained.summary} on {number_of(trained.val['images'], 'image')} of {trained.val['name']}")
    say(f"wrote {out}. Next: {_command('report', out.parent)}")


def compare(
    source: flags.Images,
    /,
    *,
    out: flags.Out,
    val: flags.ValOrSource = None,
    other: flags.Other = None,
    index: flags.Index = None,
    options: flags.SourceOptions = None,
    settings: Annotated[tree.CompareSettings | None, flags.Lists] = None,
    engine: flags.Engine = None,
    overwrite: flags.Overwrite = False,
    task: Annotated[str, flags.Hidden] = "",
) -> None:
    from focusdd import report

    other = validation_name(other, source, options)
    val, source = validation_name(val or source, source, options), with_options(source, options)
    table = _public(task).compare(
        source, val, out, settings, other=other, index=index, overwrite=overwrite, engine=engine
    )
    say(f"wrote {out / 'results.csv'}: {number_of(len(table), 'run')}. Next: open {report(out)} in a browser")


def publish(
    distilled: flags.Distilled,
    /,
    *,
    to: flags.To = None,
    private: flags.Private = False,
    overwrite: flags.Replace = False,
) -> None:
    from focusdd import publish

    made = publish(distilled, to, private=private, overwrite=overwrite)
    if made.columns is not None:
        say(f"load_dataset reads it, with the columns {', '.join(made.columns)}")
    mib = made.bytes / 2**20
    size = f"{mib:.1f} MiB" if mib >= 1 else f"{mib * 2**10:.1f} KiB"
    what = f"{made.files} files, {size}"
    say(f"wrote {made.url}: {what}" if made.url else f"{what} would be uploaded. Next: add --to OWNER/NAME")


def report(folder: flags.Folder, /) -> None:
    from focusdd import report

    say(f"wrote {report(folder)}: open it in a browser")


def status(folder: flags.Folder, /) -> None:
    from focusdd import status

    table = Table(Column("folder", overflow="fold"), "stage", "state", "detail")
    stages = status(folder)
    for stage in stages:
        table.add_row(str(stage.path), stage.stage, stage.state, stage.detail)
    console.print(table, markup=False)
    remedies: dict[str, list[str]] = {}
    for stage in stages:
        if stage.state != "done":
            remedies.setdefault(remedy_for(stage.path), []).append(str(stage.path))
    for remedy, paths in remedies.items():
        say(f"{', '.join(paths)}: {remedy}")
    if not remedies:
        say(f"all {len(stages)} done. Next: {_command('report', folder)}")


def demo(
    *, out: flags.DemoOut = Path("demo"), quick: flags.Quick = False, overwrite: flags.Overwrite = False
) -> None:
    from focusdd.demo.run import run_demo

    run_demo(out, quick=quick, overwrite=overwrite)


def detect_demo(
    *,
    out: flags.DemoOut = Path("demo-detect"),
    quick: flags.Quick = False,
    overwrite: flags.Overwrite = False,
) -> None:
    from focusdd.demo.run import run_detect_demo

    run_detect_demo(out, quick=quick, overwrite=overwrite)


def _variant(command: Callable[..., None], hidden: dict[str, str], **types: Any) -> Callable[..., None]:
    """A command with other values of its hidden arguments and other types of its flags."""

    @wraps(command)
    def call(*args: Any, **given: Any) -> None:
        command(*args, **given, **hidden)

    call.__annotations__ = command.__annotations__ | types
    return call


_CHOOSES = {"source": flags.BoxedImages, "val": flags.CopiedVal, "options": flags.Holdout}
_Subset = Annotated[tree.SubsetSettings | None, flags.Flat]
subset = _variant(distill, {"name": "subset"}, settings=_Subset)
detect_subset = _variant(distill, {"name": "subset", "task": "detect"}, settings=_Subset, **_CHOOSES)
detect_distill = _variant(
    distill,
    {"task": "detect"},
    settings=Annotated[tree.DetectDistillSettings | None, flags.Flat],
    **_CHOOSES,
)
detect_train = _variant(
    train,
    {"task": "detect"},
    options=flags.Holdout,
    settings=Annotated[tree.DetectTrainSettings | None, flags.Flat],
)
detect_compare = _variant(
    compare,
    {"task": "detect"},
    source=flags.BoxedImages,
    other=Annotated[None, flags.Hidden],
    options=flags.Holdout,
    settings=Annotated[tree.DetectCompareSettings | None, flags.Lists],
)


def _public(task: str) -> Any:
    """The module that holds the public functions of a task."""
    return import_module(f"focusdd.{task}" if task else "focusdd")


def _command(*words: object) -> str:
    """A command as it can be pasted into a shell."""
    return shlex.join(["focusdd", *map(str, words)])

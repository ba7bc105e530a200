"""The commands: arguments in, one call of the public function of the same name, words out."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

from focusdd import settings as tree
from focusdd.cli.flags import (
    BoxedImages,
    CopiedVal,
    DemoOut,
    Distilled,
    Engine,
    Flat,
    Folder,
    Hidden,
    Holdout,
    Images,
    Index,
    Lists,
    OptionalVal,
    Other,
    Out,
    Overwrite,
    Private,
    Quick,
    Replace,
    SourceOptions,
    To,
    Val,
    ValOrSource,
)
from focusdd.core.console import console, say
from focusdd.settings.source import validation_name, with_options


def run(
    source: Images,
    /,
    *,
    out: Out,
    val: ValOrSource = None,
    options: SourceOptions = None,
    settings: Annotated[tree.RunSettings | None, Flat] = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import report, run

    val, source = validation_name(val, source, options), with_options(source, options)
    made = run(source, out, settings, val=val, overwrite=overwrite)
    say(f"wrote {out}. Open {report(out)} in a browser. Next: {_command(*made.following)}")


def extract(
    source: Images,
    /,
    *,
    out: Out,
    options: SourceOptions = None,
    settings: Annotated[tree.ExtractSettings | None, Flat] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import extract

    source = with_options(source, options)
    index = extract(source, out, settings, overwrite=overwrite, engine=engine)
    following = _command("distill", source, "--index", out, "--out", "...")
    say(f"wrote {out}: {index.info['counts']['images']} images. Next: {following}")


def distill(
    source: Images,
    /,
    *,
    out: Out,
    val: Annotated[str | None, Hidden] = None,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.DistillSettings | None, Flat] = None,
    extract: Annotated[tree.ExtractorSettings | None, Flat] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
    task: Annotated[str, Hidden] = "",
) -> None:
    val = validation_name(val, source, options) if val is not None else None
    source = with_options(source, options)
    made = _public(task).distill(
        source, out, settings, val=val, index=index, extract=extract, overwrite=overwrite, engine=engine
    )
    needed = "--size" if task == "detect" else "--teacher"
    following = _command(*task.split(), "train", out, "--val", source, needed, "...", "--out", "...")
    say(f"wrote {out}: {len(made.files())} images. Next: {following}")


def subset(
    source: Images,
    /,
    *,
    out: Out,
    val: Annotated[str | None, Hidden] = None,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.SubsetSettings | None, Flat] = None,
    extract: Annotated[tree.ExtractorSettings | None, Flat] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
    task: Annotated[str, Hidden] = "",
) -> None:
    val = validation_name(val, source, options) if val is not None else None
    source = with_options(source, options)
    _public(task).subset(
        source, out, settings, val=val, index=index, extract=extract, overwrite=overwrite, engine=engine
    )
    say(f"wrote {out / 'subset.csv'}")


def fit(
    source: Images,
    /,
    *,
    out: Out,
    val: OptionalVal = None,
    options: SourceOptions = None,
    settings: Annotated[tree.FitSettings | None, Flat] = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import fit

    if val is not None or (options is not None and options.holdout is not None):
        val = validation_name(val, source, options)
    fit(with_options(source, options), out, settings, val=val, overwrite=overwrite)
    say(f"wrote {out}. Use it as --teacher {out}, or as --extractor {out} if it is a ViT")


def label(
    distilled: Distilled,
    /,
    *,
    settings: Annotated[tree.LabelSettings, Flat],
    engine: Engine = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import label

    for store in label(distilled, settings, overwrite=overwrite, engine=engine):
        say(f"wrote {store.folder}: {store.bytes / store.info['images']:,.0f} bytes per image")
    say(f"Next: {_command('train', distilled, '--labels', 'stored', '--val', '...', '--out', '...')}")


def train(
    distilled: Distilled,
    /,
    *,
    val: Val,
    out: Out,
    options: SourceOptions = None,
    settings: Annotated[tree.TrainSettings | None, Flat] = None,
    overwrite: Overwrite = False,
    task: Annotated[str, Hidden] = "",
) -> None:
    trained = _public(task).train(distilled, with_options(val, options), out, settings, overwrite=overwrite)
    say(f"{trained.summary} on {trained.val['images']} images of {trained.val['name']}")
    say(f"wrote {out}. Next: {_command('report', out.parent)}")


def compare(
    source: Images,
    /,
    *,
    out: Out,
    val: ValOrSource = None,
    other: Other = None,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.CompareSettings | None, Lists] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
    task: Annotated[str, Hidden] = "",
) -> None:
    from focusdd import report

    other = validation_name(other, source, options) if other else None
    val, source = validation_name(val, source, options), with_options(source, options)
    table = _public(task).compare(
        source, val, out, settings, other=other, index=index, overwrite=overwrite, engine=engine
    )
    say(f"wrote {out / 'results.csv'}: {len(table)} runs. Next: open {report(out)} in a browser")


def publish(
    distilled: Distilled, /, *, to: To = None, private: Private = False, overwrite: Replace = False
) -> None:
    from focusdd import publish

    made = publish(distilled, to, private=private, overwrite=overwrite)
    if made.columns is not None:
        say(f"load_dataset reads it, with the columns {', '.join(made.columns)}")
    what = f"{made.files} files, {made.bytes / 2**20:.1f} MiB"
    say(f"wrote {made.url}: {what}" if made.url else f"{what} would be uploaded. Next: add --to OWNER/NAME")


def report(folder: Folder, /) -> None:
    from focusdd import report

    say(f"wrote {report(folder)}: open it in a browser")


def status(folder: Folder, /) -> None:
    from focusdd import status

    table = Table("folder", "stage", "state", "detail")
    stages = status(folder)
    for stage in stages:
        table.add_row(str(stage.path), stage.stage, stage.state, stage.detail)
    console.print(table, markup=False)
    unfinished = sum(stage.state != "done" for stage in stages)
    say(
        f"{unfinished} unfinished: run their commands again to go on"
        if unfinished
        else f"all {len(stages)} done. Next: {_command('report', folder)}"
    )


def demo(*, out: DemoOut = Path("demo"), quick: Quick = False) -> None:
    from focusdd.demo.run import run_demo

    run_demo(out, quick=quick)


def detect_demo(*, out: DemoOut = Path("demo-detect"), quick: Quick = False) -> None:
    from focusdd.demo.run import run_detect_demo

    run_detect_demo(out, quick=quick)


def _for_boxes(command: Callable[..., None], **types: Any) -> Callable[..., None]:
    """The same command of `focusdd detect`; `types` are those of its own arguments."""

    @wraps(command)
    def call(*args: Any, **given: Any) -> None:
        command(*args, **given, task="detect")

    call.__annotations__ = command.__annotations__ | {"options": Holdout} | types
    return call


detect_distill = _for_boxes(
    distill, source=BoxedImages, val=CopiedVal, settings=Annotated[tree.DetectDistillSettings | None, Flat]
)
detect_subset = _for_boxes(subset, source=BoxedImages, val=CopiedVal)
detect_train = _for_boxes(train, settings=Annotated[tree.DetectTrainSettings | None, Flat])
detect_compare = _for_boxes(
    compare,
    source=BoxedImages,
    other=Annotated[None, Hidden],
    settings=Annotated[tree.DetectCompareSettings | None, Lists],
)


def _public(task: str) -> Any:
    """The module that holds the public functions of a task."""
    return import_module(f"focusdd.{task}" if task else "focusdd")


def _command(*words: object) -> str:
    """A command as it can be pasted into a shell."""
    return shlex.join(["focusdd", *map(str, words)])

"""The commands for images to classify: arguments in, one call, words out."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from focusdd import settings as tree
from focusdd.cli.flags import (
    DemoOut,
    Distilled,
    Engine,
    Flat,
    Images,
    Index,
    Lists,
    OptionalVal,
    Other,
    Out,
    Overwrite,
    Quick,
    SourceOptions,
    Val,
    ValOrSource,
)
from focusdd.core.console import say


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
    from focusdd.sources.options import with_options

    source = with_options(source, options)
    index = extract(source, out, settings, overwrite=overwrite, engine=engine)
    images = index.info["counts"]["images"]
    say(f"wrote {out}: {images} images. Next: focusdd distill {quote(source)} --index {out} --out ...")


def distill(
    source: Images,
    /,
    *,
    out: Out,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.DistillSettings | None, Flat] = None,
    extract: Annotated[tree.ExtractorSettings | None, Flat] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import distill
    from focusdd.sources.options import with_options

    source = with_options(source, options)
    made = distill(source, out, settings, index=index, extract=extract, overwrite=overwrite, engine=engine)
    images = made.info["ipc"] * len(made.classes)
    following = f"focusdd train {out} --val {quote(source)} --teacher ... --out ..."
    say(f"wrote {out}: {images} images. Next: {following}")


def subset(
    source: Images,
    /,
    *,
    out: Out,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.SubsetSettings | None, Flat] = None,
    extract: Annotated[tree.ExtractorSettings | None, Flat] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import subset
    from focusdd.sources.options import with_options

    source = with_options(source, options)
    subset(source, out, settings, index=index, extract=extract, overwrite=overwrite, engine=engine)
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
    from focusdd.sources.options import validation_name, with_options

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
        each = store.bytes / store.info["images"]
        say(f"wrote {store.folder}: {each:,.0f} bytes per image")
    say(f"Next: focusdd train {distilled} --labels stored --val ... --out ...")


def train(
    distilled: Distilled,
    /,
    *,
    val: Val,
    out: Out,
    options: SourceOptions = None,
    settings: Annotated[tree.TrainSettings | None, Flat] = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import train
    from focusdd.sources.options import with_options

    student = train(distilled, with_options(val, options), out, settings, overwrite=overwrite)
    score = f"{student.student}: {student.top1:.1%} top-1, {student.top5:.1%} top-5"
    say(f"{score} on {student.val['images']} images of {student.val['name']}")
    say(f"wrote {out}. Next: focusdd report {out.parent}")


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
) -> None:
    from focusdd import compare, report
    from focusdd.sources.options import validation_name, with_options

    held_out = validation_name(val, source, options)
    source = with_options(source, options)
    table = compare(
        source, held_out, out, settings, other=other, index=index, overwrite=overwrite, engine=engine
    )
    say(f"wrote {out / 'results.csv'}: {len(table)} runs. Next: open {report(out)} in a browser")


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
    from focusdd.sources.options import validation_name, with_options

    held_out = validation_name(val, source, options) if val is not None else None
    source = with_options(source, options)
    run(source, out, settings or tree.RunSettings(), val=held_out, overwrite=overwrite)
    following = f"focusdd label {out / 'distilled'} --teacher {out / 'teacher'}"
    say(f"wrote {out}. Open {report(out)} in a browser. Next: {following}")


def demo(*, out: DemoOut = Path("demo"), quick: Quick = False) -> None:
    from focusdd.demo.run import run_demo

    run_demo(out, quick=quick)

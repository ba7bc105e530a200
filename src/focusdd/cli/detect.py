"""The commands for images with boxes: arguments in, one call, words out."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from focusdd import settings as tree
from focusdd.cli.flags import (
    BoxedImages,
    DemoOut,
    Distilled,
    Engine,
    Flat,
    Index,
    Lists,
    Out,
    Overwrite,
    Quick,
    SourceOptions,
    Val,
    ValOrSource,
)
from focusdd.core.console import say


def distill(
    source: BoxedImages,
    /,
    *,
    out: Out,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.DetectDistillSettings | None, Flat] = None,
    extract: Annotated[tree.ExtractorSettings | None, Flat] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd.detect import distill
    from focusdd.sources.options import with_options

    source = with_options(source, options)
    made = distill(source, out, settings, index=index, extract=extract, overwrite=overwrite, engine=engine)
    following = f"focusdd detect train {out} --val {quote(source)} --size ... --out ..."
    say(f"wrote {out}: {made.info['images']} images. Next: {following}")


def subset(
    source: BoxedImages,
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
    from focusdd.detect import subset
    from focusdd.sources.options import with_options

    source = with_options(source, options)
    subset(source, out, settings, index=index, extract=extract, overwrite=overwrite, engine=engine)
    say(f"wrote {out / 'subset.csv'}")


def train(
    distilled: Distilled,
    /,
    *,
    val: Val,
    out: Out,
    options: SourceOptions = None,
    settings: Annotated[tree.DetectTrainSettings | None, Flat] = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd.detect import train
    from focusdd.sources.options import with_options

    detector = train(distilled, with_options(val, options), out, settings, overwrite=overwrite)
    score = f"{detector.detector}: {detector.map:.1%} mAP50-95, {detector.map50:.1%} mAP50"
    say(f"{score} on {detector.val['images']} images of {detector.val['name']}")
    say(f"wrote {out}. Next: focusdd report {out.parent}")


def compare(
    source: BoxedImages,
    /,
    *,
    out: Out,
    val: ValOrSource = None,
    index: Index = None,
    options: SourceOptions = None,
    settings: Annotated[tree.DetectCompareSettings | None, Lists] = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
) -> None:
    from focusdd import report
    from focusdd.detect import compare
    from focusdd.sources.options import validation_name, with_options

    held_out = validation_name(val, source, options)
    source = with_options(source, options)
    table = compare(source, held_out, out, settings, index=index, overwrite=overwrite, engine=engine)
    say(f"wrote {out / 'results.csv'}: {len(table)} runs. Next: open {report(out)} in a browser")


def demo(*, out: DemoOut = Path("demo-detect"), quick: Quick = False) -> None:
    from focusdd.demo.run import run_detect_demo

    run_detect_demo(out, quick=quick)

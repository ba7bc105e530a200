"""The commands of `focusdd detect`: arguments in, one call, words out."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

from cyclopts import App, Parameter

from focusdd.core.console import say
from focusdd.settings import (
    DetectCompareSettings,
    DetectDistillSettings,
    DetectTrainSettings,
    EngineSettings,
    ExtractorSettings,
)

Flat = Parameter(name="*")

detect = App(
    name="detect",
    help="Object detection: distilled images that hold many objects with their boxes.",
)
BoxedName = Annotated[
    str,
    Parameter(
        help="COCO: a .json file, or a folder with such; Pascal VOC: a folder with .xml files; YOLO: a "
        'data.yaml or its folder; or "demo".'
    ),
]


@detect.command(name="distill")
def detect_distill(
    source: BoxedName,
    /,
    *,
    out: Path,
    index: Path | None = None,
    settings: Annotated[DetectDistillSettings | None, Flat] = None,
    extract: Annotated[ExtractorSettings | None, Flat] = None,
    engine: Annotated[EngineSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Choose windows around objects and compose them, with their boxes, into a tiny dataset.

    Example: `focusdd detect distill coco/ --extractor vit_small_patch14_dinov2 --ipc 50 --out tiny/`

    Parameters
    ----------
    out
        Folder for the distilled dataset.
    index
        What an earlier `detect distill` of this source left in OUT-index; without it, it is made there.
    overwrite
        Replace an output of focusdd that was made with other settings.
    """
    from focusdd.detect import distill

    made = distill(source, out, settings, index=index, extract=extract, overwrite=overwrite, engine=engine)
    images = made.info["images"]
    following = f"focusdd detect train {out} --val {quote(source)} --size ... --out ..."
    say(f"wrote {out}: {images} images. Next: {following}")


@detect.command(name="train")
def detect_train(
    distilled: Path,
    /,
    *,
    val: str,
    out: Path,
    settings: Annotated[DetectTrainSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Train a YOLO detector from scratch on a distilled dataset and score it on the validation images.

    Example: `focusdd detect train tiny/ --val coco/ --detector yolo11n --out detector/`

    Parameters
    ----------
    distilled
        What `focusdd detect distill` made.
    val
        Source whose validation images the last weights are scored on.
    out
        Folder for the result and the detector's checkpoint.
    overwrite
        Replace an output of focusdd that was made with other settings.
    """
    from focusdd.detect import train

    result = train(distilled, val, out, settings, overwrite=overwrite)
    score = f"{result.detector}: {result.map:.1%} mAP50-95, {result.map50:.1%} mAP50"
    say(f"{score} on {result.val['images']} images of {result.val['name']}")
    say(f"wrote {out}. Next: focusdd report {out.parent}")


@detect.command(name="compare")
def detect_compare(
    source: BoxedName,
    /,
    *,
    out: Path,
    val: str | None = None,
    index: Path | None = None,
    settings: Annotated[
        DetectCompareSettings | None, Parameter(name="*", consume_multiple=True, negative_iterable=())
    ] = None,
    engine: Annotated[EngineSettings | None, Flat] = None,
    overwrite: bool = False,
) -> None:
    """Run methods x budgets x detectors x seeds, and write one table and one page of it all.

    Example: `focusdd detect compare coco/ --out runs/detect --extractor vit/ --methods focus random full
    --ratio 0.01 0.034 --train.size 320 --distill.size 320`

    Parameters
    ----------
    out
        Folder for everything the comparison makes; an interrupted or extended one goes on in it.
    val
        Source whose validation images the detectors are scored on; default: SOURCE.
    index
        What an earlier `detect distill` or `compare` of this source left in its index folder; default: made
        in OUT/index.
    overwrite
        Replace outputs of focusdd that were made with other settings.
    """
    from focusdd import report
    from focusdd.detect import compare

    table = compare(source, val or source, out, settings, index=index, overwrite=overwrite, engine=engine)
    page = report(out)
    say(f"wrote {out / 'results.csv'}: {len(table)} runs. Next: open {page} in a browser")


@detect.command(name="demo")
def detect_demo(*, out: Path = Path("demo-detect"), quick: bool = False) -> None:
    """Run detection on generated images: extract, distil, train, report. No download.

    Example: `focusdd detect demo --out demo-detect/`

    Parameters
    ----------
    out
        Folder for everything the demo makes; an interrupted demo goes on in it.
    quick
        A few seconds' worth of everything: shows that the installation works, not what the method can do.
    """
    from focusdd.demo.run import run_detect_demo

    run_detect_demo(out, quick=quick)

"""`focusdd demo`: the whole path on generated images, in minutes and without a download.

The teacher and the ViT come with the package: both were fitted by focusdd on generated images alone
(`tools/demo_weights.py` makes them again).
"""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from focusdd.core.console import console, say
from focusdd.core.files import read_json
from focusdd.core.lock import locked
from focusdd.extraction.coverage import object_coverage
from focusdd.reports.page import report
from focusdd.settings import (
    DetectCompareSettings,
    DetectDistillSettings,
    DetectTrainSettings,
    DistillSettings,
    ExtractSettings,
    Method,
    TrainSettings,
)
from focusdd.settings.resolve import not_given
from focusdd.sources import DemoSource
from focusdd.tasks.distill import distill
from focusdd.tasks.extract import extract
from focusdd.training.result import TrainedStudent
from focusdd.training.train import train

WEIGHTS = Path(__file__).parent / "weights"
METHODS: tuple[Method, ...] = ("random", "rded", "focus")
_SIZE = 128  # of a distilled image; the originals are about 270 px
_INPUT = 64  # of the models


def run_demo(out: Path, quick: bool = False) -> Path:
    """Extracts, distils with three methods, trains a student on each, and writes the report.

    Returns:
        The report page.

    Raises:
        FocusError: another process is at work in `out`.
    """
    with locked(out):
        return _run_demo(out, quick)


def _run_demo(out: Path, quick: bool) -> Path:
    teacher, vit = str(WEIGHTS / "teacher"), str(WEIGHTS / "vit")
    per_class, ipc, epochs = (16, 1, 2) if quick else (200, 10, 100)
    source, val = DemoSource(per_class), DemoSource(per_class, "val")
    index = extract(source, out / "index", ExtractSettings(extractor=vit, tile=_SIZE // 2))
    coverage = object_coverage(index, source)
    say(
        f"the key patch covers 80 % of the true object in {coverage.patch:.1%} of {coverage.images} images, "
        f"a random window of its size in {coverage.random:.1%}"
    )
    table = Table("method", "top-1", "seconds to distil", "seconds to train", title="demo")
    for method in METHODS:
        say(f"method {method}")
        settings = not_given(
            DistillSettings(method=method, ipc=ipc, size=_SIZE, teacher=teacher, rded_images=100)
        )
        made = distill(source, out / method, settings, index=index if method == "focus" else None)
        recipe = TrainSettings(
            student="test_resnet",
            teacher=teacher,
            size=_INPUT,
            epochs=epochs,
            batch_size=20,
            lr=3e-3,
            flip=False,
        )
        result = train(made, val, out / f"{method}-student", recipe)
        table.add_row(*_row(method, result, out))
    console.print(table)
    page = report(out)
    say(f"wrote {out}. Open {page} in a browser. With your own data: focusdd run PHOTOS --out runs/photos")
    return page


def run_detect_demo(out: Path, quick: bool = False) -> Path:
    """Distils the generated images with their boxes by two methods and trains a detector on each.

    Returns:
        The report page.
    """
    from focusdd.comparison.compare import compare
    from focusdd.tasks.detect.task import DETECT

    per_class, ipc, steps = (8, 1, 2) if quick else (100, 3, 400)
    settings = DetectCompareSettings(
        methods=("focus", "random"),
        ipc=(ipc,),
        seeds=1,
        extractor=str(WEIGHTS / "vit"),
        distill=DetectDistillSettings(size=256),
        train=DetectTrainSettings(size=160, steps=steps, flip=False),
    )
    rows = compare(
        DemoSource(per_class), DemoSource(per_class, "val"), out, settings, task=DETECT
    ).to_pylist()
    table = Table("method", "images", "objects", "mAP50-95", "mAP50", "seconds to train", title="detect demo")
    for row in rows:
        shown = f"{row['map']:.1%}", f"{row['map50']:.1%}", f"{row['seconds_train']:.0f}"
        table.add_row(row["method"], str(row["images"]), str(row["objects"]), *shown)
    console.print(table)
    page = report(out)
    say(f"wrote {out}. Open {page} in a browser. With your own data: focusdd detect distill COCO --out tiny")
    return page


def _row(method: str, result: TrainedStudent, out: Path) -> tuple[str, ...]:
    seconds = _seconds(out / method)
    words = f"{seconds:.1f}"
    if method == "focus":
        words = f"{_seconds(out / 'index'):.1f} + {words}"
    return method, f"{result.top1:.1%}", words, f"{_seconds(out / f'{method}-student'):.1f}"


def _seconds(folder: Path) -> float:
    return float(read_json(folder / "run.json")["seconds_total"])

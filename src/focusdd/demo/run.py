"""`focusdd demo`: comparisons on generated images, in minutes and without a download.

The teacher and the ViT come with the package: both were fitted by focusdd on generated images alone
(`tools/demo_weights.py` makes them again).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from focusdd.comparison.compare import compare
from focusdd.core.console import console, say
from focusdd.extraction.coverage import object_coverage
from focusdd.extraction.index import open_index
from focusdd.reports.page import report
from focusdd.settings import (
    CompareSettings,
    DetectCompareSettings,
    DetectDistillSettings,
    DetectTrainSettings,
    DistillSettings,
    TrainSettings,
)
from focusdd.sources import DemoSource
from focusdd.tasks.base import Task
from focusdd.tasks.classify.task import CLASSIFY
from focusdd.tasks.detect.task import DETECT

WEIGHTS = Path(__file__).parent / "weights"


def run_demo(out: Path, quick: bool = False, overwrite: bool = False) -> Path:
    """Extracts, distils with three methods and trains a student on each.

    Returns:
        The report page.

    Raises:
        FocusError: another process is at work in `out`.
    """
    per_class, ipc, epochs = (16, 1, 2) if quick else (200, 10, 100)
    settings = CompareSettings(
        methods=("random", "rded", "focus"),
        ipc=(ipc,),
        students=("test_resnet",),
        seeds=1,
        teacher=str(WEIGHTS / "teacher"),
        extractor=str(WEIGHTS / "vit"),
        distill=DistillSettings(size=128, rded_images=100),  # the originals are about 270 px
        train=TrainSettings(size=64, epochs=epochs, batch_size=20, lr=3e-3, flip=False),
    )
    columns = {
        "method": "{method}",
        "top-1": "{top1:.1%}",
        "seconds to extract": "{seconds_extract:.1f}",
        "seconds to distil": "{seconds_distil:.1f}",
        "seconds to train": "{seconds_train:.1f}",
    }
    source = _compare(out, settings, CLASSIFY, per_class, columns, overwrite)
    coverage = object_coverage(open_index(out / "index"), source)
    say(
        f"the key patch covers 80 % of the true object in {coverage.patch:.1%} of {coverage.images} images, "
        f"a random window of its size in {coverage.random:.1%}"
    )
    return _page(out, "focusdd run PHOTOS --out runs/photos")


def run_detect_demo(out: Path, quick: bool = False, overwrite: bool = False) -> Path:
    """Distils the generated images with their boxes by two methods and trains a detector on each.

    Returns:
        The report page.
    """
    per_class, ipc, steps = (8, 1, 2) if quick else (100, 3, 400)
    settings = DetectCompareSettings(
        ipc=(ipc,),
        seeds=1,
        extractor=str(WEIGHTS / "vit"),
        distill=DetectDistillSettings(size=256),
        train=DetectTrainSettings(size=160, steps=steps, flip=False),
    )
    columns = {
        "method": "{method}",
        "images": "{images}",
        "objects": "{objects}",
        "mAP50-95": "{map:.1%}",
        "mAP50": "{map50:.1%}",
        "seconds to train": "{seconds_train:.0f}",
    }
    _compare(out, settings, DETECT, per_class, columns, overwrite)
    return _page(out, "focusdd detect distill COCO --out tiny")


def _compare(
    out: Path, settings: Any, task: Task, per_class: int, columns: Mapping[str, str], overwrite: bool
) -> DemoSource:
    """Runs a comparison and shows its table; `columns`: by title, the format of a cell."""
    source = DemoSource(per_class)
    val = DemoSource(per_class, "val")
    rows = compare(source, val, out, settings, task=task, overwrite=overwrite).to_pylist()
    table = Table(*columns, title="demo")
    for row in rows:
        known = {name: 0.0 if value is None else value for name, value in row.items()}
        table.add_row(*(cell.format(**known) for cell in columns.values()))
    console.print(table)
    return source


def _page(out: Path, following: str) -> Path:
    page = report(out)
    say(f"wrote {out}. Open {page} in a browser. With your own data: {following}")
    return page

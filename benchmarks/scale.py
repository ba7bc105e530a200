"""How time and memory grow with the number of images. Every size runs in a process of its own.

    python benchmarks/scale.py classify [--images 1000 10000 100000]   extract and distill, drawn images
    python benchmarks/scale.py detect [--images 1000 10000 100000]     the same with boxes
    python benchmarks/scale.py select --work runs/scale [--classes 1000] [--per-class 1280]
    python benchmarks/scale.py stages DATA --extractor VIT --work runs/stages [--input-size 128]

Drawn images are 64 x 48 pixels with coloured boxes, made from a seed as they are read. `select` chooses and
lays out the plan from an index of random numbers as large as ImageNet-1K's, with the patches of the index and
with patches of another size, which are found again from its attention. `stages` runs commands on a source.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from drawn import DrawnSource
from tables import apart, device_memory, publish, read

from focusdd import DistillSettings, ExtractSettings, distill, extract
from focusdd.demo.run import WEIGHTS
from focusdd.extraction.index import Index, schema, write_part
from focusdd.models.device import pick_device
from focusdd.selection.focus import select
from focusdd.settings import DetectDistillSettings, ExtractorSettings, SelectSettings
from focusdd.settings.resolve import resolve
from focusdd.tasks import distill as any_distill
from focusdd.tasks import extract as any_extract
from focusdd.tasks.detect.task import DETECT

VIT = str(WEIGHTS / "vit")
GRID, FEATURE, ROWS = 14, 192, 4096
STORED = ExtractSettings().share


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("classify", "detect", "select", "stages"))
    parser.add_argument("data", nargs="?")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--per-class", type=int, default=1280)
    parser.add_argument("--extractor")
    parser.add_argument("--input-size", type=int, default=128)
    options = parser.parse_args()
    if options.what == "select":
        publish("scale-select", selecting(options.work, options.classes, options.per_class))
    elif options.what == "stages":
        publish("stages-imagenette", stages(options))
    else:
        measure = {"classify": classify, "detect": detect}[options.what]
        rows = [by_number(measure, images, options.device) for images in options.images]
        publish(f"{options.what}-scale", rows)


def by_number(measure: Callable[..., dict[str, Any]], images: int, device: str) -> dict[str, str]:
    found = apart(measure, images, device)
    return {
        "images": f"{images:,}",
        "extract, seconds": f"{found['extract']:.1f}",
        "images per second": f"{images / found['extract']:.0f}",
        "distill from the index, ipc 10, seconds": f"{found['distill']:.1f}",
        "peak memory MB": f"{found['peak']:.0f}",
    } | found["device"]


def classify(work: Path, images: int, device: str) -> dict[str, Any]:
    source = DrawnSource(images, annotated=False)
    views = ExtractSettings(extractor=VIT, tile=64, device=device)
    return seconds_of(
        partial(extract, source, work / "index", views),
        partial(distill, source, work / "tiny", DistillSettings(ipc=10, size=128)),
        device,
    )


def detect(work: Path, images: int, device: str) -> dict[str, Any]:
    source = DrawnSource(images, annotated=True)
    views = ExtractorSettings(extractor=VIT, device=device)
    settings = DetectDistillSettings(ipc=10, size=128)
    return seconds_of(
        partial(any_extract.extract, source, work / "index", views, task=DETECT),
        partial(any_distill.distill, source, work / "tiny", settings, task=DETECT),
        device,
    )


def seconds_of(extract: Callable[[], Index], distill: Callable[..., object], device: str) -> dict[str, Any]:
    """Seconds of one after the other, and a column with the GPU's memory where there is one."""
    start = time.perf_counter()
    index = extract()
    middle = time.perf_counter()
    distill(index=index)
    end = time.perf_counter()
    return {"extract": middle - start, "distill": end - middle, "device": device_memory(pick_device(device))}


def stages(options: argparse.Namespace) -> list[dict[str, str]]:
    """Extracts once, where its output is not there yet, and distils anew at three sizes."""

    def run(stage: str, out: Path, *words: object) -> dict[str, str]:
        command = [sys.executable, "-m", "focusdd", stage.partition(",")[0], options.data]
        subprocess.run([*command, *map(str, words), "--out", str(out)], check=True)
        made = read(out / "run.json")
        return {
            "stage": stage,
            "seconds": f"{made['seconds_total']:.1f}",
            "images": str(made["images"]),
            "images per second": f"{made['images'] / made['seconds_total']:.0f}",
            "peak memory MB": str(made["peak_memory_mb"]),
        }

    index, size = options.work / "index", options.input_size
    rows = [run(f"extract, {size} px", index, "--extractor", options.extractor, "--input-size", size)]
    for ipc in (10, 50, 100):
        out = options.work / f"ipc{ipc}"
        shutil.rmtree(out, ignore_errors=True)
        rows.append(run(f"distill, ipc {ipc}, from the index", out, "--index", index, "--ipc", ipc))
    return rows


def selecting(work: Path, classes: int, per_class: int) -> list[dict[str, str]]:
    index = work / f"index-{classes}-{per_class}"
    if not (index / "index.json").exists():
        make_index(index, classes, per_class)
    rows = []
    for ipc, share in ((10, STORED), (50, STORED), (10, 0.5)):
        found = apart(select_once, index, ipc, share)
        rows.append(
            {
                "select": f"ipc {ipc}, patches {'as in the index' if share == STORED else f'share {share}'}",
                "images": f"{classes * per_class:,}",
                "tiles": str(found["tiles"]),
                "seconds": f"{found['seconds']:.1f}",
                "peak memory MB": f"{found['peak']:.0f}",
            }
        )
    return rows


def select_once(_: Path, index: Path, ipc: int, share: float) -> dict[str, Any]:
    start = time.perf_counter()
    settings = resolve(SelectSettings(ipc=ipc, share=share)).settings
    tiles = len(select(Index(index, read(index / "index.json")), settings, ExtractSettings().tile).table())
    return {"tiles": tiles, "seconds": time.perf_counter() - start}


def make_index(folder: Path, classes: int, per_class: int) -> None:
    """Rows as `focusdd extract` writes them, with random numbers for what a ViT would say."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    rng, total = np.random.default_rng(0), classes * per_class
    for part, start in enumerate(range(0, total, ROWS)):
        number = np.arange(start, min(start + ROWS, total))
        n = len(number)
        sizes = rng.integers(300, 700, (n, 2))
        side = sizes.min(1) * rng.uniform(0.3, 1, n)
        x, y = (rng.random((n, 2)) * (sizes - side[:, None])).T
        boxes = np.stack([x, y, x + side, y + side, rng.uniform(0.5, 1, n)], axis=1)
        attention = rng.gamma(0.5, size=(n, GRID * GRID))
        attention = np.rint(attention / attention.max(1, keepdims=True) * 255).astype(np.uint8)
        table = pa.table(
            {
                "key": [f"n{i // per_class:08d}/n{i // per_class:08d}_{i % per_class}.JPEG" for i in number],
                "label": (number // per_class).astype(np.int32),
                "hash": [f"{i:016x}" for i in number],
                "width": sizes[:, 0].astype(np.int32),
                "height": sizes[:, 1].astype(np.int32),
                "confidence": rng.random(n, np.float32),
                "predicted": (number // per_class).astype(np.int32),
                "mass": boxes[:, 4].astype(np.float32),
                "area": rng.random(n, np.float32),
                "patches": [[dict(zip(("x0", "y0", "x1", "y1", "mass"), box, strict=True))]
                            for box in boxes.tolist()],
                "attention": [row.tobytes() for row in attention],
                "feature": list(rng.standard_normal((n, FEATURE)).astype(np.float16)),
            },
            schema=schema(FEATURE),
        )  # fmt: skip
        write_part(folder / "parts" / f"part-{part:05d}.parquet", table, {"skipped": []})
    names = [f"n{label:08d}" for label in range(classes)]
    info = {"key": "", "settings": ExtractSettings().model_dump(), "grid": [GRID, GRID], "classes": names,
            "class_names": names}  # fmt: skip
    (folder / "index.json").write_text(json.dumps(info))


if __name__ == "__main__":
    main()

"""Time and peak memory of distilling drawn, annotated images for detection, by their number.

    python benchmarks/detect_scale.py --images 1000 10000 100000

Every size runs in a process of its own, so that its peak memory is its own. Images are 64 x 48 pixels with
one to eight coloured boxes each, drawn from a seed as they are read.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tables import publish

from focusdd.demo import WEIGHTS
from focusdd.detect.extract import extract_objects
from focusdd.detect.pipeline import distill
from focusdd.settings import DetectDistillSettings, ViewSettings
from focusdd.sources.base import Objects, Record

WIDTH, HEIGHT, CLASSES = 64, 48, 10
COLOURS = np.random.default_rng(0).integers(0, 256, (CLASSES, 3))


class DrawnSource:
    """Coloured boxes on grey: nothing on disk, nothing in memory but the keys."""

    def __init__(self, images: int) -> None:
        self.name, self.split, self.fingerprint = f"drawn:{images}", "train", f"drawn:{images}"
        self.classes = self.class_names = tuple(f"colour-{number}" for number in range(CLASSES))
        self.records = tuple(Record(f"{number:06d}", -1) for number in range(images))
        self.skipped = self.problems = ()

    def objects(self, key: str, width: int, height: int) -> Objects:
        rng = np.random.default_rng(int(key))
        count = int(rng.integers(1, 9))
        sides = rng.integers(5, 20, (count, 2))
        start = rng.integers(0, np.array([width, height]) - sides + 1)
        boxes = np.concatenate([start, start + sides], 1).astype(float)
        labels = rng.integers(0, CLASSES, count).astype(np.int32)
        return Objects(boxes, labels, np.zeros(count, bool), np.arange(count, dtype=np.int64))

    def read(self, key: str) -> bytes:
        boxes, labels, _, _ = self.objects(key, WIDTH, HEIGHT)
        pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        for (x0, y0, x1, y1), label in zip(boxes.astype(int), labels, strict=True):
            pixels[y0:y1, x0:x1] = COLOURS[label]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "BMP")
        return buffer.getvalue()


def measure(images: int, out: str) -> None:
    """Extracts and distils once; writes what it took."""
    source, folder = DrawnSource(images), Path(out)
    views = ViewSettings(extractor=str(WEIGHTS / "vit"))
    start = time.perf_counter()
    index = extract_objects(source, folder / "index", views)
    middle = time.perf_counter()
    distill(source, folder / "tiny", DetectDistillSettings(ipc=10, size=128), index=index)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / "cost.json").write_text(json.dumps([middle - start, end - middle, peak]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options = parser.parse_args()
    rows = []
    for images in options.images:
        with tempfile.TemporaryDirectory() as out:
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(images, out))
            process.start()
            process.join()
            extract, made, peak = json.loads((Path(out) / "cost.json").read_text())
        rows.append(
            {
                "images": f"{images:,}",
                "extract, seconds": f"{extract:.1f}",
                "images per second": f"{images / extract:.0f}",
                "distill from the index, ipc 10, seconds": f"{made:.1f}",
                "peak memory MB": f"{peak:.0f}",
            }
        )
    publish("detect-scale", rows)


if __name__ == "__main__":
    main()

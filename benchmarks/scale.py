"""Select on an index of ImageNet-1K's size: 1,000 classes x 1,280 images, made of random numbers.

    python benchmarks/scale.py --work runs/scale [--classes 1000] [--per-class 1280]

Seconds and peak memory of choosing and laying out the plan that compose executes, from the patches in the
index, and with patches of another size, found again from the attention in the index, which takes as long at
any ipc. Each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from apart import apart
from tables import publish

from focusdd.extraction.index import schema, write_part
from focusdd.settings import ExtractSettings

GRID, FEATURE, ROWS = 14, 192, 4096
STORED = ExtractSettings().share
WAYS = ((10, STORED), (50, STORED), (10, 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--per-class", type=int, default=1280)
    options = parser.parse_args()
    index = options.work / f"index-{options.classes}-{options.per_class}"
    if not (index / "index.json").exists():
        make_index(index, options.classes, options.per_class)
    rows = []
    for ipc, share in WAYS:
        found = apart(measure, index, ipc, share)
        rows.append(
            {
                "select": f"ipc {ipc}, patches {'as in the index' if share == STORED else f'share {share}'}",
                "images": f"{options.classes * options.per_class:,}",
                "tiles": str(found["tiles"]),
                "seconds": f"{found['seconds']:.1f}",
                "peak memory MB": f"{found['peak']:.0f}",
            }
        )
    publish("scale-select", rows)


def measure(_: Path, index: Path, ipc: int, share: float) -> dict[str, Any]:
    from focusdd.extraction.index import open_index
    from focusdd.selection.focus import select
    from focusdd.settings import SelectSettings
    from focusdd.settings.resolve import resolve

    start = time.perf_counter()
    plan = select(
        open_index(index), resolve(SelectSettings(ipc=ipc, share=share)).settings, ExtractSettings().tile
    )
    tiles = len(plan.table())
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

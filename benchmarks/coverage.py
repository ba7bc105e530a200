"""Do key patches find the object? Every way to aggregate attention, on generated images with true boxes.

    python benchmarks/coverage.py [--extractor CHECKPOINT] [--images 1000]

A row is an extraction; the figures are the shares of images whose first key patch, or a random window of its
size, covers at least 80 % of the object's box, and the mean side of the patch over the shorter side.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from tables import publish

from focusdd import ExtractSettings, extract
from focusdd.demo.run import WEIGHTS
from focusdd.extraction.coverage import object_coverage
from focusdd.sources import DemoSource

WAYS: list[dict] = [
    {"attention": "last"},
    {"attention": "mean", "layers": 2},
    {"attention": "mean", "layers": 4},
    {"attention": "ema", "layers": 4},
    {"attention": "rollout"},
    {"attention": "last", "heads": "max"},
    {"attention": "mean", "layers": 2, "heads": "max"},
    {"attention": "mean", "layers": 4, "heads": "max"},
    {"attention": "mean", "layers": 2, "heads": "max", "share": 0.75},
    {"attention": "mean", "layers": 4, "heads": "max", "share": 0.75},
    {"attention": "rollout", "share": 0.5},
    {"attention": "rollout", "heads": "max"},
    {"window": "tile"},
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extractor", default=str(WEIGHTS / "vit"))
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    source = DemoSource(options.images // 10)
    rows = []
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            settings = ExtractSettings(extractor=options.extractor, tile=64, **way)
            index = extract(source, Path(folder) / "index", settings)
            found = object_coverage(index, source)
            windows = index.table(["width", "height", "patches"]).to_pylist()
            side = np.mean([_side(row) for row in windows])
        name = ", ".join(f"{key} {value}" for key, value in way.items())
        rows.append(
            {
                "extraction": name,
                "key patch covers the object": f"{found.patch:.1%}",
                "random window of its size": f"{found.random:.1%}",
                "side over shorter side": f"{side:.2f}",
                "images": str(found.images),
            }
        )
    publish("coverage-demo", rows)


def _side(row: dict) -> float:
    patch = row["patches"][0]
    return (patch["x1"] - patch["x0"]) / min(row["width"], row["height"])


if __name__ == "__main__":
    main()

"""Distilled images composed per second, by ipc, grid and file format.

    python benchmarks/compose.py [DATA] [--size 224] [--rounds 3]

Every tile is a random square of a random image of its class, 30 to 100 % of the shorter side. Without DATA
the images are JPEGs of 500 x 375 pixels, drawn from a seed. Files are written whole and synced, as always.
Figures are the best of the rounds, on CPU cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from drawn import PhotoSource
from tables import publish

from focusdd import open_source
from focusdd.composition.images import LABELLED, compose
from focusdd.core.images import decode
from focusdd.selection.plan import Plan, Tile, image_name
from focusdd.settings import ComposeSettings
from focusdd.sources.base import Source


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    source = open_source(options.data) if options.data else PhotoSource.of(10, 40)
    rows = []
    for ipc in (10, 50):
        for grid in (2, 3):
            plan = random_patches(source, ipc, grid)
            for format in ("jpg", "png"):
                settings = ComposeSettings(size=options.size, format=format)
                seconds = [timed(source, plan, settings) for _ in range(options.rounds)]
                images = ipc * len(source.classes)
                rows.append(
                    {
                        "source": Path(source.name).name,
                        "ipc": str(ipc),
                        "grid": str(grid),
                        "format": format,
                        "images": str(images),
                        "images per second": f"{images / min(seconds):.0f}",
                        "tiles per second": f"{len(plan.tiles) / min(seconds):.0f}",
                    }
                )
    publish("compose", rows)


def timed(source: Source, plan: Plan, settings: ComposeSettings) -> float:
    """Seconds to compose into an empty folder."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        compose(source, plan, Path(out), settings, LABELLED)
        return time.perf_counter() - start


def random_patches(source: Source, ipc: int, grid: int) -> Plan:
    """A plan with no thought behind it."""
    tiles = []
    for label, folder in enumerate(source.classes):
        rng = np.random.default_rng(label)
        keys = [record.key for record in source.records if record.label == label]
        for number in range(ipc):
            for cell in range(grid**2):
                key = keys[int(rng.integers(len(keys)))]
                _, width, height = decode(source.read(key), least_side=1)
                side = min(width, height) * rng.uniform(0.3, 1)
                x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
                box = (x, y, x + side, y + side)
                piece = ("patch", key, box, width, height, 0.0)
                tiles.append(Tile(*piece, image_name(folder, number), label, *divmod(cell, grid)))
    return Plan(grid, tuple(tiles))


if __name__ == "__main__":
    main()

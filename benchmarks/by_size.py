"""Extract and distil by the number of images: the table that both tasks share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apart import apart
from tables import device_memory, publish

from focusdd.extraction.index import Index
from focusdd.models.device import pick_device

Cost = dict[str, Any]
"""Seconds of "extract" and "distill", and "device": a column with the GPU's memory, where there is one."""


def cost(device: str, extract: Callable[[], Index], distill: Callable[[Index], object]) -> Cost:
    """Runs one after the other."""
    start = time.perf_counter()
    index = extract()
    middle = time.perf_counter()
    distill(index)
    end = time.perf_counter()
    return {"extract": middle - start, "distill": end - middle, "device": device_memory(pick_device(device))}


def by_size(name: str, measure: Callable[[Path, int, str], Cost], about: str) -> None:
    """Reads the command line, measures every size in a process of its own and publishes the table."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    rows = []
    for images in options.images:
        found = apart(measure, images, options.device)
        rows.append(
            {
                "images": f"{images:,}",
                "extract, seconds": f"{found['extract']:.1f}",
                "images per second": f"{images / found['extract']:.0f}",
                "distill from the index, ipc 10, seconds": f"{found['distill']:.1f}",
                "peak memory MB": f"{found['peak']:.0f}",
            }
            | found["device"]
        )
    publish(name, rows)

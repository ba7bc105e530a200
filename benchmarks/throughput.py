"""Images per second of every step of extract alone, and of the whole, in one run on one source.

    python benchmarks/throughput.py DATA --extractor VIT --work runs/throughput [--view-size 128]

Every step has all cores, and its input in memory; the steps take turns, 2,048 images at a time. On a GPU the
whole can be as fast as the slower of decoding and model, because they run beside each other. On a CPU they
share the cores: the whole takes at least the sum of their times.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
import torch
from tables import publish

from focusdd import ExtractSettings, extract, open_source
from focusdd.core.images import decode, square
from focusdd.extraction.index import Index, from_bytes, write_part
from focusdd.extraction.inference import DecodedImage, as_extractor, attention_of
from focusdd.extraction.parts import cores
from focusdd.extraction.patches import attention_area, key_patches
from focusdd.models.device import pick_device
from focusdd.models.load import load_model
from focusdd.sources.base import Record, Source

TURN = 2048  # images
_Result = TypeVar("_Result")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--view-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=ExtractSettings().batch_size)
    options = parser.parse_args()
    source = open_source(options.data)
    settings = ExtractSettings(
        extractor=options.extractor, input_size=options.view_size, batch_size=options.batch_size
    )
    device = pick_device(settings.device)
    out = options.work / "index"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    index = extract(source, out, settings)
    whole = index.info["counts"]["images"] / (time.perf_counter() - start)
    rates = steps(source, settings, device) | {"index written": written(index, options.work)}
    forward, decoding = rates["forward with class attention"], rates["decode"]
    rates["slower of decode and forward"] = min(forward, decoding)
    rates["decode, then forward"] = 1 / (1 / forward + 1 / decoding)
    rates["extract, whole"] = whole
    publish(f"throughput-{Path(source.name).name}", [
        {
            "step alone": step,
            "images per second": f"{rate:.0f}",
            "extract as a share of it": f"{whole / rate:.3f}",
            "device": f"{device.type}, {os.cpu_count()} cores",
        }
        for step, rate in rates.items()
    ])  # fmt: skip


def steps(source: Source, settings: ExtractSettings, device: torch.device) -> dict[str, float]:
    """Images per second of reading, decoding, the forward pass and the search for patches."""
    model = load_model(settings.extractor, device, settings.input_size)
    vit, side = as_extractor(model), model.input_size
    seconds: dict[str, float] = defaultdict(float)

    def timed(step: str, work: Callable[[], _Result]) -> _Result:
        start = time.perf_counter()
        result = work()
        seconds[step] += time.perf_counter() - start
        return result

    def see(record: Record, data: bytes) -> DecodedImage:
        image, width, height = decode(data, least_side=side)
        return DecodedImage(record, square(image, side), width, height, "")

    @torch.inference_mode()
    def look(seen: list[DecodedImage]) -> np.ndarray:
        return attention_of(seen, model, vit, settings)[0]

    def search(stored: np.ndarray, seen: list[DecodedImage]) -> None:
        sizes = np.array([(view.width, view.height) for view in seen])
        key_patches(from_bytes(stored), sizes, settings, settings.tile)
        attention_area(from_bytes(stored), settings.share)

    def forward(batches: list[list[DecodedImage]]) -> list[np.ndarray]:
        if device.type != "cpu":
            return [look(batch) for batch in batches]
        with cores() as pool:
            return list(pool.map(look, batches))

    def turn(records: Sequence[Record], pool: ThreadPoolExecutor) -> None:
        files = timed("read", lambda: [source.read(record.key) for record in records])
        seen = timed("decode", lambda: list(pool.map(see, records, files)))
        size = settings.batch_size
        batches = [seen[row : row + size] for row in range(0, len(seen), size)]
        found = timed("forward with class attention", lambda: forward(batches))
        timed("key patches", lambda: list(map(search, found, batches)))

    with ThreadPoolExecutor() as pool:
        turn(source.records[: settings.batch_size], pool)  # what the first batch makes ready is not counted
        seconds.clear()
        for first in range(0, len(source.records), TURN):
            turn(source.records[first : first + TURN], pool)
    return {step: len(source.records) / taken for step, taken in seconds.items()}


def written(index: Index, work: Path) -> float:
    """Rows per second of writing an index that is in memory."""
    tables = [pq.read_table(part) for part in sorted((index.folder / "parts").glob("*.parquet"))]
    start = time.perf_counter()
    for table in tables:
        write_part(work / "part.parquet", table, {})
    return sum(map(len, tables)) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

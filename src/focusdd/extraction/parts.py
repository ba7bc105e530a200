"""The parts of an index: shards of images through the model, with all cores and the GPU at work at once."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import torch

from focusdd.core.console import Advance
from focusdd.core.decoders import PILLOW
from focusdd.core.files import make_folder
from focusdd.core.stage import Workspace
from focusdd.execute import Worker, make_missing
from focusdd.extraction.index import write_part
from focusdd.extraction.inference import Inference
from focusdd.extraction.loading import MOST_THREADS, Loaded, load_here, loader, require_decoder
from focusdd.settings import EngineSettings
from focusdd.sources.base import Record

SHARD = 512  # images; fixed, so that parts do not depend on how they are run
_LOOKAHEAD = 1024  # decoded images waiting for a GPU, at most
_UNDER_WAY = 3  # batches on a CUDA GPU: the patches of one are searched here while the model has another

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def fill_parts(
    work: Workspace,
    inference: Inference,
    worker: Callable[[int], Worker],
    engine: EngineSettings | None = None,
) -> int:
    """Writes the parts of an index that are not there yet.

    Args:
        worker: what makes the work elsewhere, by the images per shard.

    Returns:
        How many images were processed.
    """
    make_folder(work.out / "parts")
    records = inference.source.records
    shards = math.ceil(len(records) / SHARD)
    parts = [_part(work.out, shard) for shard in range(shards)]
    work.declare(["index.json", *(part.relative_to(work.out).as_posix() for part in parts)])
    items = [len(records[shard * SHARD : (shard + 1) * SHARD]) for shard in range(shards)]
    here, device = partial(make_parts, inference, work.out, SHARD), inference.settings.device
    files = [[part] for part in parts]
    return make_missing(files, items, "images", "extract", here, worker(SHARD), engine, device)


def make_parts(inference: Inference, out: Path, shard: int, numbers: Sequence[int], advance: Advance) -> None:
    """Writes parts of so many images that are not there, working from one on into the next.

    Raises:
        FocusError: the decoder that the index was begun with is not here.
    """
    require_decoder(inference)
    records, size = inference.source.records, inference.settings.batch_size
    todo = [
        (part, _batches(records[number * shard : (number + 1) * shard], size))
        for number in numbers
        if not (part := _part(out, number)).exists()
    ]
    wanted = [batch for _, batches in todo for batch in batches]
    work = _on_every_core if inference.device.type == "cpu" else _beside_the_model
    with closing(work(inference, wanted)) as made:
        for part, batches in todo:
            done: list[_Batch] = []
            for records_of, batch in zip(batches, made, strict=False):
                done.append(batch)
                advance(len(records_of), f"({_bottleneck(done)} is the bottleneck)")
            # one that was made meanwhile may have been filled in already
            if not part.exists():
                _write(part, inference, done)


class _Batch(NamedTuple):
    """What became of one batch of images."""

    columns: dict[str, Any] | None
    """None when none of it is readable."""
    skipped: list[tuple[str, str]]
    fallback: int
    """How many images Pillow decoded."""
    seconds: np.ndarray
    """For reading, for decoding, waited for both, and for the model."""


def _bottleneck(batches: list[_Batch]) -> str:
    reading, decoding, waited, computed = np.sum([batch.seconds for batch in batches], axis=0)
    if computed >= waited:
        return "the model"
    return "reading" if reading > decoding else "decoding"


def _write(part: Path, inference: Inference, batches: list[_Batch]) -> None:
    tables = [pa.table(one.columns, schema=inference.schema) for one in batches if one.columns is not None]
    table = pa.concat_tables(tables).combine_chunks() if tables else inference.schema.empty_table()
    notes: dict[str, Any] = {"skipped": list(chain.from_iterable(batch.skipped for batch in batches))}
    if inference.decoder != PILLOW:
        notes["fallback"] = sum(batch.fallback for batch in batches)
    write_part(part, table, notes)


def _batches(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [records[start : start + size] for start in range(0, len(records), size)]


def _on_every_core(inference: Inference, batches: list[Sequence[Record]]) -> Generator[_Batch, None, None]:
    """Takes whole batches from file to row on every core by itself, in order.

    Threads that share one batch wait for the slowest of them at every layer, all the longer when another
    thread decodes on its core.
    """

    def work(records: Sequence[Record]) -> _Batch:
        loaded = load_here(inference, records)
        return _finished(inference, loaded, loaded.reading + loaded.decoding)

    with cores() as pool:
        yield from _ahead(pool, work, batches, 2 * MOST_THREADS)


@contextmanager
def cores() -> Iterator[ThreadPoolExecutor]:
    """Workers that share out PyTorch's threads among them: one each, on machines with few cores."""
    threads = torch.get_num_threads()
    workers = min(threads, MOST_THREADS)
    try:
        # the number of threads is each thread's own, and what threads that start later begin with
        with ThreadPoolExecutor(workers, "focusdd", torch.set_num_threads, (threads // workers,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _beside_the_model(inference: Inference, batches: list[Sequence[Record]]) -> Generator[_Batch, None, None]:
    """Loads images while the model works on a GPU, in order, a bounded number of images ahead."""
    # Apple's GPUs are not safe to use from two threads
    under_way = _UNDER_WAY if inference.device.type == "cuda" else 1
    with (
        loader(inference, sum(map(len, batches))) as (load, threads, at_once),
        ThreadPoolExecutor(threads) as readers,
        ThreadPoolExecutor(under_way, "focusdd") as pool,
    ):
        some = [_batches(records, at_once) for records in batches]
        # closed on the way out: what is still to be decoded is not waited for
        with closing(_ahead(readers, load, chain.from_iterable(some), _LOOKAHEAD // at_once)) as read:
            loaded = (_joined(read, len(pieces)) for pieces in some)
            yield from _ahead(pool, lambda one: _finished(inference, *one), loaded, under_way + 1)


def _joined(read: Iterator[Loaded], count: int) -> tuple[Loaded, float]:
    """A batch of so many pieces, with the seconds it was waited for."""
    begin = time.perf_counter()
    pieces = list(islice(read, count))
    images = list(chain.from_iterable(piece.images for piece in pieces))
    reading, decoding = sum(piece.reading for piece in pieces), sum(piece.decoding for piece in pieces)
    return Loaded(images, reading, decoding), time.perf_counter() - begin


def _finished(inference: Inference, loaded: Loaded, waited: float) -> _Batch:
    """Takes one batch, for which so many seconds were waited, through the model."""
    begin = time.perf_counter()
    good = [image for image in loaded.images if image.pixels is not None]
    columns = inference.rows(good) if good else None
    seconds = np.array([loaded.reading, loaded.decoding, waited, time.perf_counter() - begin])
    skipped = [(image.record.key, image.problem) for image in loaded.images if image.pixels is None]
    return _Batch(columns, skipped, sum(image.decoder == PILLOW for image in good), seconds)


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Iterable[_Item], count: int
) -> Generator[_Result, None, None]:
    """function(item) of every item, in order, worked on in a pool a bounded number of items ahead."""
    upcoming = iter(items)
    waiting: deque[Future[_Result]] = deque()
    try:
        waiting.extend(pool.submit(function, item) for item in islice(upcoming, count))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(upcoming, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()


def _part(out: Path, shard: int) -> Path:
    return out / "parts" / f"part-{shard:05d}.parquet"

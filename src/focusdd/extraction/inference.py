"""Inference of a ViT on downsampled views of all images of a source, shard by shard into index parts."""

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

from focusdd.core.console import Advance, progress, say
from focusdd.core.cores import cpu_count
from focusdd.core.decoders import Decode, View, decoders, most, view_of
from focusdd.core.errors import FocusError
from focusdd.core.files import make_folder
from focusdd.core.images import LEAST_SIDE, UnreadableImage
from focusdd.core.stage import Workspace
from focusdd.execute import Work, Worker, run_shards
from focusdd.execute.remote import require_there
from focusdd.extraction.attention import AttentionOptions, ViT, as_vit, class_attention
from focusdd.extraction.geometry import View as Shown
from focusdd.extraction.geometry import without_padding
from focusdd.extraction.index import to_bytes, write_part
from focusdd.models.load import Model
from focusdd.models.precision import autocast, cast_weights
from focusdd.settings import EngineSettings, ExtractorSettings
from focusdd.sources.base import Record, Source
from focusdd.sources.identity import content_hash

SHARD = 512  # images; fixed, so that parts do not depend on how they are run
_LOOKAHEAD = 512  # decoded images waiting for a GPU, at most
FEW = 2048  # images; for fewer, processes that decode are not worth their start
_AT_ONCE = 8  # images that a thread decodes before it says so: the others have to wait while it does
_UNDER_WAY = 3  # batches on a CUDA GPU: the patches of one are searched here while the model has another
_MOST_WORKERS = 8  # threads; with more, Python's lock would hold them up

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class DecodedImage(NamedTuple):
    """A decoded image as the ViT sees it, or the reason why there is none."""

    record: Record
    pixels: np.ndarray | None
    """uint8 (side, side, 3)."""
    width: int
    height: int
    problem: str
    hash: str = ""
    """Of the encoded file."""
    notes: Any = None
    """What the annotations of the source say of it, where it has any."""
    reading: float = 0.0
    """Seconds it took to read the file."""
    decoding: float = 0.0
    """Seconds from the file to the pixels."""


class Inference(NamedTuple):
    """How the images of a source become rows."""

    source: Source
    side: int
    """Of the view in pixels."""
    settings: ExtractorSettings
    schema: pa.Schema
    rows: Callable[[list[DecodedImage]], dict[str, Any]]
    """The columns of one batch, all of it readable."""
    device: torch.device
    """Where `rows` computes."""
    notes: Callable[[str, int, int], Any] | None = None
    """(key, width, height) -> what else belongs to an image; it may raise UnreadableImage."""

    def work(self, out: Path, shard: int) -> Work:
        """Writes parts of so many images in a stage's folder."""
        return partial(_make_parts, self, out, shard)


def as_extractor(model: Model) -> ViT:
    """Makes a model ready for `attention_of`; it computes under `autocast` alone from then on.

    Raises:
        FocusError: it is no ViT whose attention can be read.
    """
    vit = as_vit(model.net, model.name)
    cast_weights(model.net, model.device)
    return vit


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
    pending = [shard for shard, part in enumerate(parts) if not part.exists()]
    if len(pending) < shards:
        say(f"resuming: {shards - len(pending)} of {shards} parts are there")
    total = sum(len(records[shard * SHARD : (shard + 1) * SHARD]) for shard in pending)
    with progress("extract", total, "images") as advance:
        run_shards(
            pending,
            inference.work(work.out, SHARD),
            worker(SHARD),
            advance,
            engine,
            inference.settings.device,
        )
    require_there(parts)
    return total


class _Batch(NamedTuple):
    """What became of one batch of images."""

    columns: dict[str, Any] | None
    """None when none of it is readable."""
    skipped: list[tuple[str, str]]
    seconds: np.ndarray
    """For reading, for decoding, waited for both, and for the model."""


def _make_parts(
    inference: Inference, out: Path, shard: int, numbers: Sequence[int], advance: Advance
) -> None:
    """Works from one part on into the next."""
    todo = [
        (
            part,
            _batches(
                inference.source.records[number * shard : (number + 1) * shard], inference.settings.batch_size
            ),
        )
        for number in numbers
        if not (part := _part(out, number)).exists()
    ]
    wanted = [records for _, batches in todo for records in batches]
    work = _on_every_core if inference.device.type == "cpu" else _beside_the_model
    with closing(work(inference, wanted)) as made:
        for part, batches in todo:
            columns: list[dict[str, Any]] = []
            skipped: list[tuple[str, str]] = []
            seconds = np.zeros(4)
            for records, batch in zip(batches, made, strict=False):
                if batch.columns is not None:
                    columns.append(batch.columns)
                skipped += batch.skipped
                seconds += batch.seconds
                advance(len(records), f"({_slowest(*seconds)} is the bottleneck)")
            # one that was made meanwhile may have been filled in already
            if not part.exists():
                write_part(part, _table(columns, inference.schema), skipped)


def _batches(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
    return [records[start : start + size] for start in range(0, len(records), size)]


def _slowest(reading: float, decoding: float, waited: float, computed: float) -> str:
    if computed >= waited:
        return "the model"
    return "reading" if reading > decoding else "decoding"


def _on_every_core(inference: Inference, batches: list[Sequence[Record]]) -> Generator[_Batch, None, None]:
    """Takes whole batches from file to row on every core by itself, in order.

    Threads that share one batch wait for the slowest of them at every layer, all the longer when another
    thread decodes on its core.
    """

    def work(records: Sequence[Record]) -> _Batch:
        images = _load(inference, partial(_here, inference), records)
        return _finished(inference, images, sum(image.reading + image.decoding for image in images))

    with cores() as pool:
        yield from _ahead(pool, work, batches, 2 * _MOST_WORKERS)


@contextmanager
def cores() -> Iterator[ThreadPoolExecutor]:
    """Workers that share out PyTorch's threads among them: one each, on machines with few cores."""
    threads = torch.get_num_threads()
    workers = min(threads, _MOST_WORKERS)
    try:
        # the number of threads is each thread's own, and what threads that start later begin with
        with ThreadPoolExecutor(workers, "focusdd", torch.set_num_threads, (threads // workers,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _beside_the_model(inference: Inference, batches: list[Sequence[Record]]) -> Generator[_Batch, None, None]:
    """Decodes on the CPU while the model works elsewhere, in order, a bounded number of images ahead."""

    def finish(loaded: tuple[list[DecodedImage], float]) -> _Batch:
        return _finished(inference, *loaded)

    # Apple's GPUs are not safe to use from two threads
    under_way = _UNDER_WAY if inference.device.type == "cuda" else 1
    with (
        _decoding(inference, sum(map(len, batches))) as (threads, views_of),
        ThreadPoolExecutor(threads) as readers,
        ThreadPoolExecutor(under_way, "focusdd") as pool,
    ):
        some = chain.from_iterable(_batches(records, _AT_ONCE) for records in batches)
        # closed on the way out: what is still to be decoded is not waited for
        load = partial(_load, inference, views_of)
        with closing(_ahead(readers, load, some, _LOOKAHEAD // _AT_ONCE)) as read:
            views = chain.from_iterable(read)
            yield from _ahead(pool, finish, _loaded(views, batches), under_way + 1)


def _loaded(
    views: Iterator[DecodedImage], batches: list[Sequence[Record]]
) -> Generator[tuple[list[DecodedImage], float], None, None]:
    """Batches of decoded images, each with the seconds it was waited for."""
    for records in batches:
        begin = time.perf_counter()
        images = list(islice(views, len(records)))
        yield images, time.perf_counter() - begin


def _finished(inference: Inference, images: list[DecodedImage], waited: float) -> _Batch:
    """Takes one batch through the model."""
    begin = time.perf_counter()
    good = [image for image in images if image.pixels is not None]
    columns = inference.rows(good) if good else None
    computed = time.perf_counter() - begin
    skipped = [(image.record.key, image.problem) for image in images if image.pixels is None]
    reading, decoding = sum(image.reading for image in images), sum(image.decoding for image in images)
    return _Batch(columns, skipped, np.array([reading, decoding, waited, computed]))


@contextmanager
def _decoding(inference: Inference, images: int) -> Iterator[tuple[int, Decode]]:
    """How many threads decode, and how: each in a process of its own, where that is worth it."""
    count = most() if images >= FEW else 0
    if not count:
        yield min(cpu_count(), _MOST_WORKERS), partial(_here, inference)
        return
    with decoders(count, _AT_ONCE, inference.side, inference.settings.resize) as views:
        yield count, views


def _here(inference: Inference, files: Sequence[bytes]) -> list[View]:
    return [view_of(data, inference.side, inference.settings.resize) for data in files]


def _load(inference: Inference, views_of: Decode, records: Sequence[Record]) -> list[DecodedImage]:
    """Reads and decodes some images."""
    begin = time.perf_counter()
    read: list[bytes | UnreadableImage] = []
    for record in records:
        try:
            read.append(inference.source.read(record.key))
        except UnreadableImage as error:
            read.append(error)
    middle = time.perf_counter()
    views = iter(views_of([data for data in read if isinstance(data, bytes)]))
    each = (middle - begin) / len(records), (time.perf_counter() - middle) / len(records)
    images = []
    for record, data in zip(records, read, strict=True):
        if isinstance(data, UnreadableImage):
            images.append(DecodedImage(record, None, 0, 0, str(data)))
            continue
        pixels, width, height, problem = next(views)
        if pixels is not None and min(width, height) < LEAST_SIDE:
            pixels, problem = None, f"{width} x {height} pixels are too few to fill a tile"
        notes = None
        if inference.notes is not None and pixels is not None:
            try:
                notes = inference.notes(record.key, width, height)
            except UnreadableImage as error:
                pixels, problem = None, str(error)
        images.append(DecodedImage(record, pixels, width, height, problem, content_hash(data), notes, *each))
    return images


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


def attention_of(
    images: list[DecodedImage], model: Model, vit: ViT, settings: ExtractorSettings
) -> tuple[np.ndarray, torch.Tensor]:
    """One batch through the ViT: attention grids over the images as bytes (B, h, w), and the final tokens.

    Raises:
        FocusError: the attention is not a number.
    """
    options = AttentionOptions(settings.attention, settings.layers, settings.heads)
    pixels = torch.from_numpy(np.stack([one.pixels for one in images if one.pixels is not None]))
    with autocast(model.device):
        attention, tokens = class_attention(vit, model.prepare(pixels.permute(0, 3, 1, 2)), options)
    grids = attention.cpu().double().numpy()  # Apple's GPUs know no float64
    if not np.isfinite(grids).all():
        raise FocusError(
            f"the attention of {model.name!r} is not a number for {images[0].record.key} or near it"
        )
    if settings.resize == "letterbox":
        shown = (Shown.of(one.width, one.height, "letterbox") for one in images)
        grids = np.stack([without_padding(grid, view) for grid, view in zip(grids, shown, strict=True)])
    return to_bytes(grids), tokens


def _part(out: Path, shard: int) -> Path:
    return out / "parts" / f"part-{shard:05d}.parquet"


def _table(columns: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    batches = [pa.table(batch, schema=schema) for batch in columns]
    return pa.concat_tables(batches).combine_chunks() if batches else schema.empty_table()

"""One pass of a ViT over downsampled views of all images of a source, shard by shard into index parts."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from focusdd.console import Advance, progress, say
from focusdd.errors import FocusError
from focusdd.execute import Work, Worker, run_shards
from focusdd.execute.elsewhere import require_there
from focusdd.focus.attention import AttentionOptions, ViT, class_attention
from focusdd.focus.geometry import View, without_padding
from focusdd.images import UnreadableImage, decode, letterbox, square
from focusdd.index import to_bytes, write_part
from focusdd.models import Model, autocast
from focusdd.run import Stage, make_folder
from focusdd.settings import EngineSettings, ViewSettings
from focusdd.sources.base import Record, Source

SHARD = 512  # images; fixed, so that parts do not depend on how they are run
_LOOKAHEAD = 256  # decoded images waiting for the model, at most


class Seen(NamedTuple):
    """A decoded image as the ViT sees it, or the reason why there is none."""

    record: Record
    pixels: np.ndarray | None
    """uint8 (side, side, 3)."""
    width: int
    height: int
    problem: str
    notes: Any = None
    """What the annotations of the source say of it, where it has any."""


class Pass(NamedTuple):
    """How the images of a source become rows."""

    source: Source
    side: int
    """Of the view in pixels."""
    settings: ViewSettings
    fields: pa.Schema
    rows: Callable[[list[Seen]], dict[str, Any]]
    """The columns of one batch, all of it readable."""
    notes: Callable[[str, int, int], Any] | None = None
    """(key, width, height) -> what else belongs to an image; it may raise UnreadableImage."""

    def work(self, out: Path, shard: int) -> Work:
        """Writes parts of so many images in a stage's folder."""
        return partial(_make_parts, self, out, shard)


def fill_parts(
    stage: Stage, one: Pass, worker: Callable[[int], Worker], engine: EngineSettings | None = None
) -> int:
    """Writes the parts that are not there yet.

    Args:
        worker: what makes the work elsewhere, by the images per shard.

    Returns:
        How many images were processed.
    """
    make_folder(stage.out / "parts")
    records = one.source.records
    shards = math.ceil(len(records) / SHARD)
    pending = [shard for shard in range(shards) if not _part(stage.out, shard).exists()]
    if len(pending) < shards:
        say(f"resuming: {shards - len(pending)} of {shards} parts are there")
    total = sum(len(records[shard * SHARD : (shard + 1) * SHARD]) for shard in pending)
    with progress("extract", total, "images") as advance:
        work = one.work(stage.out, SHARD)
        run_shards(pending, work, worker(SHARD), advance, engine, one.settings.device)
    require_there(_part(stage.out, shard) for shard in pending)
    return total


def _make_parts(one: Pass, out: Path, shard: int, numbers: Sequence[int], advance: Advance) -> None:
    """Decodes beside the model, from one part on into the next."""
    source, settings = one.source, one.settings
    todo = [
        (part, source.records[number * shard : (number + 1) * shard])
        for number in numbers
        if not (part := _part(out, number)).exists()
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wanted = [record for _, records in todo for record in records]
        views = _views(source, wanted, one.side, settings.fit, one.notes, pool)
        for part, records in todo:
            waited = computed = 0.0
            columns: list[dict[str, Any]] = []
            skipped: list[tuple[str, str]] = []
            for start in range(0, len(records), settings.batch_size):
                count = min(settings.batch_size, len(records) - start)
                begin = time.perf_counter()
                batch = list(islice(views, count))
                middle = time.perf_counter()
                skipped += [(seen.record.key, seen.problem) for seen in batch if seen.pixels is None]
                good = [seen for seen in batch if seen.pixels is not None]
                if good:
                    columns.append(one.rows(good))
                waited += middle - begin
                computed += time.perf_counter() - middle
                advance(count, f"({'decoding' if waited > computed else 'the model'} is the bottleneck)")
            # one that was made meanwhile may have been filled in already
            if not part.exists():
                write_part(part, _table(columns, one.fields), skipped)


def attention_of(
    seen: list[Seen], model: Model, vit: ViT, settings: ViewSettings
) -> tuple[np.ndarray, torch.Tensor]:
    """One batch through the ViT: attention grids over the images as bytes (B, h, w), and the final tokens.

    Raises:
        FocusError: the attention is not a number.
    """
    options = AttentionOptions(settings.attention, settings.layers, settings.heads)
    pixels = torch.from_numpy(np.stack([one.pixels for one in seen if one.pixels is not None]))
    with autocast(model.device):
        attention, tokens = class_attention(vit, model.prepare(pixels.permute(0, 3, 1, 2)), options)
    grids = attention.double().cpu().numpy()
    if not np.isfinite(grids).all():
        raise FocusError(
            f"the attention of {model.name!r} is not a number for {seen[0].record.key} or near it"
        )
    if settings.fit == "letterbox":
        shown = (View.of(one.width, one.height, "letterbox") for one in seen)
        grids = np.stack([without_padding(grid, view) for grid, view in zip(grids, shown, strict=True)])
    return to_bytes(grids), tokens


def _part(out: Path, shard: int) -> Path:
    return out / "parts" / f"part-{shard:05d}.parquet"


def _table(columns: list[dict[str, Any]], fields: pa.Schema) -> pa.Table:
    batches = [pa.table(batch, schema=fields) for batch in columns]
    return pa.concat_tables(batches).combine_chunks() if batches else fields.empty_table()


def _views(
    source: Source,
    records: list[Record],
    side: int,
    fit: str,
    notes: Callable[[str, int, int], Any] | None,
    pool: ThreadPoolExecutor,
) -> Iterator[Seen]:
    """Decodes beside the model, in order, a bounded number of images ahead."""

    def load(record: Record) -> Seen:
        try:
            image, width, height = decode(source.read(record.key), least_side=side)
            more = notes(record.key, width, height) if notes is not None else None
        except UnreadableImage as error:
            return Seen(record, None, 0, 0, str(error))
        pixels = square(image, side) if fit == "squash" else letterbox(image, side)
        return Seen(record, pixels, width, height, "", more)

    waiting: deque[Future[Seen]] = deque()
    upcoming = iter(records)
    try:
        for record in islice(upcoming, _LOOKAHEAD):
            waiting.append(pool.submit(load, record))
        while waiting:
            view = waiting.popleft().result()
            for record in islice(upcoming, 1):
                waiting.append(pool.submit(load, record))
            yield view
    finally:
        for future in waiting:
            future.cancel()

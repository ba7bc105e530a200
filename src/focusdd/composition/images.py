"""Stage 2b: executes a plan. Opens only the images in it, cuts at original resolution, writes the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from focusdd.core.console import Advance, progress
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.files import make_folder, write_whole
from focusdd.core.images import Box, UnreadableImage, decode, encode, resize
from focusdd.execute import Work, Worker, run_shards
from focusdd.execute.remote import SourceName, require_shared, require_there
from focusdd.extraction.geometry import cell_edges
from focusdd.selection.plan import Plan, Tile
from focusdd.settings import ComposeSettings, EngineSettings
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.sources.identity import content_hash

SHARD = 64  # distilled images
_Job = TypeVar("_Job")


def compose(
    source: Source,
    plan: Plan,
    out: Path,
    settings: ComposeSettings,
    key: str = "",
    engine: EngineSettings | None = None,
) -> int:
    """Writes `train/<class>/<class>_<n>.jpg|png`, `train/metadata.jsonl` and `plan.parquet`.

    Images that are there already are kept: files are written whole, so they are complete.

    Args:
        key: of the stage that fills `out`.
        engine: where the images are made; default: here.

    Returns:
        The number of distilled images.

    Raises:
        FocusError: an image of the plan can no longer be read.
    """
    images = list(plan.images())
    for folder in {image.partition("/")[0] for image, _ in images}:
        make_folder(out / "train" / folder)
    write_plan(out, plan.table())
    lines = [_metadata(f"{image}.{settings.format}", tiles) for image, tiles in images]
    write_whole(out / "train" / "metadata.jsonl", "\n".join(lines) + "\n")
    paths = [(_path(out, image, settings),) for image, _ in images]
    work = partial(_draw_all, source, plan, out, settings, SHARD)
    name = SourceName.of(source, open_source)
    worker = _Worker(name, out.absolute(), key, composing(settings), plan.grid, SHARD)
    make_missing(paths, SHARD, work, worker, engine)
    return len(images)


def files_of(plan: Plan, settings: ComposeSettings) -> list[str]:
    """The files that `compose` writes, by their names below `out`."""
    images = (f"train/{image}.{settings.format}" for image, _ in plan.images())
    return ["plan.parquet", "train/metadata.jsonl", *images]


def composing(settings: ComposeSettings) -> ComposeSettings:
    """Of more settings those that composing needs: what travels to a worker."""
    return ComposeSettings(**settings.model_dump(include=set(ComposeSettings.model_fields)))


def make_missing(
    images: Sequence[Sequence[Path]], shard: int, work: Work, worker: Worker, engine: EngineSettings | None
) -> None:
    """Makes distilled images, shard by shard, except for shards of which all are there.

    Args:
        images: the files of every distilled image, in order.
        shard: images in one.
        work, worker: as `run_shards` takes them.
    """
    shards = [images[start : start + shard] for start in range(0, len(images), shard)]
    pending = [
        number
        for number, part in enumerate(shards)
        if not all(path.exists() for files in part for path in files)
    ]
    with progress("compose", sum(len(shards[number]) for number in pending), "images") as advance:
        run_shards(pending, work, worker, advance, engine)
    require_there(path for files in images for path in files)


@dataclass(frozen=True)
class _Worker:
    """Composes in another process as `compose` does in its own, from the plan beside the images."""

    source: SourceName
    out: Path
    key: str
    settings: ComposeSettings
    grid: int
    shard: int

    def __call__(self) -> Work:
        require_shared(self.out, self.key)
        plan = Plan(self.grid, Plan.from_table(pq.read_table(self.out / "plan.parquet")).tiles)
        return partial(_draw_all, self.source.reopen(), plan, self.out, self.settings, self.shard)


def _draw_all(
    source: Source,
    plan: Plan,
    out: Path,
    settings: ComposeSettings,
    shard: int,
    numbers: Sequence[int],
    advance: Advance,
) -> None:
    """Writes the distilled images of some shards."""

    def make(job: tuple[str, list[Tile]]) -> None:
        path = _path(out, job[0], settings)
        if not path.exists():
            picture = draw(source, job[1], plan.grid, settings.size)
            write_whole(path, encode(picture, settings.format, settings.quality))

    in_parallel(make, of_shards(list(plan.images()), numbers, shard), advance)


def of_shards(jobs: Sequence[_Job], numbers: Sequence[int], shard: int) -> list[_Job]:
    """The jobs of some shards of so many each."""
    return [job for number in numbers for job in jobs[number * shard : (number + 1) * shard]]


def _path(out: Path, image: str, settings: ComposeSettings) -> Path:
    return out / "train" / f"{image}.{settings.format}"


def write_plan(out: Path, table: pa.Table) -> None:
    """Writes `plan.parquet`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(out / "plan.parquet", sink.getvalue().to_pybytes())


def in_parallel(make: Callable[[_Job], None], jobs: Sequence[_Job], advance: Advance) -> None:
    """Composes images side by side; the first that fails stops the rest."""
    with ThreadPoolExecutor(2 * cpu_count()) as pool:  # half of them wait for the disk to sync
        try:
            for _ in pool.map(make, jobs):
                advance(1, "")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def draw(source: Source, tiles: list[Tile], grid: int, size: int) -> Image.Image:
    """One distilled image: its tiles, cut from the originals, on a size x size canvas."""
    canvas = Image.new("RGB", (size, size))
    for tile in tiles:
        x0, y0, x1, y1 = cell_box(tile.row, tile.column, grid, size)
        canvas.paste(cut(source, tile, x1 - x0, y1 - y0), (x0, y0))
    return canvas


def cell_box(row: int, column: int, grid: int, size: int) -> tuple[int, int, int, int]:
    """Whole-pixel box of a cell; cells tile the canvas even when `grid` does not divide `size`."""
    edges = cell_edges(size, grid)
    return edges[column], edges[row], edges[column + 1], edges[row + 1]


class Cutting(Protocol):
    """What is cut from a source image: a tile of any plan."""

    @property
    def key(self) -> str: ...
    @property
    def box(self) -> Box: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def hash(self) -> str: ...


def cut(source: Source, tile: Cutting, width: int, height: int) -> Image.Image:
    """The tile's box of its source image, at width x height pixels.

    A JPEG is decoded at a reduced scale where that still leaves two pixels for each of the tile: with one,
    the finest detail would be lost.

    Raises:
        FocusError: the image cannot be read, or is not the one that the plan was made for.
    """
    x0, y0, x1, y1 = tile.box
    scale = max(width / (x1 - x0), height / (y1 - y0))
    try:
        data = source.read(tile.key)
        image, *found = decode(data, math.ceil(2 * min(tile.width, tile.height) * scale))
    except UnreadableImage as error:
        raise FocusError(f"{tile.key} of {source.name} cannot be read any more: {error}") from error
    if (tile.hash and content_hash(data) != tile.hash) or found != [tile.width, tile.height]:
        raise FocusError(
            f"{tile.key} of {source.name} has changed since the index was made: run `focusdd extract` with "
            "--overwrite, or remove the folder OUT-index where there is one; then run this with --overwrite"
        )
    # a pixel of a reduced image stands for 2, 4 or 8 of the original, the last of a row for what is left
    factor = 2 ** round(math.log2(max(tile.width, tile.height) / max(image.size)))
    right, bottom = min(x1 / factor, image.width), min(y1 / factor, image.height)
    return resize(image, width, height, (x0 / factor, y0 / factor, right, bottom))


def _metadata(file_name: str, tiles: list[Tile]) -> str:
    """One line of metadata.jsonl: Hugging Face's ImageFolder reads it beside the image."""
    described = [
        {
            "row": tile.row,
            "column": tile.column,
            "kind": tile.kind,
            "source": tile.key,
            "box": [round(value, 2) for value in tile.box],
        }
        for tile in tiles
    ]
    row = {
        "file_name": file_name,
        "label": tiles[0].label,  # Hugging Face takes none from the folders where there is a metadata file
        "class_name": file_name.partition("/")[0],
        "tiles": described,
    }
    return json.dumps(row, ensure_ascii=False)

"""Stage 2b: executes a plan. Opens only the images in it, cuts at original resolution, writes the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from focusdd.core.console import Advance
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.files import make_folder, write_whole
from focusdd.core.images import UnreadableImage, decode, encode, resize
from focusdd.execute import Work, make_missing
from focusdd.execute.remote import SourceName, require_shared
from focusdd.extraction.geometry import cell_box
from focusdd.selection.plan import Plan, Tile
from focusdd.settings import ComposeSettings, EngineSettings
from focusdd.sources import open_source
from focusdd.sources.base import Source
from focusdd.sources.identity import content_hash

SHARD = 64  # distilled images


@dataclass(frozen=True)
class Drawing:
    """How the plan of a task becomes files. Its functions are of a module, so a Ray worker gets it whole."""

    open_source: Callable[[str, str], Any]
    read_plan: Callable[[pa.Table], Any]
    """The plan of the table in plan.parquet."""
    files: Callable[[str, ComposeSettings], tuple[str, ...]]
    """(image, settings) -> names below the folder of the files of one distilled image."""
    write: Callable[[Any, Any, str, Any, Path, ComposeSettings], None]
    """(source, plan, image, its tiles, folder, settings): writes those that are not there yet."""
    about: Mapping[str, Callable[[Any, Any, ComposeSettings], str]]
    """Text files about all images: name -> (source, plan, settings) -> content."""


def compose(
    source: Any,
    plan: Any,
    out: Path,
    settings: ComposeSettings,
    drawing: Drawing,
    key: str = "",
    engine: EngineSettings | None = None,
) -> int:
    """Writes `plan.parquet`, and the files of the drawing.

    Images that are there already are kept: files are written whole, so they are complete.

    Args:
        key: of the stage that fills `out`.
        engine: where the images are made; default: here.

    Returns:
        The number of distilled images.

    Raises:
        FocusError: an image of the plan can no longer be read.
    """
    images = [[out / file for file in drawing.files(image, settings)] for image, _ in plan.images()]
    for folder in {path.parent for files in images for path in files}:
        make_folder(folder)
    sink = pa.BufferOutputStream()
    pq.write_table(plan.table(), sink, compression="zstd")
    write_whole(out / "plan.parquet", sink.getvalue().to_pybytes())
    for name, text in drawing.about.items():
        write_whole(out / name, text(source, plan, settings))
    # what travels to a worker: of more settings those that composing needs
    own = ComposeSettings(**settings.model_dump(include=set(ComposeSettings.model_fields)))
    work = partial(_draw_all, source, plan, out, own, drawing, SHARD)
    travelling = SourceName.of(source, drawing.open_source)
    worker = partial(_elsewhere, travelling, out.absolute(), key, own, drawing, SHARD)
    shards = [images[start : start + SHARD] for start in range(0, len(images), SHARD)]
    parts = [[path for files in shard for path in files] for shard in shards]
    make_missing(parts, [len(shard) for shard in shards], "images", "compose", work, worker, engine)
    return len(images)


def files_of(plan: Any, settings: ComposeSettings, drawing: Drawing) -> list[str]:
    """The files that `compose` writes, by their names below `out`."""
    images = [file for image, _ in plan.images() for file in drawing.files(image, settings)]
    return ["plan.parquet", *drawing.about, *images]


def _elsewhere(
    name: SourceName, out: Path, key: str, settings: ComposeSettings, drawing: Drawing, shard: int
) -> Work:
    """Composes in another process as `compose` does in its own, from the plan beside the images."""
    require_shared(out, key)
    plan = drawing.read_plan(pq.read_table(out / "plan.parquet"))
    return partial(_draw_all, name.reopen(), plan, out, settings, drawing, shard)


def _draw_all(
    source: Any,
    plan: Any,
    out: Path,
    settings: ComposeSettings,
    drawing: Drawing,
    shard: int,
    numbers: Sequence[int],
    advance: Advance,
) -> None:
    """Writes the distilled images of some shards side by side; the first that fails stops the rest."""
    images = list(plan.images())
    jobs = [job for number in numbers for job in images[number * shard : (number + 1) * shard]]

    def make(job: tuple[str, Any]) -> None:
        drawing.write(source, plan, *job, out, settings)

    with ThreadPoolExecutor(2 * cpu_count()) as pool:  # half of them wait for the disk to sync
        try:
            for _ in pool.map(make, jobs):
                advance(1, "")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _files(image: str, settings: ComposeSettings) -> tuple[str, ...]:
    return (f"train/{image}.{settings.format}",)


def _write(
    source: Source, plan: Plan, image: str, tiles: list[Tile], out: Path, settings: ComposeSettings
) -> None:
    path = out / _files(image, settings)[0]
    if not path.exists():
        picture = draw(source, tiles, plan.grid, settings.size)
        write_whole(path, encode(picture, settings.format, settings.quality))


def _metadata(_: Source, plan: Plan, settings: ComposeSettings) -> str:
    return "".join(_line(f"{image}.{settings.format}", tiles) + "\n" for image, tiles in plan.images())


def draw(source: Source, tiles: list[Tile], grid: int, size: int) -> Image.Image:
    """One distilled image: its tiles, cut from the originals, on a size x size canvas."""
    canvas = Image.new("RGB", (size, size))
    for tile in tiles:
        x0, y0, x1, y1 = cell_box(tile.row, tile.column, grid, size)
        canvas.paste(cut(source, tile, x1 - x0, y1 - y0), (x0, y0))
    return canvas


def cut(source: Source, tile: Any, width: int, height: int) -> Image.Image:
    """The tile's box of its source image, at width x height pixels.

    A JPEG is decoded at a reduced scale where that still leaves two pixels for each of the tile: with one,
    the finest detail would be lost.

    Args:
        tile: of any plan, with key, box, width, height and hash of its source image.

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


def _line(file_name: str, tiles: list[Tile]) -> str:
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


LABELLED = Drawing(open_source, Plan.from_table, _files, _write, {"train/metadata.jsonl": _metadata})
"""`train/<class>/<class>_<n>.jpg|png` and `train/metadata.jsonl`."""

"""Where the extractor looks: originals with their attention, key patches and objects."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from focusdd.core.errors import FocusError
from focusdd.core.images import Box, decode
from focusdd.extraction.coverage import object_coverage
from focusdd.reports.collect import FoundDistilled, FoundIndex, as_written
from focusdd.reports.figures import data_uri
from focusdd.selection.plan import Plan, Tile
from focusdd.sources import BoxedSource, Source, open_source

_Item = TypeVar("_Item")
PATCH_COLOUR = "#00e5ff"
TRUE_COLOUR = "#ffffff"
_HALO = "#10151a"
_EXAMPLES = 8  # images under "where the extractor looks"
_SIDE = 320  # pixels of such an image, at most
_BOX_SAMPLE = 300  # about so many images have their true box compared with the key patch


def photo(image: Image.Image, side: int, quality: int = 78) -> str:
    """A JPEG data URI of an image whose longer side is at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return data_uri("image/jpeg", buffer.getvalue())


def marked(image: Image.Image, boxes: Sequence[tuple[Box, str]], size: tuple[int, int]) -> Image.Image:
    """A copy of the image with boxes drawn on it in their colours.

    Args:
        boxes: half-open, in pixels of an original of `size` (width, height).
    """
    small = image.copy()
    pen = ImageDraw.Draw(small)
    across, down = small.width / size[0], small.height / size[1]
    for (x0, y0, x1, y1), colour in boxes:
        left, top = round(x0 * across), round(y0 * down)
        right, bottom = max(left, round(x1 * across) - 1), max(top, round(y1 * down) - 1)
        if min(right - left, bottom - top) <= 8:  # the halo would be all there is of it
            pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=colour, width=2)
            continue
        pen.rectangle((left, top, right, bottom), outline=_HALO, width=5)
        pen.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=colour, width=3)
    return small


def overlay(image: Image.Image, attention: np.ndarray) -> Image.Image:
    """The image in grey under its class attention: bright and warm where there is most of it.

    Args:
        attention: (h, w) in [0, 1], 1 at its maximum, over the whole image.
    """
    import matplotlib

    grid = Image.fromarray(attention.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(grid), 0.0, 1.0)
    colour = matplotlib.colormaps["inferno"](values)[..., :3] * 255
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64)
    share = (0.3 + 0.4 * values)[..., None]
    return Image.fromarray(np.rint(grey * (1 - share) + colour * share).astype(np.uint8))


def looks(datasets: list[FoundDistilled]) -> dict[str, Any] | None:
    """Where the extractor looked in images of the first distilled dataset whose index is there."""
    for data in datasets:
        if data.index is not None and (tiles := _spread(data.plan)):
            break
    else:
        return None
    info = data.index.index.info
    shown: dict[str, Any] = {"title": data.title, "extractor": info["extractor"]["name"]}
    shown |= {"source": info["source"]["name"], "examples": [], "problem": "", "lost": 0, "boxes": None}
    try:
        source = open_source(str(info["source"]["name"]), split=str(info["source"]["split"]))
    except (FocusError, OSError, KeyError) as error:
        return shown | {"problem": str(error)}
    known = {record.key for record in source.records}
    with as_written(data.index.index.folder / "parts"):
        facts = _index_rows(data.index, [tile.key for tile in tiles])
    for tile in tiles:
        try:
            if tile.key not in known or tile.key not in facts:
                raise FocusError("it is no longer there")
            shown["examples"].append(_example(source, tile, facts[tile.key], data.index.index.class_names))
        except FocusError as error:
            shown["lost"] += 1
            shown["problem"] = shown["problem"] or f"{tile.key}: {error}"
    if hasattr(source, "box") and source.fingerprint == info["source"]["fingerprint"]:
        shown["boxes"] = object_coverage(data.index.index, cast(BoxedSource, source), _BOX_SAMPLE)
    return shown


def evenly(items: Sequence[_Item], count: int) -> list[_Item]:
    """At most `count` items, spread evenly over all of them."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _spread(plan: Plan) -> list[Tile]:
    """Tiles spread evenly over the classes and over the order within a class: not the best ones.

    Key patches where there are such, else whole images.
    """
    patches = [tile for tile in plan.tiles if tile.kind == "patch"]
    by_label: dict[int, list[Tile]] = defaultdict(list)
    for tile in patches or plan.tiles:
        by_label[tile.label].append(tile)
    groups = evenly([group for _, group in sorted(by_label.items())], _EXAMPLES)
    each = math.ceil(_EXAMPLES / max(1, len(groups)))
    chosen = [group[(2 * n + 1) * len(group) // (2 * each)] for n in range(each) for group in groups]
    return list({tile.key: tile for tile in chosen}.values())[:_EXAMPLES]


def _index_rows(found: FoundIndex, keys: list[str]) -> dict[str, dict[str, Any]]:
    columns = ["key", "width", "height", "confidence", "predicted", "mass", "area", "attention", "patches"]
    table = pq.read_table(found.index.folder / "parts", columns=columns, filters=[("key", "in", keys)])
    rows = zip(table.to_pylist(), found.index.attention(table), strict=True)
    return {row["key"]: row | {"attention": grid / max(1, grid.max())} for row, grid in rows}


def _example(source: Source, tile: Tile, facts: dict[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """An image that a distilled image shows, plain and under its attention, with the key patch that was used,
    or the first one where the whole image is shown.

    Raises FocusError when the image cannot be read, or is not the one that was extracted.
    """
    image, *size = decode(source.read(tile.key), _SIDE)
    if size != [facts["width"], facts["height"]]:
        raise FocusError("it is not the image that was extracted")
    first = facts["patches"][0]
    patch = tile.box if tile.kind == "patch" else (first["x0"], first["y0"], first["x1"], first["y1"])
    boxes = [(patch, PATCH_COLOUR)]
    if hasattr(source, "box"):
        boxes.append((source.box(tile.key), TRUE_COLOUR))
    image.thumbnail((_SIDE, _SIDE))
    layers = (image, overlay(image, facts["attention"]))
    plain, attention = (photo(marked(layer, boxes, (tile.width, tile.height)), _SIDE) for layer in layers)
    own, predicted = class_names[tile.label], facts["predicted"]
    judged = class_names[predicted] if predicted >= 0 else own  # -1: by nobody
    names = {"class_name": own, "predicted": judged}
    return {"tile": tile, "patch": patch, "plain": plain, "attention": attention, "facts": facts, **names}

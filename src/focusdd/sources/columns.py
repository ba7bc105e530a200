"""Which columns of a table hold images and labels."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage
from focusdd.settings.source import SourceSettings
from focusdd.sources.classes import LABELS, label_column

_IMAGES = ("image", "img", "picture", "photo", "jpg", "png")


class Columns(NamedTuple):
    """The columns that count."""

    image: str
    label: str
    names: list[str] | None
    """What the numbers in the label column stand for."""


def find_columns(schema: pa.Schema, where: str, settings: SourceSettings | None = None) -> Columns:
    """The image and the label column: those that are asked for; by the features that Hugging Face writes; by
    name and type; or the only one of their kind. Raises FocusError where there is no such column, or several;
    the sentence names those there are.
    """
    features = _features(schema)
    images = [field.name for field in schema if _is_image(field.type)]
    marked = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    labels = [field.name for field in schema if _is_label(field.type)]
    classed = [name for name in labels if features.get(name, {}).get("_type") == "ClassLabel"]
    image = settings.image_column if settings else None
    label = settings.label_column if settings else None
    wrong = [name for name, known in ((image, images), (label, labels)) if name and name not in known]
    image = image or _first(_IMAGES, marked) or _first(_IMAGES, images)
    label = label_column(labels, label or _first(LABELS, classed))
    if image is None or label is None or wrong:
        there = ", ".join(f"{field.name} ({field.type})" for field in schema)
        kind = "image" if image is None or image in wrong else "label"
        what = "images (bytes, or a struct with them)" if kind == "image" else "labels (numbers or text)"
        called = f" called {wrong[0]!r}" if wrong else ""
        remedy = f"name it with --{kind}-column" if images and labels else "write one"
        raise FocusError(
            f"{where} has no column of {what}{called}, or several: {remedy}; it has {there[:500]}"
        )
    names = features[label].get("names") if label in classed else None
    known = isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
    return Columns(image, label, names if known else None)


def label_values(column: Any, where: str) -> list[int | str | None]:
    """Labels as whole numbers or texts, else None. Raises FocusError for numbers that are not whole."""
    if pa.types.is_floating(column.type):
        try:
            column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise FocusError(
                f"{where} has labels that are not whole numbers: give another --label-column"
            ) from error
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.string())
    values: list[int | str | None] = column.to_pylist()
    return values


def _first(preferred: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in preferred if name in names), names[0] if names else None)


def _features(schema: pa.Schema) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: value for name, value in features.items() if isinstance(value, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _is_bytes(kind: pa.DataType) -> bool:
    return str(kind) in ("binary", "large_binary", "binary_view")


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return str(kind) in ("string", "large_string", "string_view") or any(test(kind) for test in tests)


def image_bytes(cell: Any) -> bytes:
    """The encoded image in a cell: bytes, or a struct with bytes. Raises UnreadableImage without any."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if data is None:
        raise UnreadableImage("the table holds no bytes of it")
    return bytes(data)


def image_sizes(cells: Any) -> list[int]:
    """Bytes of each image of a column, from the offsets of the table; of a file outside it, the file's."""
    return [size for chunk in cells.chunks for size in _sizes(chunk)]  # together they may be too large


def _sizes(cells: Any) -> list[int]:
    data: Any = cells
    paths: Any = None
    if pa.types.is_struct(cells.type):
        data = pc.struct_field(cells, "bytes")
        paths = pc.struct_field(cells, "path") if cells.type.get_field_index("path") >= 0 else None
    sizes: list[int] = pc.fill_null(pc.binary_length(data), -1).to_pylist()
    for row in [row for row, size in enumerate(sizes) if size < 0 and paths is not None]:
        with suppress(OSError, TypeError):
            sizes[row] = os.stat(paths[row].as_py()).st_size  # noqa: PTH116
    return sizes

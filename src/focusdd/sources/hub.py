"""Hugging Face datasets, by their name on the hub or from where `save_to_disk` put them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.settings.source import SourceSettings
from focusdd.sources.classes import labelled
from focusdd.sources.columns import find_columns, image_bytes, image_sizes, label_values
from focusdd.sources.disk import read_file
from focusdd.sources.identity import listing_hash
from focusdd.sources.names import few, has_val, of_split, split_word


class HubSource:
    """`hf:<name>` or `hf:<name>:<config>`: a dataset with an image and a label column.

    It is downloaded and unpacked once into the cache of `datasets`, which then maps it into memory.
    """

    def __init__(self, name: str, split: str = "train", settings: SourceSettings | None = None) -> None:
        self.name = name
        self.split = split
        loaded = _load(name)
        parts = loaded if isinstance(loaded, dict) else {"": loaded}
        called: dict[str, list[str]] = {}
        for part in parts:
            called.setdefault(split_word(part) or part, []).append(part)
        first, *more = of_split(called, split, name)
        self.has_val = has_val(called)
        if more:
            raise FocusError(
                f"{name} has several parts for {split}, {few([first, *more])}: save the one that is meant "
                "with save_to_disk, and give its folder"
            )
        rows = parts[first]
        self.place = f"split {rows.split}" if rows.split else "all rows"
        columns = find_columns(rows.features.arrow_schema, name, settings)
        values = label_values(rows.select_columns([columns.label]).with_format("arrow")[:].column(0), name)
        keys = [f"{row:07d}" for row in range(len(rows))]
        self.classes, self.class_names, labels, self.records, self.skipped = labelled(
            keys, values, columns.names, name
        )
        # bytes as they are in the table: nothing is decoded
        self._images = rows.select_columns([columns.image]).with_format("arrow")
        sizes = chain.from_iterable(image_sizes(part.column(0)) for part in self._images.iter(1000))
        facts = hash_of([labels, self.class_names])
        self.fingerprint = listing_hash(zip(keys, sizes, strict=True), facts)

    def read(self, key: str) -> bytes:
        if not key.isdecimal() or int(key) >= len(self._images):
            raise FocusError(f"{self.name} has no image {key}")
        cell = self._images[int(key)].column(0)[0].as_py()
        if isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path"):
            return read_file(cell["path"])
        return image_bytes(cell)


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file() or all(
        (folder / name).is_file() for name in ("dataset_info.json", "state.json")
    )


def _load(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise FocusError(f'{name} needs the extra hub: pip install "focusdd[hub]"') from error
    where = name.removeprefix("hf:")
    if not where:
        raise FocusError("after hf: comes the name of a dataset, e.g. hf:uoft-cs/cifar10")
    try:
        if is_saved(Path(where)):
            return datasets.load_from_disk(where)
        path, _, config = where.partition(":")
        return datasets.load_dataset(path, config or None)
    except Exception as error:  # builders raise whatever their data makes them
        reason = str(error).partition("\n")[0][:200]
        raise FocusError(
            f"{name} cannot be opened ({type(error).__name__}: {reason}): check its name and the network, or "
            "save it again"
        ) from error

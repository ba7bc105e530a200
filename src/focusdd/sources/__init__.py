"""Sources of original images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.settings.source import SourceSettings, split_options
from focusdd.sources.base import BoxedSource, Record, Source
from focusdd.sources.demo import DemoSource
from focusdd.sources.disk import files_in
from focusdd.sources.folder import FolderSource, has_class_folders
from focusdd.sources.holdout import HeldOut
from focusdd.sources.names import SPLITS

__all__ = ["BoxedSource", "DemoSource", "FolderSource", "Record", "Source", "open_source"]


def open_source(name: str | Path | Source, split: str = "train") -> Source:
    """Opens a source by the look of its name.

    Args:
        name: a folder of class folders, or one with `train/` and `val/` (or `validation/`, `test/`) inside;
            WebDataset tars or Parquet tables as a folder, a glob or a brace range, also in a store such as
            `s3://`; a Hugging Face dataset as `hf:<name>[:<config>]`, or a folder from `save_to_disk`; or
            "demo" for the built-in generated images ("./demo" is a folder). Settings may follow:
            `photos?holdout=0.1`. An open source stays as it is.
        split: "train" or "val". A source without splits is taken as whichever is asked for.

    Raises:
        FocusError: it is missing, cannot be read, or holds no two classes with images; or there is no such
            split.
    """
    source: Source = opened(name, split, _open)
    return source


def opened(name: Any, split: str, open_bare: Callable[[str | Path, str, SourceSettings], Any]) -> Any:
    """A source under its name with settings, divided where these say so; an open one stays as it is."""
    if not isinstance(name, str | Path):
        return name
    if split not in SPLITS:
        raise FocusError(f"there is no split {split!r}: use train or val, which other names are matched to")
    bare, settings = split_options(str(name))
    whole = settings.holdout is None
    source = open_bare(bare if isinstance(name, str) else Path(bare), split if whole else "train", settings)
    source.name += str(name).removeprefix(bare)
    return (
        source
        if settings.holdout is None
        else HeldOut(source, split, settings.holdout, settings.holdout_seed)
    )


def refuse_options(name: str, settings: SourceSettings, kind: str, *used: str) -> None:
    """Raises FocusError where a setting that the user gave means nothing to this kind of source."""
    for option in sorted(settings.model_fields_set - {"holdout", "holdout_seed", *used}):
        raise FocusError(
            f"--{option.replace('_', '-')} means nothing for {name}, {kind}: leave it out, or say it in the "
            f"name of the source that it is for, as in 'SOURCE?{option}={getattr(settings, option)}'"
        )


def is_demo(name: str | Path) -> bool:
    """Whether a name means the generated images; as a path it means a folder."""
    return isinstance(name, str) and name.partition(":")[0] == "demo"


def _open(name: str | Path, split: str, settings: SourceSettings) -> Source:
    # the readers of tables are imported late: a folder needs none
    from focusdd.sources.files import suffix_of
    from focusdd.sources.hub import HubSource, is_saved
    from focusdd.sources.listed import NO_LIST, SUFFIXES, ListedSource, find_lists

    text, folder = str(name), Path(name)
    columns = ("image_column", "label_column")
    if is_demo(name):
        refuse_options(text, settings, "generated images")
        return DemoSource.parse(text, split)
    saved = is_saved(folder)
    if saved or (isinstance(name, str) and text.startswith("hf:") and not text.startswith("hf://")):
        refuse_options(text, settings, "a table", *columns)
        return HubSource(f"hf:{text}" if saved else text, split, settings)
    suffix = suffix_of(text)
    if suffix == ".tar":
        from focusdd.sources.webdataset import TarSource

        refuse_options(text, settings, "tars")
        return TarSource(text, split)
    if suffix == ".parquet":
        from focusdd.sources.parquet import ParquetSource

        refuse_options(text, settings, "a table", *columns)
        return ParquetSource(text, split, settings)
    flat = folder.is_dir() and not has_class_folders(folder)
    if find_lists(folder, settings) if flat else text.lower().endswith(SUFFIXES) and not folder.is_dir():
        refuse_options(text, settings, "a list of images", *columns)
        return ListedSource(folder, split, settings)
    refuse_options(text, settings, "a folder of images", "classes")
    try:
        return FolderSource(folder, split, settings)
    except FocusError as error:
        if flat and (lists := files_in(folder, *SUFFIXES)):
            raise FocusError(f"{error}; {lists[0]} {NO_LIST}") from error
        raise

"""Sources of original images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.settings.source import SourceSettings, split_options
from focusdd.sources.base import BoxedSource, Record, Source
from focusdd.sources.demo import DemoSource
from focusdd.sources.folder import FolderSource
from focusdd.sources.holdout import HeldOut
from focusdd.sources.options import refuse_options

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
        FocusError: it is missing, cannot be read, or holds no two classes with images.
    """
    if not isinstance(name, str | Path):
        return name
    bare, settings = split_options(str(name))
    source: Any = _open(bare if isinstance(name, str) else Path(bare), split, settings)
    return named(source, str(name).removeprefix(bare), split, settings)


def named(source: Any, suffix: str, split: str, settings: SourceSettings) -> Any:
    """The source under its name with settings, divided where they say so."""
    source.name += suffix
    if settings.holdout is None:
        return source
    return HeldOut(source, split, settings.holdout, settings.holdout_seed)


def _open(name: str | Path, split: str, settings: SourceSettings) -> Source:
    text = str(name)
    split = split if settings.holdout is None else "train"
    if isinstance(name, str) and text.partition(":")[0] == "demo":
        refuse_options(text, settings, "generated images")
        return DemoSource.parse(text, split)
    if isinstance(name, str) and text.startswith("hf:") and not text.startswith("hf://"):
        from focusdd.sources.hub import HubSource

        refuse_options(text, settings, "a table", "image_column", "label_column")
        return HubSource(text, split, settings)
    return _open_files(text, split, settings)


def _open_files(name: str, split: str, settings: SourceSettings) -> Source:
    """Opens what is known by its files. The readers of tables are imported late: a folder needs none."""
    from focusdd.sources import files
    from focusdd.sources.hub import HubSource, is_saved

    folder = Path(name)
    if is_saved(folder):
        return HubSource(f"hf:{name}", split, settings)
    if folder.is_dir() or ("://" in name and not name.lower().endswith(files.SUFFIXES)):
        suffix = files.suffix_in(name)
        if suffix is None and not folder.is_dir():
            raise FocusError(f"{name} holds no .tar or .parquet files: only these are read from a store")
    else:
        suffix = next((suffix for suffix in files.SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix == ".tar" or files.is_compressed(name):
        from focusdd.sources.webdataset import TarSource

        refuse_options(name, settings, "tars")
        return TarSource(name, split)
    if suffix == ".parquet":
        from focusdd.sources.parquet import ParquetSource

        refuse_options(name, settings, "a table", "image_column", "label_column")
        return ParquetSource(name, split, settings)
    refuse_options(name, settings, "a folder of images", "classes")
    return FolderSource(folder, split, settings)

"""Sources of original images."""

from __future__ import annotations

from pathlib import Path

from focusdd.core.errors import FocusError
from focusdd.sources.base import BoxedSource, Record, Source
from focusdd.sources.demo import DemoSource
from focusdd.sources.folder import FolderSource

__all__ = ["BoxedSource", "DemoSource", "FolderSource", "Record", "Source", "open_source"]


def open_source(name: str | Path, split: str = "train") -> Source:
    """Opens a source by the look of its name.

    Args:
        name: a folder of class folders, or one with `train/` and `val/` (or `validation/`, `test/`) inside;
            WebDataset tars or Parquet tables as a folder, a glob or a brace range, also in a store such as
            `s3://`; a Hugging Face dataset as `hf:<name>[:<config>]`, or a folder from `save_to_disk`; or
            "demo" for the built-in generated images ("./demo" is a folder).
        split: "train" or "val". A source without splits is taken as whichever is asked for.

    Raises:
        FocusError: it is missing, cannot be read, or holds no two classes with images.
    """
    text = str(name)
    if isinstance(name, str) and text.partition(":")[0] == "demo":
        return DemoSource.parse(text, split)
    if isinstance(name, str) and text.startswith("hf:") and not text.startswith("hf://"):
        from focusdd.sources.hub import HubSource

        return HubSource(text, split)
    return _open_files(text, split)


def _open_files(name: str, split: str) -> Source:
    """Opens what is known by its files. The readers of tables are imported late: a folder needs none."""
    from focusdd.sources import files
    from focusdd.sources.hub import HubSource, is_saved

    folder = Path(name)
    if is_saved(folder):
        return HubSource(f"hf:{name}", split)
    if folder.is_dir() or ("://" in name and not name.lower().endswith(files.SUFFIXES)):
        suffix = files.suffix_in(name)
        if suffix is None and not folder.is_dir():
            raise FocusError(f"{name} holds no .tar or .parquet files: only these are read from a store")
    else:
        suffix = next((suffix for suffix in files.SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix == ".tar" or files.is_compressed(name):
        from focusdd.sources.webdataset import TarSource

        return TarSource(name, split)
    if suffix == ".parquet":
        from focusdd.sources.parquet import ParquetSource

        return ParquetSource(name, split)
    return FolderSource(folder, split)

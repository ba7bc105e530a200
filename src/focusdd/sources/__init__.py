"""Sources of original images."""

from __future__ import annotations

from pathlib import Path

from focusdd.sources.base import BoxedSource, Record, Source
from focusdd.sources.demo import DemoSource
from focusdd.sources.folder import FolderSource

__all__ = ["BoxedSource", "DemoSource", "FolderSource", "Record", "Source", "open_source"]


def open_source(name: str | Path, split: str = "train") -> Source:
    """Opens a source: an image folder, or "demo" for the built-in generated images ("./demo" is a folder).

    Args:
        name: a folder of class folders, or one with `train/` and `val/` (or `validation/`, `test/`) inside.
        split: "train" or "val". A folder without splits is taken as whichever is asked for.

    Raises:
        FocusError: the folder is missing, or holds no two classes with images.
    """
    if isinstance(name, str) and name.partition(":")[0] == "demo":
        return DemoSource.parse(name, split)
    return FolderSource(Path(name), split)

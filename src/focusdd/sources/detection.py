"""Opening detection datasets by their look."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from focusdd.core.errors import FocusError
from focusdd.settings.source import split_options
from focusdd.sources import named
from focusdd.sources.base import SPLITS, DetectionSource, is_hidden
from focusdd.sources.demo import DemoSource
from focusdd.sources.options import refuse_options


def open_detection_source(name: str | Path | DetectionSource, split: str = "train") -> DetectionSource:
    """Opens a dataset of images with boxes by its look.

    Args:
        name: an Ultralytics YAML file or a folder with data.yaml; a COCO JSON file or a folder with one per
            split; a folder of Pascal VOC XML files; or "demo" for generated images ("./demo" is a folder).
            An open source stays as it is.
        split: "train" or "val". A dataset without splits is taken as whichever is asked for.

    Raises:
        FocusError: it is missing, in no known format, cannot be read, or contradicts itself.
    """
    if not isinstance(name, str | Path):
        return name
    bare, settings = split_options(str(name))
    refuse_options(bare, settings, "a source of boxes")
    source = _open(
        bare if isinstance(name, str) else Path(bare), split if settings.holdout is None else "train"
    )
    return named(source, str(name).removeprefix(bare), split, settings)


def _open(name: str | Path, split: str) -> DetectionSource:
    if isinstance(name, str) and name.partition(":")[0] == "demo":
        return DemoSource.parse(name, split)
    # imported late: reading one format needs no parser of another
    from focusdd.sources.coco import CocoSource, find_json
    from focusdd.sources.voc import VocSource, looks_like_voc

    path = Path(name)
    suffix = path.suffix.lower()
    try:
        if not path.exists():
            raise FocusError(f"there is no file or folder {path}: check the path")
        folder = path.is_dir()
        if not folder and suffix == ".json":
            return CocoSource(path, split)
        if suffix in (".yaml", ".yml") or (folder and _has_yaml(path)):
            from focusdd.sources.yolo import YoloSource

            return YoloSource(path, split)
        if folder and any(find_json(path, each) for each in SPLITS):
            return CocoSource(path, split)
        if folder and looks_like_voc(path):
            return VocSource(path, split)
    except OSError as error:
        raise FocusError(f"{path} cannot be read ({error.strerror}): check the path") from error
    there = f" there are {contents(path)}" if folder else ""
    raise FocusError(
        f"{path} is no detection dataset: looked for data.yaml or another .yaml with names (YOLO), "
        "<split>.json, annotations/instances_<split>*.json or <split>/_annotations.coco.json (COCO), and "
        f"<split>/*.xml, or Annotations/ or annots/ beside images/ (Pascal VOC);{there}"
    )


def contents(folder: Path) -> str:
    """What a folder holds, for a sentence: sub-folders with their files by suffix, and files."""
    parts = []
    for path in sorted(path for path in folder.iterdir() if not is_hidden(path.name)):
        if path.is_dir():
            kinds = Counter(entry.suffix for entry in path.iterdir() if entry.is_file())
            held = ", ".join(f"{count:,} {suffix}" for suffix, count in kinds.most_common(2))
            parts.append(f"{path.name}/" + (f" ({held})" if held else ""))
        else:
            parts.append(path.name)
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "") or "no files"


def _has_yaml(folder: Path) -> bool:
    from focusdd.sources.yolo import find_yaml

    return find_yaml(folder) is not None

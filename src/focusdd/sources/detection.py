"""Opening detection datasets by their look."""

from __future__ import annotations

from pathlib import Path

from focusdd.core.errors import FocusError
from focusdd.settings.source import SourceSettings
from focusdd.sources import is_demo, opened, refuse_options
from focusdd.sources.annotated import AnnotatedSource, Listing
from focusdd.sources.base import DetectionSource
from focusdd.sources.coco import find_coco, read_coco
from focusdd.sources.demo import DemoSource
from focusdd.sources.disk import contents
from focusdd.sources.names import has_val, of_split
from focusdd.sources.voc import find_voc, read_voc
from focusdd.sources.yolo import find_classes, find_yaml, read_yolo


def open_detection_source(name: str | Path | DetectionSource, split: str = "train") -> DetectionSource:
    """Opens a dataset of images with boxes by its look.

    Args:
        name: an Ultralytics YAML file, a folder with data.yaml, or one with classes.txt and labels; a COCO
            JSON file or a folder with one per split; a folder of Pascal VOC XML files; or "demo" for
            generated images ("./demo" is a folder). An open source stays as it is.
        split: "train" or "val". A dataset without splits is taken as whichever is asked for.

    Raises:
        FocusError: it is missing, in no known format, cannot be read, or contradicts itself.
    """
    source: DetectionSource = opened(name, split, _open)
    return source


def _open(name: str | Path, split: str, settings: SourceSettings) -> DetectionSource:
    refuse_options(str(name), settings, "a source of boxes")
    if is_demo(name):
        return DemoSource.parse(str(name), split)
    path = Path(name)
    try:
        if not path.exists():
            raise FocusError(f"there is no file or folder {path}: check the path")
        listing = _listing(path, split)
        there = f"there are {contents(path)}" if path.is_dir() else "unpack it where it is an archive"
    except OSError as error:
        raise FocusError(f"{path} cannot be read ({error.strerror}): check the path") from error
    if listing is None:
        raise FocusError(
            f"{path} is no detection dataset: looked for data.yaml or another .yaml with names, or "
            "classes.txt (YOLO), <split>.json, annotations/instances_<split>*.json or "
            "<split>/_annotations.coco.json (COCO; give a file of another name itself), and *.xml beside the "
            f"images, or in Annotations/ or annots/ beside images/ (Pascal VOC); {there}"
        )
    return AnnotatedSource(path, split, listing)


def _listing(path: Path, split: str) -> Listing | None:
    if path.is_file():
        if path.suffix.lower() in (".yaml", ".yml"):
            return read_yolo(path, split)
        return read_coco(path) if path.suffix.lower() == ".json" else None
    if yaml := find_yaml(path):
        return read_yolo(yaml, split)
    if files := find_coco(path):
        return read_coco(of_split(files, split, path))._replace(has_val=has_val(files))
    if places := find_voc(path):
        return read_voc(places, split, path)
    classes = find_classes(path)
    return read_yolo(classes, split) if classes else None

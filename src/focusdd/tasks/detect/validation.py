"""Validation images beside a dataset, and the `data.yaml` that names them for Ultralytics."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath

from focusdd.core.console import progress, warn
from focusdd.core.images import UnreadableImage, decode
from focusdd.sources.base import DetectionSource
from focusdd.tasks.detect.formats import Annotated, Pictured, data_yaml, yolo_label
from focusdd.tasks.written import Content

_IMAGES, _LABELS = "images/val", "labels/val"


def beside(source: DetectionSource, val: DetectionSource | None) -> dict[str, Content]:
    """`data.yaml`, and copies of validation images with their labels where there are any.

    Images that cannot be read are left out. Ultralytics knows no crowds: their boxes are left out.
    """
    yaml = data_yaml(source.class_names, _IMAGES if val is not None else "")
    files: dict[str, Content] = {"data.yaml": lambda: yaml}
    if val is None:
        return files
    unreadable, crowds = [], 0
    with progress("read", len(val.records), "images") as advance:
        for number, record in enumerate(val.records):
            advance(1, "")
            try:
                _, width, height = decode(val.read(record.key), least_side=1)
                objects = val.objects(record.key, width, height)
            except UnreadableImage as error:
                unreadable.append(f"{record.key} ({error})")
                continue
            crowds += int(objects.ignored.sum())
            columns = (column.tolist() for column in (objects.labels, objects.boxes, objects.ignored))
            shown = zip(*columns, strict=True)
            boxes = [Annotated(label, tuple(box), {}, ignored) for label, box, ignored in shown]
            name = PurePosixPath(f"{number:06d}_{PurePosixPath(record.key).name}")
            label = yolo_label(Pictured(name.name, width, height, boxes))
            files[f"{_IMAGES}/{name}"] = partial(val.read, record.key)
            files[f"{_LABELS}/{name.stem}.txt"] = partial(str, label)
    if unreadable:
        warn(f"{len(unreadable)} images of {val.name} are left out, the first: {unreadable[0]}")
    if crowds:
        warn(f"{crowds} crowds and difficult objects of {val.name} have no label in {_LABELS}/")
    return files

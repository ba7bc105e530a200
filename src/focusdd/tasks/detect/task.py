"""Detection: boxes and labels of objects, and detectors that find them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from focusdd.composition.dataset import rendered
from focusdd.core.console import warn
from focusdd.core.errors import FocusError
from focusdd.core.files import json_text
from focusdd.core.spelling import number_of
from focusdd.extraction.index import Index
from focusdd.selection.subset import Candidates
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import DetectionSource
from focusdd.sources.detection import open_detection_source
from focusdd.sources.understood import in_kinds
from focusdd.tasks.base import Distillation, OpenedImage, Subsetting, Task
from focusdd.tasks.detect.compose import (
    BOXED,
    IMAGES,
    LABELS,
    Pictured,
    beside,
    coco,
    warn_of_crowds,
    yolo_label,
)
from focusdd.tasks.detect.distilled import open_detection
from focusdd.tasks.detect.rows import EXTRACTION, object_table
from focusdd.tasks.detect.scale import default_context, default_size, object_sizes
from focusdd.tasks.detect.scenes import Scenes, sides
from focusdd.tasks.detect.select import focus_scenes, pasted_scenes, quotas, random_scenes, selected_scenes
from focusdd.tasks.detect.trials import COMPARISON

_LEAST_CELL = 32  # pixels


def defaults_of(source: DetectionSource, settings: DetectDistillSettings) -> dict[str, Any]:
    """The size of distilled images and the surroundings of objects where the settings name none."""
    found: dict[str, Any] = {}
    if settings.size is None or settings.context is None:
        sizes = object_sizes(source)
        found = {"size": default_size(sizes), "context": default_context(sizes, settings.grid)}
    return {name: value for name, value in found.items() if getattr(settings, name) is None}


def check(source: DetectionSource, settings: DetectDistillSettings) -> None:
    """Raises FocusError for resolved settings with too small a budget or no room for windows."""
    _wanted(source, settings)
    if settings.method != "focus":
        return
    grid = settings.grid
    if settings.size // grid < _LEAST_CELL:
        raise FocusError(
            f"a {grid} x {grid} grid on {settings.size} px makes tiles under {_LEAST_CELL} px: use a smaller "
            "--grid or a larger --size"
        )
    if settings.views >= grid**2 + (settings.layout == "pack"):
        raise FocusError(
            f"{number_of(settings.views, 'view leaves', 'views leave')} no room for patches on a "
            f"{grid} x {grid} grid: use fewer --views"
        )


def choose_scenes(
    source: DetectionSource, settings: DetectDistillSettings, index: Index | None, *_: object
) -> Scenes:
    """The scenes of a method, from resolved settings.

    Args:
        index: for the methods that choose among what the extractor found.

    Raises:
        FocusError: no object can be shown with its label.
    """
    wanted = _wanted(source, settings)
    if index is not None:
        choose = focus_scenes if settings.method == "focus" else selected_scenes
        scenes = choose(object_table(index), settings, settings.size, wanted)
    else:
        make = pasted_scenes if settings.method == "paste" else random_scenes
        scenes = make(source, settings, settings.size, sum(wanted))
    if not any(one.kept for tile in scenes.tiles for one in tile.objects):
        raise FocusError(
            f"no object of {source.name} can be shown with its label on {settings.size} px: use a lower "
            "--min-size or --visible, or a larger --size"
        )
    return scenes


def images_of(source: DetectionSource, settings: DetectDistillSettings) -> int:
    """Distilled images that are asked for; 0 for all of the source."""
    return 0 if settings.method == "full" else sum(_wanted(source, settings))


def _wanted(source: DetectionSource, settings: DetectDistillSettings) -> list[int]:
    return quotas(settings, len(source.records), source.class_counts)


def _describe(
    source: DetectionSource, settings: DetectDistillSettings, scenes: Scenes, index: Index | None
) -> dict[str, Any]:
    """What distilled.json says of scenes, and warnings of what deserves one."""
    objects = [one for tile in scenes.tiles for one in tile.objects]
    kept = [one for one in objects if one.kept]
    masked, size, images = len(objects) - len(kept), settings.size, len(list(scenes.images()))
    labelled = Counter(one.label for one in kept)
    if images < (wanted := images_of(source, settings)):
        warn(f"{images} of {wanted} images are made: no more can be read and shown with their labels")
    before = dict(enumerate(index.info["class_counts"])) if index is not None else {}
    views = [one.kept for tile in scenes.tiles if tile.kind != "patch" for one in tile.objects]
    if views and 2 * sum(views) < len(views):
        warn(
            f"whole images label {number_of(sum(views), 'object')} and mask {len(views) - sum(views)}, most "
            f"of them too small for a label at {size} px: use a larger --size, or --views 0"
        )
    nothing = [name for name, count in zip(source.classes, source.class_counts, strict=True) if not count]
    if scenes.skipped:
        warn(f"images that cannot be read were skipped: {in_kinds(scenes.skipped)}")
    without = "class has no objects and gets no images", "classes have no objects and get no images"
    lacking = number_of(len(scenes.lacking), "class", "classes")
    for names, words in (
        (nothing, number_of(len(nothing), *without)),
        (scenes.lacking, f"nothing of {lacking} can be shown with its label; others get their images"),
    ):
        if names:
            warn(f"{words}: {', '.join(names[:5])}")
    distilled = np.median(sides(np.array([one.box for one in kept])), axis=0)
    return {
        "ipc": round(images / len(source.classes), 2),
        "images": images,
        "objects": {name: labelled.get(label, 0) for label, name in enumerate(source.classes)},
        "source_objects": {name: before.get(label) for label, name in enumerate(source.classes)},
        "masked": masked,
        "refused": scenes.refused,
        "object_size": {
            "source": [round(value, 1) for value in object_sizes(source).median(size)],
            "distilled": [round(float(value), 1) for value in distilled],
        },
        "skipped": [list(item) for item in scenes.skipped],
    }


def _counts(info: dict[str, Any]) -> dict[str, Any]:
    return {"images": info["images"], "objects": sum(info["objects"].values())}


def _summary(info: dict[str, Any]) -> str:
    before, after = (
        " x ".join(f"{value:g}" for value in info["object_size"][name]) for name in ("source", "distilled")
    )
    labelled = number_of(sum(info["objects"].values()), "labelled object")
    masked = number_of(
        info["masked"], "that would have lost its label is", "that would have lost their label are"
    )
    refused = number_of(info["refused"], "window or image was", "windows and images were")
    return (
        f"{labelled} in {number_of(info['images'], 'image')}; {masked} masked, {refused} refused\n"
        f"the median object has {after} px at {info['size']} px, in whole images {before} px"
    )


def _card(info: dict[str, Any]) -> str:
    return rendered(Path(__file__).with_name("card.md"), info, objects=sum(info["objects"].values()))


DISTILLATION = Distillation(
    version=3,
    settings=DetectDistillSettings,
    with_index=("focus", "selection"),
    plan=choose_scenes,
    drawing=BOXED,
    describe=_describe,
    fields=(
        *("key", "task", "method", "ipc", "images", "size", "seed", "source", "source_images"),
        *("extractor", "index", "classes", "class_names", "objects", "source_objects", "masked"),
        *("refused", "object_size", "skipped", "short_classes", "settings"),
    ),
    card=_card,
    counts=_counts,
    open=open_detection,
    images=images_of,
    facts=defaults_of,
    check=check,
    unit="objects",
    summary=_summary,
    beside=beside,
)


def _candidates(source: DetectionSource, index: Index | None) -> Candidates:
    """The score of an image is the mean realism of its objects."""
    if index is None:
        keys = [record.key for record in source.records]
        score, features = np.zeros(len(keys)), None
    else:
        if "feature" not in pq.read_schema(index.parts()[0]).names:
            raise FocusError(
                f"the index {index.folder} is of an earlier version, without features of images: leave "
                "--index away to make a new one"
            )
        table = object_table(index)
        keys, good = table.keys, ~table.all.ignored
        sums = np.bincount(table.image_of[good], (table.confidence * table.mass)[good], len(keys))
        score = sums / np.maximum(np.bincount(table.image_of[good], minlength=len(keys)), 1)
        features = index.features()
    labels = [np.unique(source.labels_of(key)) for key in keys]
    rows = np.repeat(np.arange(len(keys)), [len(own) for own in labels])
    flat = np.concatenate([np.empty(0, int), *labels])
    shown = [rows[flat == label] for label in range(len(source.classes))]
    counts = np.array([len(one) for one in shown])
    groups = [own[counts[own].argmin()] if len(own) else len(counts) for own in labels]
    return Candidates(keys, shown, np.array(groups, int), score, features, several=True)


def _about(source: DetectionSource, images: Sequence[OpenedImage]) -> dict[str, str]:
    pictured = [
        Pictured.original(PurePosixPath(one.file).name, one.width, one.height, one.key, one.notes)
        for one in images
    ]
    labels = {f"{LABELS}/{PurePosixPath(image.file).stem}.txt": yolo_label(image) for image in pictured}
    warn_of_crowds(sum(one.crowd for image in pictured for one in image.objects), source.name, LABELS)
    return {**labels, "annotations.json": json_text(coco(pictured, source.class_names))}


SUBSETTING = Subsetting(
    _candidates,
    folder=lambda source, label: IMAGES,
    notes=lambda source, *image: source.objects(*image),
    about=_about,
)

DETECT = Task(
    name="detect",
    words="object detection",
    prefix="detect ",
    open_source=open_detection_source,
    extraction=EXTRACTION,
    distillation=DISTILLATION,
    comparison=COMPARISON,
    subsetting=SUBSETTING,
)

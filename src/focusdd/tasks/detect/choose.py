"""What a distilled detection dataset will hold: its size, how many images of which class, and its scenes."""

from __future__ import annotations

from typing import Any

import numpy as np

from focusdd.core.console import warn
from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import DetectionSource
from focusdd.tasks.detect.baselines import pasted_scenes, random_scenes
from focusdd.tasks.detect.objects import object_table
from focusdd.tasks.detect.scale import default_context, default_size, object_sizes
from focusdd.tasks.detect.scenes import Scenes
from focusdd.tasks.detect.select import check_layout, focus_scenes, quotas, selected_scenes


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
    check_layout(settings, settings.size)


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


def facts_of(source: DetectionSource, scenes: Scenes, size: int) -> dict[str, Any]:
    """What distilled.json says of the objects of scenes, and warnings of what deserves one."""
    shown = [one for tile in scenes.tiles for one in tile.objects]
    boxes = np.array([one.box for one in shown if one.kept])
    distilled = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    views = [one.kept for tile in scenes.tiles if tile.kind != "patch" for one in tile.objects]
    if views and 2 * sum(views) < len(views):
        warn(
            f"whole images label {sum(views)} objects and mask {len(views) - sum(views)}, most of them too "
            f"small for a label at {size} px: use a larger --size, or --views 0"
        )
    nothing = [name for name, count in zip(source.classes, source.class_counts, strict=True) if not count]
    for names, words in (
        (nothing, "{} classes have no objects and get no images: {}"),
        (scenes.lacking, "nothing of {} classes can be shown with its label; others get their images: {}"),
        (
            [f"{key} ({reason})" for key, reason in scenes.skipped],
            "{} images cannot be read and were skipped: {}",
        ),
    ):
        if names:
            warn(words.format(len(names), ", ".join(names[:5])))
    return {
        "masked": sum(not one.kept for one in shown),
        "refused": scenes.refused,
        "object_size": {
            "source": [round(value, 1) for value in object_sizes(source).median(size)],
            "distilled": [round(float(value), 1) for value in distilled],
        },
        "skipped": [list(item) for item in scenes.skipped],
    }

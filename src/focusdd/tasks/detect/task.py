"""Detection: boxes and labels of objects, and detectors that find them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from focusdd.extraction.index import Index
from focusdd.settings import DetectDistillSettings
from focusdd.sources.base import DetectionSource
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.base import Distillation, Task
from focusdd.tasks.detect.choose import check, choose_scenes, defaults_of, facts_of, images_of
from focusdd.tasks.detect.compose import BOXED
from focusdd.tasks.detect.distilled import open_detection
from focusdd.tasks.detect.rows import EXTRACTION
from focusdd.tasks.detect.scenes import Scenes
from focusdd.tasks.detect.select import WITH_INDEX
from focusdd.tasks.detect.subset import SUBSETTING
from focusdd.tasks.detect.trials import COMPARISON
from focusdd.tasks.detect.validation import beside


def _describe(
    source: DetectionSource, settings: DetectDistillSettings, scenes: Scenes, index: Index | None
) -> dict[str, Any]:
    kept = Counter(one.label for tile in scenes.tiles for one in tile.objects if one.kept)
    before = dict(enumerate(index.info["class_counts"])) if index is not None else {}
    images = len(list(scenes.images()))
    return {
        "ipc": round(images / len(source.classes), 2),
        "images": images,
        "objects": {name: kept.get(label, 0) for label, name in enumerate(source.classes)},
        "source_objects": {name: before.get(label) for label, name in enumerate(source.classes)},
        **facts_of(source, scenes, settings.size),
    }


def _counts(info: dict[str, Any]) -> dict[str, Any]:
    return {"images": info["images"], "objects": sum(info["objects"].values())}


def _summary(info: dict[str, Any]) -> str:
    before, after = (
        " x ".join(f"{value:g}" for value in info["object_size"][name]) for name in ("source", "distilled")
    )
    return (
        f"{sum(info['objects'].values())} labelled objects in {info['images']} images; {info['masked']} that "
        f"would have lost their label are masked, {info['refused']} windows and images were refused\n"
        f"the median object has {after} px at {info['size']} px, in whole images {before} px"
    )


def _card(info: dict[str, Any]) -> str:
    """The dataset card (README.md) in the Hugging Face form."""
    objects = sum(info["objects"].values())
    extractor = info["extractor"]
    by = f" Class attention by `{extractor['name']}`." if extractor else ""
    return f"""---
license: other
license_name: that-of-the-source-images
task_categories:
- object-detection
tags:
- dataset-distillation
- focusdd
---
# A distilled dataset for object detection

{info["images"]} images of {info["size"]} x {info["size"]} pixels with {objects} labelled objects of
{len(info["classes"])} classes, made by focusdd from {info["source_images"]:,} images with the method
`{info["method"]}`.{by}

- `data.yaml`, `images/train/`, `labels/train/`: as Ultralytics reads them. Put the path of your validation
  images behind `val`.
- `annotations.json`: the same boxes in COCO's format, each with the source image and object it comes from.
- `plan.parquet`: every window of a source image with its place on the canvas, and every object in it: its
  whole box in the source image, what is visible of it here, and whether it is labelled or masked.
- `distilled.json`: what made it, with which settings and seed.

An object that would be visible without a label is masked in grey: {info["masked"]} are. Boxes are half-open,
in pixels, x before y.

The images are parts of the source's images: the source's licence and terms apply to them.

```json
{json.dumps(info["settings"], indent=1)}
```
"""


DISTILLATION = Distillation(
    version=3,
    settings=DetectDistillSettings,
    with_index=WITH_INDEX,
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

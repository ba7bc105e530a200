"""`detect distill`: extract when there is no index yet, select, compose."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from focusdd.core.console import say, warn
from focusdd.core.errors import FocusError
from focusdd.core.files import write_json, write_whole
from focusdd.core.manifest import CARD
from focusdd.core.stage import Stage, Workspace, replacing, run_stage
from focusdd.extraction.index import Index, open_index
from focusdd.settings import DetectDistillSettings, EngineSettings, ExtractorSettings
from focusdd.settings.resolve import not_given, settle
from focusdd.sources.base import DetectionSource
from focusdd.sources.identity import content_hashes
from focusdd.tasks.detect.baselines import pasted_scenes, random_scenes
from focusdd.tasks.detect.compose import compose_scenes, files_of
from focusdd.tasks.detect.distilled import DistilledDetection, open_detection
from focusdd.tasks.detect.extract import extract_objects
from focusdd.tasks.detect.objects import object_table
from focusdd.tasks.detect.scenes import Scenes
from focusdd.tasks.detect.select import WITH_INDEX, focus_scenes, selected_scenes

VERSION = 2


def distill(
    source: DetectionSource,
    out: Path | str,
    settings: DetectDistillSettings | None = None,
    *,
    index: Index | Path | str | None = None,
    extract: ExtractorSettings | None = None,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> DistilledDetection:
    """Makes a distilled dataset for object detection.

    Args:
        index: what `extract_objects` made of this source; made in a folder `out`-index when it is not given
            and the method needs one.
        extract: how to extract when there is no index yet.
        engine: where images are read, for the index and for the result; default: here.

    Raises:
        FocusError: the index is of another source, the budget is too small, or `out` holds something else.
    """
    resolved, out = settle(settings or DetectDistillSettings()), Path(out)
    settings = resolved.settings
    if settings.size // settings.grid < 32:
        raise FocusError(
            f"a {settings.grid} x {settings.grid} grid on {settings.size} px makes tiles under 32 px: "
            "use a smaller --grid or a larger --size"
        )
    reader = "extractor" if index is None else "--index"
    if settings.method not in WITH_INDEX:
        reader = f"method {settings.method}"
        if index is not None:
            warn(f"--index has no effect with {reader}")
    extract = settle(extract or ExtractorSettings(), reader=reader, task="object detection").settings
    inputs = {"source": source.fingerprint}
    found = None
    if settings.method in WITH_INDEX:
        found = _index(source, out, index, extract, overwrite, engine)
        inputs |= {"index": found.key, "content": found.info["content"]}

    def make(work: Workspace) -> dict[str, Any]:
        with work.record.measure("select"):
            scenes = _scenes(source, settings, found)
            scenes = scenes.with_hashes(
                found.hashes if found else content_hashes(source, (tile.key for tile in scenes.tiles))
            )
        if not scenes.tiles:
            raise FocusError(f"nothing of {source.name} can be shown with its labels: use a lower --visible")
        work.declare([*files_of(scenes, settings), "distilled.json", CARD])
        with work.record.measure("compose"):
            images = compose_scenes(source, scenes, out, settings, source.class_names, work.key, engine)
        description = _description(source, settings, scenes, found, work.key, out) | {
            "settings": resolved.key
        }
        write_json(out / "distilled.json", description)
        if not (out / CARD).exists():  # people edit it
            write_whole(out / CARD, card(description))
        work.record.note(images=images)
        _say(description)
        return {"images": images, "objects": sum(description["objects"].values())}

    stage = Stage("detect distill", VERSION, resolved.key, inputs)
    return open_detection(run_stage(stage, out, make, overwrite))


def _index(
    source: DetectionSource,
    out: Path,
    index: Index | Path | str | None,
    reading: ExtractorSettings,
    overwrite: bool,
    engine: EngineSettings | None,
) -> Index:
    if index is None:
        folder = out.with_name(out.name + "-index")
        wanted = not_given(reading)
        return replacing(
            lambda anew: extract_objects(source, folder, wanted, overwrite=anew, engine=engine), overwrite
        )
    if not isinstance(index, Index):
        index = open_index(index)
    if index.info.get("task") != "detect" or index.info["source"]["fingerprint"] != source.fingerprint:
        raise FocusError(
            f"the index {index.folder} was made of another source or an earlier state of it "
            f"({index.info['source']['name']}), not of {source.name} and its boxes as they are now: leave "
            "--index away to make a new one"
        )
    return index


def _scenes(source: DetectionSource, settings: DetectDistillSettings, index: Index | None) -> Scenes:
    if index is not None:
        choose = focus_scenes if settings.method == "focus" else selected_scenes
        return choose(object_table(index), settings)
    choose_from = pasted_scenes if settings.method == "paste" else random_scenes
    return choose_from(source, settings)


def _description(
    source: DetectionSource,
    settings: DetectDistillSettings,
    scenes: Scenes,
    index: Index | None,
    key: str,
    out: Path,
) -> dict[str, Any]:
    kept = Counter(one.label for tile in scenes.tiles for one in tile.objects if one.kept)
    before = dict(enumerate(index.info["class_counts"])) if index is not None else {}
    images = [name for name, _ in scenes.images()]
    return {
        "key": key,
        "task": "detect",
        "method": settings.method,
        "ipc": round(len(images) / len(source.classes), 2),
        "images": len(images),
        "size": settings.size,
        "seed": settings.seed,
        "source": {"name": source.name, "split": source.split, "fingerprint": source.fingerprint},
        "source_images": len(source.records),
        "extractor": index.info["extractor"] if index is not None else None,
        "index": os.path.relpath(index.folder, out) if index is not None else None,
        "classes": list(source.classes),
        "class_names": list(source.class_names),
        "objects": {name: kept.get(label, 0) for label, name in enumerate(source.classes)},
        "source_objects": {name: before.get(label) for label, name in enumerate(source.classes)},
        "masked": sum(not one.kept for tile in scenes.tiles for one in tile.objects),
        "refused": scenes.refused,
        "short_classes": list(scenes.short),
    }


def _say(info: dict[str, Any]) -> None:
    few = ", ".join(info["short_classes"][:5])
    if few:
        warn(f"{len(info['short_classes'])} classes have too few objects, theirs are used again: {few}")
    objects = sum(info["objects"].values())
    say(
        f"{objects} labelled objects in {info['images']} images; {info['masked']} that would have lost their "
        f"label are masked, {info['refused']} windows and images were refused"
    )


def card(info: dict[str, Any]) -> str:
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

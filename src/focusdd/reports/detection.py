"""What the page shows of detection: average precision, distilled images with boxes, objects by class."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from focusdd.core.errors import FocusError
from focusdd.core.files import read_json
from focusdd.core.images import decode
from focusdd.reports.collect import Found, Stage, as_written
from focusdd.reports.looks import PATCH_COLOUR, marked, photo
from focusdd.tasks.detect.compose import IMAGES, kept
from focusdd.tasks.detect.scenes import Scenes, Tile

METHODS = ("focus", "paste", "selection", "random", "full")
DISTILL, TRAIN = "detect distill", "detect train"
_GALLERIES = 12
_PICTURES = 8  # of a distilled dataset
_SIDE = 320  # pixels of a picture
_CLASS_ROWS = 100


@dataclass(frozen=True)
class Row:
    """One line of the results: detectors that differ in nothing but the seed. Precision is a fraction."""

    val: tuple[str, int]
    method: str
    variant: str
    """Settings of distilling that tell this row from others of the same method, in words."""
    images: int
    objects: int
    detector: str
    size: int
    steps: int
    map: list[float]
    map50: list[float]
    seconds: list[float]
    """Of training."""


def detection(found: Found) -> dict[str, Any] | None:
    """The content of the section on detection; None where the folder holds none."""
    datasets = [
        (stage, _info(stage))
        for stage in found.stages
        if stage.name == DISTILL and _has(stage, "distilled.json")
    ]
    rows = _rows(
        [stage for stage in found.stages if stage.name == TRAIN and _has(stage, "result.json")], datasets
    )
    if not datasets and not rows:
        return None
    datasets.sort(key=lambda pair: (_rank(pair[1]["method"]), pair[1]["images"], pair[1]["seed"]))
    shown = [pair for pair in datasets if pair[1]["method"] != "full" and pair[1]["seed"] == 0] or datasets
    return {
        "rows": rows,
        "sources": list(
            dict.fromkeys((str(i["source"]["name"]), int(i["source_images"])) for _, i in datasets)
        ),
        "galleries": [_gallery(*pair) for pair in shown[:_GALLERIES]],
        "classes": _classes([info for _, info in shown]),
    }


def _has(stage: Stage, name: str) -> bool:
    return (stage.folder / name).exists()


def _rank(method: str) -> tuple[int, str]:
    return (METHODS.index(method) if method in METHODS else len(METHODS)), method


def _info(stage: Stage) -> dict[str, Any]:
    path = stage.folder / "distilled.json"
    with as_written(path):
        info = read_json(path)
        kinds = {"key": str, "method": str, "images": int, "size": int, "seed": int, "objects": dict,
                 "source_objects": dict, "source": dict, "source_images": int, "class_names": list,
                 "classes": list, "masked": int, "refused": int, "settings": dict}  # fmt: skip
        for name, kind in kinds.items():
            if not isinstance(info[name], kind):
                raise TypeError(f"{name} is {info[name]!r}")
        return info


def _rows(trained: list[Stage], datasets: list[tuple[Stage, dict[str, Any]]]) -> list[Row]:
    infos = {info["key"]: info for _, info in datasets}
    groups: dict[tuple[Any, ...], list[tuple[dict[str, Any], Stage]]] = defaultdict(list)
    for stage in {stage.key: stage for stage in trained}.values():
        path = stage.folder / "result.json"
        with as_written(path):
            result = read_json(path)
            made, recipe = result["distilled"], dict(result["settings"])
            float(result["map"]), float(result["map50"]), recipe.pop("seed")
            same = (str(result["val"]["name"]), int(result["val"]["images"]), str(made["method"]),
                    _settings(infos.get(made["key"])), int(made["images"]), str(result["detector"]),
                    int(result["steps"]), _words(recipe))  # fmt: skip
            groups[same].append((result, stage))
    rows = []
    for (name, images, method, settings, count, detector, steps, _), members in groups.items():
        others = [other[3] for other in groups if other[:3] == (name, images, method)]
        variant = ", ".join(word for word in settings if not all(word in other for other in others))
        results = [result for result, _ in members]
        known = [infos[r["distilled"]["key"]] for r in results if r["distilled"]["key"] in infos]
        rows.append(
            Row(
                (name, images),
                method,
                variant,
                count,
                max((sum(info["objects"].values()) for info in known), default=0),
                detector,
                int(results[0]["settings"]["size"]),
                steps,
                [float(result["map"]) for result in results],
                [float(result["map50"]) for result in results],
                [stage.run.seconds.get("train", 0.0) for _, stage in members if stage.run],
            )
        )
    return sorted(rows, key=lambda row: (row.val, row.detector, row.images, _rank(row.method), row.variant))


def _words(settings: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name.replace('_', ' ')} {value}" for name, value in sorted(settings.items()))


def _settings(info: dict[str, Any] | None) -> tuple[str, ...]:
    """How a dataset was made, but for its seed and its number of images, which have places of their own."""
    apart = {"seed", "ipc", "budget", "ratio", "method"}
    made = dict(info["settings"]) if info else {}
    return _words({name: value for name, value in made.items() if name not in apart})


def _gallery(stage: Stage, info: dict[str, Any]) -> dict[str, Any]:
    gallery: dict[str, Any] = {"stage": stage, "info": info, "problem": "", "pictures": []}
    with as_written(stage.folder / "plan.parquet"):
        images = list(Scenes.from_table(pq.read_table(stage.folder / "plan.parquet")).images())
    count = min(_PICTURES, len(images))
    names = [str(name) for name in info["class_names"]]
    try:
        for number in range(count):
            name, tiles = images[number * len(images) // count]
            gallery["pictures"].append(_picture(stage.folder / IMAGES, name, tiles, int(info["size"]), names))
    except (FocusError, OSError, IndexError) as error:
        gallery["problem"] = str(error)
    return gallery


def _picture(folder: Path, name: str, tiles: list[Tile], size: int, names: list[str]) -> dict[str, Any]:
    path = next((path for path in sorted(folder.glob(f"{name}.*"))), folder / name)
    image = decode(path.read_bytes())[0]
    image.thumbnail((_SIDE, _SIDE))
    boxes = [(one.box, PATCH_COLOUR) for one in kept(tiles)]
    labels = list(dict.fromkeys(names[one.label] for one in kept(tiles)))
    lines = [
        {
            "tile": tile,
            "objects": [(names[one.label], one) for one in tile.objects],
        }
        for tile in tiles
    ]
    return {
        "name": name,
        "uri": photo(marked(image, boxes, (size, size)), _SIDE),
        "count": len(boxes),
        "labels": labels,
        "lines": lines,
    }


def _classes(infos: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Labelled objects by class, of the source where an index counted them, and of each dataset."""
    if not infos:
        return None
    folders = infos[0]["classes"]
    same = [info for info in infos if info["classes"] == folders]
    source = next((i["source_objects"] for i in same if None not in i["source_objects"].values()), None)
    titles = {f"{info['method']}, {info['images']} images": info["objects"] for info in same}
    lines = [
        (
            str(name),
            source.get(folder) if source else None,
            [counts.get(folder, 0) for counts in titles.values()],
        )
        for folder, name in zip(folders, infos[0]["class_names"], strict=True)
    ]
    return {
        "titles": list(titles),
        "source": source is not None,
        "lines": lines[:_CLASS_ROWS],
        "left_out": max(0, len(lines) - _CLASS_ROWS),
    }

"""What the page shows of detection beside the results: distilled images with boxes, objects by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.reports.collect import FoundDistilled
from focusdd.reports.looks import PATCH_COLOUR, marked, photo
from focusdd.tasks.detect.compose import IMAGES, kept
from focusdd.tasks.detect.scenes import Tile

_GALLERIES = 12
_PICTURES = 8  # of a distilled dataset
_SIDE = 320  # pixels of a picture
_CLASS_ROWS = 100


def detection(datasets: list[FoundDistilled]) -> dict[str, Any] | None:
    """The content of the section on detection; None without a distilled dataset with boxes."""
    if not datasets:
        return None
    infos = [data.data.info for data in datasets]
    first = [data for data in datasets if data.data.info["method"] != "full" and data.data.info["seed"] == 0]
    shown = first or datasets
    return {
        "sources": list(dict.fromkeys((str(i["source"]["name"]), int(i["source_images"])) for i in infos)),
        "galleries": [_gallery(data) for data in shown[:_GALLERIES]],
        "classes": _classes([data.data.info for data in shown]),
    }


def _gallery(data: FoundDistilled) -> dict[str, Any]:
    info = data.data.info
    gallery: dict[str, Any] = {"title": data.title, "stage": data.stage, "info": info, "problem": ""}
    images, pictures = list(data.plan.images()), []
    count = min(_PICTURES, len(images))
    names = [str(name) for name in info["class_names"]]
    try:
        for number in range(count):
            name, tiles = images[number * len(images) // count]
            pictures.append(_picture(data.stage.folder / IMAGES, name, tiles, int(info["size"]), names))
    except (FocusError, OSError, IndexError) as error:
        gallery["problem"] = str(error)
    return gallery | {"pictures": pictures}


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

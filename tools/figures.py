"""Writes the pictures of README and the documents, of the generated images of `focusdd demo` and its ViT.

python tools/figures.py
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

import focusdd
from focusdd.demo.run import WEIGHTS
from focusdd.reports.looks import marked, overlay

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
SIDE = 256  # of a distilled image and of every picture, pixels
GAP = 8
CLASS = "7-seven"
Box = tuple[float, float, float, float]


def main() -> None:
    source = focusdd.open_source("demo:40")
    ASSETS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        index = focusdd.extract(source, Path(folder) / "index", extractor=str(WEIGHTS / "vit"))
        rows = index.table(["key", "attention"])
        keys, attention = rows["key"].to_pylist(), index.attention(rows)

        def distilled(views: int) -> focusdd.Distilled:
            out = Path(folder) / f"views-{views}"
            return focusdd.distill(source, out, ipc=1, views=views, keep=0, size=SIDE, index=index)

        def image_of(key: str) -> Image.Image:
            return Image.open(io.BytesIO(source.read(key)))

        def attended(key: str, box: Box) -> Image.Image:
            image, grid = image_of(key), attention[keys.index(key)]
            return marked(overlay(image, grid / grid.max()), [(box, "white")], image.size)

        tiny = distilled(2)
        patches = {tile.key.split("/")[0]: tile for tile in tiny.plan().tiles if tile.kind == "patch"}
        seven = patches[CLASS]
        save("photograph", image_of(seven.key))
        save("attention", attended(seven.key, seven.box))
        save("key-patch", image_of(seven.key).crop(seven.box))
        save("distilled", first(tiny))
        save("layouts", *(first(distilled(views)) for views in (4, 2, 0)))
        others = list(patches.values())[:4]
        save("attended", *(attended(tile.key, tile.box) for tile in others))


def first(tiny: focusdd.Distilled) -> Image.Image:
    """The first distilled image of the class."""
    return Image.open(tiny.folder / "train" / CLASS / f"{CLASS}_00000.jpg").convert("RGB")


def save(name: str, *pictures: Image.Image) -> None:
    """Pictures side by side, each a square."""
    sheet = Image.new("RGB", (len(pictures) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (place * (SIDE + GAP), 0))
    sheet.save(ASSETS / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()

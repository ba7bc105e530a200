"""Writes the pictures in README: a photograph, its class attention, its key patch, and a distilled image.

The photographs are the generated ones of `focusdd demo`; the ViT is the one in the package.

python tools/picture_strip.py
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
CLASS = "7-seven"


def main() -> None:
    source = focusdd.open_source("demo:40")
    with tempfile.TemporaryDirectory() as folder:
        tiny = focusdd.distill(
            source, Path(folder) / "tiny", ipc=1, views=2, keep=0, size=SIDE, extractor=str(WEIGHTS / "vit")
        )
        tiles = tiny.plan().tiles
        index = focusdd.open_index(Path(folder) / "tiny-index")
        distilled = Image.open(tiny.folder / "train" / CLASS / f"{CLASS}_00000.jpg").convert("RGB")
        rows = index.table(["key", "attention"])
    tile = next(one for one in tiles if one.kind == "patch" and one.key.startswith(CLASS))
    attention = index.attention(rows)[rows["key"].to_pylist().index(tile.key)]
    photograph = Image.open(io.BytesIO(source.read(tile.key)))
    seen = overlay(photograph, attention / attention.max())
    pictures = {
        "photograph": photograph,
        "attention": marked(seen, [(tile.box, "white")], photograph.size),
        "key-patch": photograph.crop(tile.box),
        "distilled": distilled,
    }
    ASSETS.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(ASSETS / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()

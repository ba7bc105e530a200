"""Data sets that benchmarks use for classification, as train/<class>/ and val/<class>/ folders of links.

    python benchmarks/class_folders.py coco DATA OUT      # DATA/{train,val}.json + images: one box an image
    python benchmarks/class_folders.py cub DATA OUT       # CUB's images.txt, classes.txt, train_test_split.txt
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def of_coco(data: Path) -> Iterator[tuple[Path, str]]:
    """Every image with the class of its object and its split: (file, "split/class")."""
    for split in ("train", "val"):
        told = json.loads((data / f"{split}.json").read_text())
        names = {one["id"]: one["name"] for one in told["categories"]}
        label = {one["image_id"]: names[one["category_id"]] for one in told["annotations"]}
        for image in told["images"]:
            yield data / split / image["file_name"], f"{split}/{label[image['id']]}"


def of_cub(data: Path) -> Iterator[tuple[Path, str]]:
    """The same for CUB-200-2011's text files; its test images are the validation images."""

    def table(name: str) -> dict[str, str]:
        rows = (line.replace(",", " ").split() for line in (data / name).read_text().splitlines() if line)
        return {row[0]: row[1] for row in rows}

    names, label = table("classes.txt"), table("image_class_labels.txt")
    test = table("train_test_split.txt")  # 1 marks the 2,903 test images in the copy with 100 classes
    for image, path in table("images.txt").items():
        split = "val" if test[image] == "1" else "train"
        yield data / "images" / path, f"{split}/{names[label[image]]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["coco", "cub"])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    files = 0
    for path, folder in (of_coco if options.kind == "coco" else of_cub)(options.data):
        there = options.out / folder / (path.parent.name + "_" + path.name)
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, there)
        except OSError:  # another disk
            shutil.copy(path, there)
        files += 1
    print(f"{files} files in {options.out}")


if __name__ == "__main__":
    main()

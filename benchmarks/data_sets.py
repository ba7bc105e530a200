"""Data sets that benchmarks use, as folders of links: the same files every time.

python benchmarks/data_sets.py coco DATA OUT  # {train,val}.json and images, one box each
python benchmarks/data_sets.py cub DATA OUT   # images.txt, classes.txt, train_test_split.txt
python benchmarks/data_sets.py part DATA OUT --tenths 0 1 6 7 8 9  # a fixed random part of a folder
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

Files = Iterator[tuple[Path, Path]]
"""A file, and where it goes below the output."""


def of_coco(data: Path) -> Files:
    """Every image by its split and the class of its object."""
    for split in ("train", "val"):
        told = json.loads((data / f"{split}.json").read_text())
        names = {one["id"]: one["name"] for one in told["categories"]}
        label = {one["image_id"]: names[one["category_id"]] for one in told["annotations"]}
        for image in told["images"]:
            path = data / split / image["file_name"]
            yield path, Path(split, label[image["id"]], f"{path.parent.name}_{path.name}")


def of_cub(data: Path) -> Files:
    """The same for CUB-200-2011's text files; its test images are the validation images."""

    def table(name: str) -> dict[str, str]:
        rows = (line.replace(",", " ").split() for line in (data / name).read_text().splitlines() if line)
        return {row[0]: row[1] for row in rows}

    names, label = table("classes.txt"), table("image_class_labels.txt")
    test = table("train_test_split.txt")  # 1 marks the 2,903 test images in the copy with 100 classes
    for image, name in table("images.txt").items():
        path = data / "images" / name
        split = "val" if test[image] == "1" else "train"
        yield path, Path(split, names[label[image]], f"{path.parent.name}_{path.name}")


def part_of(data: Path, tenths: list[int]) -> Files:
    """Some of ten random parts of all files."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    random.Random(0).shuffle(files)
    for number, path in enumerate(files):
        if number % 10 in tenths:
            yield path, path.relative_to(data)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("coco", "cub", "part"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tenths", type=int, nargs="+", default=[0], help="which of ten parts, 0 to 9")
    options = parser.parse_args()
    kinds = {"coco": of_coco, "cub": of_cub, "part": lambda data: part_of(data, options.tenths)}
    files = 0
    for path, place in kinds[options.kind](options.data):
        there = options.out / place
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, there)
        except OSError:  # another disk
            shutil.copy(path, there)
        files += 1
    print(f"{files} files in {options.out}")


if __name__ == "__main__":
    main()

"""Distils a dataset of the Hugging Face hub without downloading it first.

    pip install 'focusdd[hub]'
    python examples/hub_streamed.py hf://datasets/uoft-cs/cifar10/plain_text --out runs/cifar10

Parquet files and tars are read over the network, row group by row group. `extract` reads every image once;
composing comes back for the few that distilled images show. More datasets from the index take seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import focusdd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="Parquet files or tars: hf://, s3://, gs://, https://")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10], help="distilled images per class")
    parser.add_argument("--size", type=int, default=64, help="side of the distilled images, pixels")
    parser.add_argument("--extractor", help="a ViT; default: DINOv2's ViT-S/14")
    given = parser.parse_args()

    source = focusdd.open_source(given.source)
    print(f"{len(source.records)} images of {len(source.classes)} classes in {source.name}")

    reading = {"extractor": given.extractor} if given.extractor else {}
    index = focusdd.extract(source, given.out / "index", tile=given.size // 2, **reading)

    for ipc in given.ipc:
        tiny = focusdd.distill(source, given.out / f"ipc{ipc}", index=index, ipc=ipc, size=given.size)
        size = sum(path.stat().st_size for path, _ in tiny.files())
        print(f"{tiny.folder}: {len(tiny.files())} images, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

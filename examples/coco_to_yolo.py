"""Distils images with COCO's boxes into a small dataset in the layout of Ultralytics.

    python examples/coco_to_yolo.py coco --ratio 0.034 --out runs/coco-tiny

COCO holds train/, val/ and annotations/instances_train.json; Pascal VOC and YOLO folders work too. The result
trains with Ultralytics or `focusdd detect train`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import focusdd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coco")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ratio", type=float, default=0.034, help="distilled images for each image")
    parser.add_argument("--size", type=int, help="side of a distilled image; default: by the objects' sizes")
    parser.add_argument("--extractor", help="a ViT; default: DINOv2's ViT-S/14")
    given = parser.parse_args()

    own = {name: value for name, value in vars(given).items() if name in ("size", "extractor") and value}
    tiny = focusdd.detect.distill(given.coco, given.out, ratio=given.ratio, **own)

    source = focusdd.detect.open_source(given.coco)
    before = dict(zip(source.class_names, source.class_counts, strict=True))
    print(f"{len(source.records)} images -> {tiny.info['images']} images of {tiny.info['size']} px")
    for name, count in tiny.info["objects"].items():
        print(f"{name}: {before[name]} objects -> {count}")

    # every distilled box names the image and the box that it comes from
    annotations = json.loads((tiny.folder / "annotations.json").read_text())
    print("the first box:", annotations["annotations"][0])
    print(f"train with: yolo detect train data={tiny.folder / 'data.yaml'} model=yolo11n.yaml")


if __name__ == "__main__":
    main()

"""The block that a command prints before it begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from focusdd.sources import open_source
from focusdd.sources.detection import open_detection_source
from focusdd.sources.understood import objects_in_words, understood

MakeFolder = Callable[..., Path]


def test_what_a_folder_holds(image_folder: MakeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    root = image_folder([f"c{number}" for number in range(7)], per_class=2)
    (root / "c3" / "more.png").write_bytes(b"x")
    for number in range(3):
        (root / "c1" / f"{number}.xml").write_bytes(b"x")
    (root / "c1" / "notes.txt").write_bytes(b"x")
    (root / "c2" / "raw.HEIC").write_bytes(b"x")
    understood(open_source(root))
    understood(open_source(root))
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"source     {root}",
        "           15 images, 7 classes: c0, c1, c2, c3, c4, ...; 2 (c0) to 3 (c3) images each",
        "           other files: 3 x .xml, 1 x .txt",
        f"warning: left out of {root}: 1 x Pillow reads no .heic files: convert them to JPEG or PNG; "
        "the first: c2/raw.HEIC",
    ]


def test_which_part_is_held_out(image_folder: MakeFolder, capsys: pytest.CaptureFixture[str]) -> None:
    root = image_folder(per_class=10)
    for split, count in (("train", 8), ("val", 2)):
        understood(open_source(f"{root}?holdout=0.2", split), split)
        said = capsys.readouterr().out
        assert "20% of it held out for validation by seed 0" in said
        assert f"{2 * count} images, 2 classes: apple, pear; {count} images each" in said


def test_objects_and_their_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").write_bytes(b"x")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, "bbox": [0, 0, side, side], "iscrowd": crowd}
            for number, side, crowd in ((1, 10, 0), (2, 20, 0), (3, 40, 1))
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    understood(open_detection_source(tmp_path))
    said = capsys.readouterr().out
    assert f"source     {tmp_path}: COCO, {tmp_path / 'train.json'}, images in {tmp_path / 'train'}" in said
    assert "1 image, 1 class: cat\n" in said
    assert "2 objects (1 more is ignored), median 20 x 20 px; side of the object by that of the image" in said


def test_what_was_mended_is_counted_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        image = tmp_path / "images" / f"{number}.jpg"
        image.parent.mkdir(exist_ok=True)
        image.write_bytes(b"x")
    (tmp_path / "labels").mkdir()
    box, flat, outline = "0 0.5 0.5 0.2 0.2", "0 0.5 0.5 0 0.2", "0 0.1 0.1 0.2 0.1 0.2 0.2"
    for number, lines in enumerate(([box, flat], [flat], [outline, "0 0.9 0.5 0.4 0.2"])):
        (tmp_path / "labels" / f"{number}.txt").write_text("\n".join(lines))
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    understood(open_detection_source(tmp_path))
    _, images, objects, lost, mended = capsys.readouterr().out.splitlines()
    assert images.strip() == "3 images, 1 class: cat"
    assert objects.strip().startswith("2 objects (2 images have none); side of the object")
    assert lost == (
        f"warning: left out of {tmp_path}: 2 x an object has a box without width or height; the first: "
        "images/0.jpg"
    )
    assert mended == (
        f"warning: mended in {tmp_path}: 2 x no such label file: its image is taken as one without objects, "
        "1 x polygons are taken as the boxes around them, 1 x an object reaches out of its image: clipped; "
        "the first: labels/2.txt"
    )


def test_where_the_images_of_coco_are_is_said_as_its_file_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    (tmp_path / "set" / "val2017").mkdir()
    (tmp_path / "set" / "val2017" / "a.jpg").write_bytes(b"x")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file = tmp_path / "set" / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    place = "COCO, set/annotations/instances_val2017.json, images in set/val2017"
    assert open_detection_source("set", "val").place == place
    monkeypatch.chdir(file.parent)
    assert open_detection_source(file.name).place == f"COCO, {file.name}, images in ../val2017"


def test_sizes_of_objects_against_arithmetic() -> None:
    sides = np.linspace(0.1, 0.9, 101)[:, None]
    boxes = np.concatenate([np.zeros((101, 2)), np.repeat(sides, 2, 1)], 1)
    words = objects_in_words(boxes, np.ones((101, 2)), np.zeros(101, bool))
    assert words == "101 objects; side of the object by that of the image: 14.0% to 86.0%, median 50.0%"
    unknown = objects_in_words(boxes, np.zeros((101, 2)), np.zeros(101, bool))
    assert unknown == "101 objects"
    assert (
        objects_in_words(boxes[:1], np.zeros((1, 2)), np.zeros(1, bool), 1) == "1 object (1 image has none)"
    )

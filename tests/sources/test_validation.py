"""Whether a source holds validation images, known from its training split alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from focusdd.settings import SourceSettings
from focusdd.sources import FolderSource, open_source
from focusdd.sources.detection import open_detection_source
from focusdd.sources.files import find_files


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (("train/a/1.jpg", "train/b/1.jpg", "test/a/2.jpg", "test/b/2.jpg"), True),
        (("train/a/1.jpg", "train/b/1.jpg"), False),
        (("a/1.jpg", "b/1.jpg"), False),
        (("a/train/1.jpg", "b/train/1.jpg", "a/val/2.jpg", "b/val/2.jpg"), True),
        (("a/train/1.jpg", "b/train/1.jpg"), False),
    ],
)
def test_folders(tmp_path: Path, names: tuple[str, ...], there: bool) -> None:
    root = touch(tmp_path, *names)
    assert FolderSource(root, "train", SourceSettings()).has_val is there
    assert open_source("demo").has_val
    if not there:
        assert open_source(f"{touch(root, *(name.replace('1', '2') for name in names))}?holdout=0.5").has_val


@pytest.mark.parametrize("split", ["train", "val"])
def test_lists_and_tables(tmp_path: Path, split: str) -> None:
    lines = ["file,label,split", "1.jpg,a,train", "2.jpg,b,train", f"3.jpg,a,{split}", f"4.jpg,b,{split}"]
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg", "tars/train-0.tar", f"tars/{split}-1.tar")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert open_source(tmp_path / "list.csv").has_val is (split == "val")
    assert find_files(str(tmp_path / "tars"), ".tar", "train").has_val is (split == "val")


@pytest.mark.parametrize("val", ["images/train", "images/val"])
def test_yolo(tmp_path: Path, val: str) -> None:
    touch(tmp_path, "images/train/1.jpg", "images/val/2.jpg")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "1.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "data.yaml").write_text(f"train: images/train\nval: {val}\nnames: [cat]\n")
    assert open_detection_source(tmp_path).has_val is (val == "images/val")


@pytest.mark.parametrize("there", [False, True])
def test_coco_and_voc(tmp_path: Path, there: bool) -> None:
    annotations = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
    }
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    size = "<size><width>9</width><height>9</height></size>"
    xml = f"<annotation>{size}<object><name>cat</name>{box}</object></annotation>"
    for split in ("train", "val") if there else ("train",):
        touch(tmp_path, f"coco/{split}/1.jpg", f"voc/{split}/1.jpg")
        (tmp_path / "coco" / f"{split}.json").write_text(json.dumps(annotations))
        (tmp_path / "voc" / split / "1.xml").write_text(xml)
    for kind in ("coco", "voc"):
        assert open_detection_source(tmp_path / kind).has_val is there

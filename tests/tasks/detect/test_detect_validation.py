"""Validation images that a user names stand beside the dataset, so that Ultralytics scores on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from drawn_scenes import Drawn, random_source

import focusdd
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage
from focusdd.sources.base import Objects
from focusdd.sources.detection import open_detection_source


class Val(Drawn):
    """Drawn scenes of which one cannot be read."""

    def __init__(self, seed: int) -> None:
        super().__init__(random_source(seed, images=8, ignored=0.2).scenes)
        self.name, self.split, self.fingerprint = "drawn val", "val", f"val {seed}"

    def objects(self, key: str, width: int, height: int) -> Objects:
        if key == "3.png":
            raise UnreadableImage("annotated as 9 x 9 pixels")
        return super().objects(key, width, height)


def made(out: Path, val: Any, **more: Any) -> Path:
    source = random_source(1, images=12)
    focusdd.detect.distill(source, out, method="random", budget=4, size=64, val=val, **more)
    return out


def test_what_is_copied_reads_back_as_it_was(tmp_path: Path) -> None:
    val = Val(5)
    out = made(tmp_path / "tiny", val)
    assert yaml.safe_load((out / "data.yaml").read_text())["val"] == "images/val"
    again = open_detection_source(out, "val")
    keys = [key for key in val.scenes if key != "3.png"]
    assert [record.key.rpartition("_")[2] for record in again.records] == keys
    for record, key in zip(again.records, keys, strict=True):
        assert again.read(record.key) == val.read(key)
        size, there = val.scenes[key]
        found = again.objects(record.key, *size)
        np.testing.assert_allclose(found.boxes, there.boxes[~there.ignored], atol=1e-3)
        assert found.labels.tolist() == there.labels[~there.ignored].tolist()


def test_ultralytics_validates_on_them(tmp_path: Path) -> None:
    from focusdd.tasks.detect.yolo import ultralytics

    ultralytics()
    from ultralytics.data.utils import check_det_dataset, img2label_paths

    out = made(tmp_path / "tiny", Val(6))
    data = check_det_dataset(str(out / "data.yaml"), autodownload=False)
    images = sorted(Path(data["val"]).iterdir())
    assert len(images) == 7 and all(Path(path).is_file() for path in img2label_paths([*map(str, images)]))
    assert data["names"] == dict(enumerate(Val(6).class_names))


def test_without_validation_images_the_file_says_what_to_write(tmp_path: Path) -> None:
    text = (made(tmp_path / "tiny", None) / "data.yaml").read_text()
    assert "val" not in yaml.safe_load(text)
    assert "# val: /data/images/val" in text and "--val" in text


def test_they_are_a_part_of_the_dataset(tmp_path: Path) -> None:
    """A missing one is copied again, other ones are another dataset, and --overwrite leaves no old ones."""
    out = made(tmp_path / "tiny", Val(5))
    image = next((out / "images/val").iterdir())
    content = image.read_bytes()
    image.unlink()
    made(out, Val(5))
    assert image.read_bytes() == content
    with pytest.raises(FocusError, match="val"):
        made(out, Val(7))
    made(out, None, overwrite=True)
    assert not list(out.glob("*/val/*"))


def test_wrong_validation_images_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    val = Val(5)
    val.classes = ("class0", "class1", "other")
    with pytest.raises(FocusError, match="lacks 'class2'"):
        made(tmp_path / "tiny", val)
    val = Val(5)
    val.fingerprint = "f"
    with pytest.raises(FocusError, match="are the training images"):
        made(tmp_path / "tiny", val)
    assert not (tmp_path / "tiny").exists()
    with pytest.raises(FocusError, match="is not copied beside images with a class"):
        focusdd.distill("demo:8", tmp_path / "plain", val="demo:9", ipc=1, size=32, extractor="none")


def test_a_subset_has_them_too(tmp_path: Path) -> None:
    source, out = random_source(1, images=12), tmp_path / "part"
    focusdd.detect.subset(source, out, number=4, method="random", form="copies", val=Val(5))
    assert len(list((out / "images/val").iterdir())) == 7
    assert yaml.safe_load((out / "data.yaml").read_text())["train"] == "images/train"
    with pytest.raises(FocusError, match="use form='links' or form='copies'"):
        focusdd.detect.subset(source, tmp_path / "list", number=4, method="random", val=Val(5))

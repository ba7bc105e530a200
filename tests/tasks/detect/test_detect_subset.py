"""Subsets of images with boxes: every class is there, and the tools of the field open what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_scenes import Drawn, random_source

from focusdd import FocusError, detect
from focusdd.demo.run import WEIGHTS
from focusdd.sources import DemoSource
from focusdd.sources.base import Objects

NAMES = ["ant", "bee", "cat"]


def scenes() -> Drawn:
    """Thirty images: three show the rarest class, one shows a crowd alone, one nothing."""
    drawn = random_source(4, images=30)
    made = {}
    for number, (size, objects) in enumerate(drawn.scenes.values()):
        labels = np.where(objects.labels == 2, 0, objects.labels) if number > 2 else objects.labels * 0 + 2
        made[f"{'left' if number % 2 else 'right'}/{number // 2}.png"] = size, objects._replace(labels=labels)
    first, last = list(made)[5], list(made)[6]
    size, objects = made[first]
    made[first] = size, objects._replace(ignored=np.ones(len(objects.ids), bool))
    none = np.zeros(0, np.int32)
    made[last] = made[last][0], Objects(np.zeros((0, 4)), none, none.astype(bool), none.astype(np.int64))
    return Drawn(made)


def write_coco(root: Path, drawn: Drawn) -> None:
    images, annotations = [], []
    for number, (key, (size, objects)) in enumerate(drawn.scenes.items()):
        images.append({"id": number, "file_name": key, "width": size[0], "height": size[1]})
        for (x0, y0, x1, y1), label, crowd, _ in zip(*(part.tolist() for part in objects), strict=True):
            annotations.append({
                "id": len(annotations), "image_id": number, "category_id": label, "iscrowd": int(crowd),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (root / "train.json").write_text(json.dumps(whole))


def write_voc(root: Path, drawn: Drawn) -> None:
    for key, ((width, height), objects) in drawn.scenes.items():
        found = "".join(
            f"<object><name>{NAMES[label]}</name><difficult>{int(ignored)}</difficult><bndbox><xmin>{x0}</xmin>"
            f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label, ignored, _ in zip(*(part.tolist() for part in objects), strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        (root / "train" / key).with_suffix(".xml").write_text(f"<annotation>{size}{found}</annotation>")


def write_yolo(root: Path, drawn: Drawn) -> None:
    (root / "data.yaml").write_text(json.dumps({"train": "train", "names": NAMES}))
    for key, ((width, height), objects) in drawn.scenes.items():
        lines = [
            f"{label} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} "
            f"{(x1 - x0) / width} {(y1 - y0) / height}\n"
            for (x0, y0, x1, y1), label, ignored, _ in zip(*(part.tolist() for part in objects), strict=True)
            if not ignored
        ]
        (root / "train" / key).with_suffix(".txt").write_text("".join(lines))


@pytest.fixture(params=["coco", "voc", "yolo"])
def folder(request: Any, tmp_path: Path) -> Path:
    root, drawn = tmp_path / request.param, scenes()
    for key in drawn.scenes:
        (root / "train" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / key).write_bytes(drawn.read(key))
    {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}[request.param](root, drawn)
    return root


def listed(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("form", ["links", "copies"])
def test_tools_open_a_subset(
    folder: Path, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import faster_coco_eval

    source = detect.open_source(folder)
    out = detect.subset(folder, tmp_path / "some", number=8, least=2, method="random", form=form)
    rows = listed(out / "subset.csv")
    assert len(rows) == 8
    shown = [name for row in rows for name in row["class"].split("|")]
    assert all(shown.count(name) >= 2 for name in NAMES)
    assert "8 of 30 images" in capsys.readouterr().out
    for row in rows:
        path = out / row["file"]
        assert path.is_symlink() == (form == "links") and path.read_bytes() == source.read(row["key"])

    # pycocotools
    faster_coco_eval.init_as_pycocotools()
    from pycocotools.coco import COCO

    coco = COCO(str(out / "annotations.json"))
    assert {image["file_name"] for image in coco.imgs.values()} == {Path(row["file"]).name for row in rows}
    assert [coco.cats[number + 1]["name"] for number in range(3)] == NAMES
    wanted = {}
    for number, image in coco.imgs.items():
        mine = coco.loadAnns(coco.getAnnIds([number]))
        key = next(row["key"] for row in rows if Path(row["file"]).name == image["file_name"])
        objects = source.objects(key, image["width"], image["height"])
        assert [one["iscrowd"] for one in mine] == objects.ignored.tolist()
        corners = np.array([one["bbox"] for one in mine]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(corners, objects.boxes, atol=0.01)
        wanted[image["file_name"]] = sorted(
            [*box, one["category_id"] - 1] for box, one in zip(corners.tolist(), mine, strict=True)
            if not one["iscrowd"]
        )  # fmt: skip

    # Ultralytics, whose training takes a folder of validation images in data.yaml
    from focusdd.tasks.detect.yolo import ultralytics

    with (out / "data.yaml").open("a") as file:
        file.write("val: images/train\n")
    ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(out / "data.yaml"), autodownload=False)
    read = YOLODataset(img_path=data["train"], data=data, task="detect", imgsz=128, augment=False)
    assert data["names"] == dict(enumerate(NAMES)) and len(read.labels) == 8
    for label in read.labels:
        height, width = label["shape"]
        centres = label["bboxes"] * [width, height, width, height]
        corners = np.concatenate(
            [centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2], 1
        )
        found = sorted([*box, int(own[0])] for box, own in zip(corners.tolist(), label["cls"], strict=True))
        own = wanted[Path(label["im_file"]).name]
        np.testing.assert_allclose(np.array(found).reshape(-1, 5), np.array(own).reshape(-1, 5), atol=0.01)

    # focusdd itself
    assert detect.open_source(out).class_counts == tuple(
        sum(int(one[4]) == label for boxes in wanted.values() for one in boxes) for label in range(3)
    )


def test_a_list_opens_no_image(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("focusdd.sources.annotated.AnnotatedSource.read", None)
    out = detect.subset(folder, tmp_path / "list", per_class=3, method="random")
    rows = listed(out / "subset.csv")
    assert all(sum(name in row["class"].split("|") for row in rows) >= 3 for name in NAMES)
    assert not (out / "images").exists()


def test_images_that_cannot_be_read_are_left_out(folder: Path, tmp_path: Path) -> None:
    keys = [record.key for record in detect.open_source(folder).records]
    bad = keys[::2]
    for key in bad:
        path = next(path for path in (folder / "train" / key, folder / key) if path.exists())
        path.write_bytes(path.read_bytes()[:40])
    out = detect.subset(folder, tmp_path / "some", ratio=0.4, method="random", form="copies")
    rows, left = listed(out / "subset.csv"), listed(out / "left_out.csv")
    assert len(rows) == 12 and not {row["key"] for row in rows} & set(bad)
    assert {row["key"] for row in left} <= set(bad) and all(row["reason"] for row in left)


def test_choice_on_features_of_images(tmp_path: Path) -> None:
    source, vit = DemoSource(3), str(WEIGHTS / "vit")
    index = detect.extract(source, tmp_path / "index", extractor=vit)
    assert index.features().shape[0] == 30
    for method in ("clusters", "herding", "k-center", "realism"):
        out = detect.subset(source, tmp_path / method, per_class=1, method=method, index=index)
        rows = listed(out / "subset.csv")
        assert sorted(row["class"] for row in rows) == sorted(source.classes)
    with pytest.raises(FocusError, match="2 images are fewer than the 10 that least=1 of every"):
        detect.subset(source, tmp_path / "few", number=2, index=index)
    detect.subset(source, tmp_path / "few", number=10, index=index)

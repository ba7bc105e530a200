"""Detection end to end on generated images: index, distilled datasets, resuming, refusals, the page."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.demo.run import WEIGHTS
from focusdd.extraction.index import Index, open_index
from focusdd.reports.page import report
from focusdd.settings import DetectDistillSettings, ExtractorSettings
from focusdd.settings.resolve import resolve
from focusdd.sources import DemoSource
from focusdd.sources.base import Objects
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.rows import object_table
from focusdd.tasks.detect.scenes import Scenes
from focusdd.tasks.detect.select import focus_scenes, quotas, selected_scenes
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill as distill_task
from focusdd.tasks.extract import extract

extract_objects, distill = partial(extract, task=DETECT), partial(distill_task, task=DETECT)

VIEWS = ExtractorSettings(extractor=str(WEIGHTS / "vit"))


def chosen(index: Index, settings: DetectDistillSettings) -> Scenes:
    choose = focus_scenes if settings.method == "focus" else selected_scenes
    settings = resolve(settings).settings
    wanted = quotas(settings, 80, index.info["class_counts"])
    return choose(object_table(index), settings, settings.size, wanted)


@pytest.fixture(scope="module")
def source() -> DemoSource:
    return open_detection_source("demo:8")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def index(source: DemoSource, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return extract_objects(source, tmp_path_factory.mktemp("detect") / "index", VIEWS)


def test_a_single_class_has_no_accuracy(source: DemoSource, tmp_path: Path) -> None:
    """There is nothing to tell it from, and nothing is said of a probe."""
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for number in range(3):
        (tmp_path / "set" / "images" / f"{number}.png").write_bytes(source.read(source.records[number].key))
        (tmp_path / "set" / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4")
    (tmp_path / "set" / "classes.txt").write_text("digit")
    index = extract_objects(open_detection_source(tmp_path / "set"), tmp_path / "index", VIEWS)
    assert index.info["extractor"]["confidence"] == ""
    done = json.loads((tmp_path / "index" / "done.json").read_text())
    assert done["counts"] == {"images": 3, "objects": 3, "skipped": 0}


def test_the_index_holds_every_object(source: DemoSource, index: Index) -> None:
    table = object_table(index)
    assert table.keys == [record.key for record in source.records]
    for image, key in enumerate(table.keys[::7]):
        image *= 7
        objects = table.original(image).objects
        np.testing.assert_allclose(objects.boxes, [source.box(key)], atol=1e-3)
        assert decode(source.read(key))[1:] == tuple(table.sizes[image])
    assert ((table.confidence >= 0) & (table.confidence <= 1)).all()
    assert ((table.mass >= 0) & (table.mass <= 1)).all()
    # the extractor sees the digits: more attention on them than on as large an area anywhere
    area = (table.all.boxes[:, 2:] - table.all.boxes[:, :2]).prod(1) / table.sizes.prod(1)
    assert table.mass.mean() > 1.5 * area.mean()
    assert index.info["counts"] == {"images": 80, "objects": 80, "skipped": 0}
    assert index.info["class_counts"] == [8] * 10
    assert index.info["extractor"]["accuracy"] > 0.5


def test_mass_is_what_the_slow_reference_sums(index: Index) -> None:
    table = object_table(index)
    grids = table.attention / table.attention.sum((1, 2), keepdims=True)
    h, w = grids.shape[1:]
    for row in range(0, len(table.mass), 9):
        image = int(table.image_of[row])
        x0, y0, x1, y1 = table.all.boxes[row] / np.tile(table.sizes[image], 2) * [w, h, w, h]
        total = 0.0
        for r in range(h):
            for c in range(w):
                inside = max(0, min(x1, c + 1) - max(x0, c)) * max(0, min(y1, r + 1) - max(y0, r))
                total += inside * grids[image, r, c]
        assert table.mass[row] == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("layout", ["grid", "pack"])
def test_scenes_hold_what_they_were_made_for(index: Index, layout: Any) -> None:
    settings = DetectDistillSettings(ipc=2, size=256, layout=layout, grid=2, views=1, keep=1)
    scenes = chosen(index, settings)
    images = list(scenes.images())
    assert len(images) == 20
    for _, tiles in images:
        assert sum(tile.kind == "view" for tile in tiles) == 1
        assert len({tile.key for tile in tiles}) == len(tiles)
        assert len({tile.label for tile in tiles}) == 1
        canvas = np.zeros((256, 256), int)
        for tile in tiles:
            left, top, right, bottom = tile.place
            canvas[top:bottom, left:right] += 1
            if tile.kind == "patch":
                (target,) = [one for one in tile.objects if one.id == tile.target]
                assert target.kept and target.visible == pytest.approx(1) and target.label == tile.label
        assert canvas.max() == 1


def test_select_opens_no_image(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    assert chosen(index, DetectDistillSettings(ipc=1, size=256)).tiles
    assert chosen(index, DetectDistillSettings(ipc=1, size=256, method="selection")).tiles


def test_selection_takes_the_most_realistic(index: Index) -> None:
    table = object_table(index)
    settings = DetectDistillSettings(ipc=2, size=256, method="selection")
    score = table.realism(settings)
    scenes = chosen(index, settings)
    for label in range(10):
        mine = sorted(score[table.all.labels == label])[-2:]
        assert sorted(t.score for t in scenes.tiles if t.label == label) == pytest.approx(mine)


def test_few_objects_are_used_again_and_named(index: Index) -> None:
    scenes = chosen(index, DetectDistillSettings(ipc=4, size=256))
    assert len(list(scenes.images())) == 40
    assert set(scenes.short) == set(index.classes)


@pytest.mark.parametrize("method", ["focus", "random", "selection", "paste", "full"])
def test_same_arguments_same_bytes(source: DemoSource, index: Index, tmp_path: Path, method: Any) -> None:
    settings = DetectDistillSettings(ipc=1, size=128, method=method)
    given = index if method in ("focus", "selection") else None
    made = [distill(source, tmp_path / name, settings, index=given).folder for name in ("a", "b")]
    files = sorted(path.relative_to(made[0]) for path in made[0].rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(made[1]) for path in made[1].rglob("*") if path.is_file())
    for name in files:
        if name.name != "run.json":
            assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name
    info = json.loads((made[0] / "distilled.json").read_text())
    assert info["images"] == (80 if method == "full" else 10)
    # torchvision's, Ultralytics' and Hugging Face's readers want these
    assert {"data.yaml", "annotations.json", "plan.parquet", "README.md"} <= {str(name) for name in files}


def test_written_boxes_trace_back_to_their_originals(
    source: DemoSource, index: Index, tmp_path: Path
) -> None:
    made = distill(source, tmp_path / "tiny", DetectDistillSettings(ipc=2, size=256), index=index).folder
    annotations = json.loads((made / "annotations.json").read_text())["annotations"]
    scenes = Scenes.from_table(pq.read_table(made / "plan.parquet"))
    tiles = {(tile.key, one.id): (tile, one) for tile in scenes.tiles for one in tile.objects}
    assert len(annotations) == len([one for tile in scenes.tiles for one in tile.objects if one.kept])
    for annotation in annotations:
        tile, one = tiles[annotation["source"]["image"], annotation["source"]["id"]]
        if annotation["bbox"][0] != pytest.approx(one.box[0], abs=0.01):
            continue  # the same object in another tile
        x, y, w, h = annotation["bbox"]
        across = (tile.box[2] - tile.box[0]) / (tile.place[2] - tile.place[0])
        down = (tile.box[3] - tile.box[1]) / (tile.place[3] - tile.place[1])
        back = [
            tile.box[0] + (x - tile.place[0]) * across, tile.box[1] + (y - tile.place[1]) * down,
            tile.box[0] + (x + w - tile.place[0]) * across, tile.box[1] + (y + h - tile.place[1]) * down,
        ]  # fmt: skip
        if one.visible > 0.999:
            np.testing.assert_allclose(back, source.box(tile.key), atol=0.5)


def test_torchvision_reads_it(source: DemoSource, index: Index, tmp_path: Path) -> None:
    import faster_coco_eval
    from torchvision.datasets import CocoDetection

    faster_coco_eval.init_as_pycocotools()  # torchvision imports it by that name
    made = distill(source, tmp_path / "tiny", DetectDistillSettings(ipc=1, size=128), index=index).folder
    data = CocoDetection(str(made / "images/train"), str(made / "annotations.json"))
    assert len(data) == 10
    assert sum(len(target) for _, target in data) == sum(
        json.loads((made / "distilled.json").read_text())["objects"].values()
    )
    again = open_detection_source(made / "data.yaml")
    assert again.class_names == source.class_names
    image = json.loads((made / "annotations.json").read_text())["images"][3]
    boxes = again.objects(f"images/train/{image['file_name']}", 128, 128).boxes
    wanted = [a["bbox"] for a in data.coco.dataset["annotations"] if a["image_id"] == image["id"]]
    np.testing.assert_allclose(
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1), np.array(wanted), atol=0.01
    )


def test_ultralytics_reads_it_with_validation_images(
    source: DemoSource, index: Index, tmp_path: Path
) -> None:
    from focusdd.tasks.detect.yolo import ultralytics

    made = distill(source, tmp_path / "tiny", DetectDistillSettings(ipc=1, size=128), index=index).folder
    with (made / "data.yaml").open("a") as file:
        file.write("val: images/train\n")  # as its comment says
    ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(made / "data.yaml"), autodownload=False)
    assert data["names"] == dict(enumerate(source.class_names))
    read = YOLODataset(img_path=data["train"], data=data, task="detect", imgsz=128, augment=False)
    annotations = json.loads((made / "annotations.json").read_text())
    numbers = {image["file_name"]: image["id"] for image in annotations["images"]}
    assert len(read.labels) == 10
    for label in read.labels:
        number = numbers[Path(label["im_file"]).name]
        wanted = [a["bbox"] for a in annotations["annotations"] if a["image_id"] == number]
        centres = label["bboxes"] * 128
        corners = np.concatenate([centres[:, :2] - centres[:, 2:] / 2, centres[:, 2:]], 1)
        np.testing.assert_allclose(sorted(corners.tolist()), sorted(wanted), atol=0.01)


def test_an_interrupted_index_goes_on(source: DemoSource, index: Index, tmp_path: Path) -> None:
    out = tmp_path / "index"
    extract_objects(source, out, VIEWS)
    (out / "done.json").unlink()
    for part in sorted((out / "parts").iterdir())[:1]:
        part.unlink()
    again = extract_objects(source, out, VIEWS)
    for part in sorted((out / "parts").iterdir()):
        assert part.read_bytes() == (index.folder / "parts" / part.name).read_bytes()
    assert again.key == index.key


class Odd(DemoSource):
    """The demo, where some annotations do not fit."""

    def __init__(self, per_class: int) -> None:
        super().__init__(per_class)
        self.class_counts = (0, 0, *self.class_counts[2:])

    def objects(self, key: str, width: int, height: int) -> Objects:
        objects = super().objects(key, width, height)
        if key.startswith("0-zero"):
            return objects._replace(ignored=np.ones(1, bool))
        if key.startswith("1-one"):
            return Objects(*(values[:0] for values in objects))
        return objects


def test_crowds_and_empty_images_are_no_targets(tmp_path: Path) -> None:
    source = Odd(4)
    index = extract_objects(source, tmp_path / "index", VIEWS)
    assert index.info["class_counts"] == [0, 0, *[4] * 8]
    made = distill(source, tmp_path / "tiny", DetectDistillSettings(ipc=1, size=128), index=index).folder
    info = json.loads((made / "distilled.json").read_text())
    assert info["images"] == 8 and not {"0-zero", "1-one"} & set(info["short_classes"])
    assert info["objects"]["0-zero"] == 0


def test_an_index_of_something_else_is_refused(index: Index, tmp_path: Path, make_index: Any) -> None:
    one = DetectDistillSettings(ipc=1)
    with pytest.raises(FocusError, match="made of another source"):
        distill(open_detection_source("demo:7"), tmp_path / "a", one, index=index)
    with pytest.raises(FocusError, match="made of another source"):
        other = make_index({"a": 3, "b": 3})
        distill(open_detection_source("demo:8"), tmp_path / "b", one, index=other)
    with pytest.raises(FocusError, match="no room for patches"):
        distill(
            open_detection_source("demo:8"),
            tmp_path / "c",
            DetectDistillSettings(ipc=1, layout="grid", views=4, size=128),
            index=open_index(index.folder),
        )


def test_the_page_shows_boxes_and_their_origin(source: DemoSource, index: Index, tmp_path: Path) -> None:
    distill(source, tmp_path / "focus", DetectDistillSettings(ipc=1, size=128), index=index)
    distill(source, tmp_path / "random", DetectDistillSettings(ipc=1, size=128, method="random"))
    page = report(tmp_path).read_text()
    assert "Object detection" in page and "focus, 10 images" in page and "random, 10 images" in page
    tile = Scenes.from_table(pq.read_table(tmp_path / "focus/plan.parquet")).tiles[0]
    assert tile.key in page
    assert page.count("data:image/jpeg") == 16


def test_a_damaged_plan_is_named(source: DemoSource, tmp_path: Path) -> None:
    distill(source, tmp_path / "random", DetectDistillSettings(ipc=1, size=128, method="random"))
    (tmp_path / "random/plan.parquet").write_bytes(b"nothing")
    with pytest.raises(FocusError, match=r"plan\.parquet"):
        report(tmp_path)

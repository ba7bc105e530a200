"""Detection datasets that broke other tools, rebuilt small from public reports (named in each case)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from focusdd import detect
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.compose import data_yaml
from focusdd.tasks.detect.scale import object_sizes

BOX = [10, 20, 30, 40]
CORNERS = [10.0, 20.0, 40.0, 60.0]
CAR = [{"id": 1, "name": "car"}]


def picture(path: Path, turned: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    Image.new("RGB", (160, 120), (90, 120, 90)).save(path, exif=exif)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def coco(file: Path, name: str = "a.jpg", image: Any = 1, categories: Any = CAR, **given: Any) -> None:
    """A COCO file of one image and one annotation."""
    images = [{"id": image, "file_name": name, "width": 160, "height": 120}]
    annotation = {"id": 1, "image_id": image, "category_id": 1, "bbox": BOX} | given
    content = {"images": images, "annotations": [annotation], "categories": categories}
    write(file, json.dumps(content))


def opened(path: Path) -> dict[str, list[tuple[str, list[float]]]]:
    """The classes and boxes of every image."""
    source, found = open_detection_source(path), {}
    for record in source.records:
        _, width, height = decode(source.read(record.key))
        objects = source.objects(record.key, width, height)
        names = (source.class_names[label] for label in objects.labels)
        found[record.key] = list(zip(names, objects.boxes.tolist(), strict=True))
    return found


@pytest.mark.parametrize(
    ("thread", "image", "given"),
    [
        ("cvat-ai/cvat#298", "1", {"image_id": 1}),
        ("cvat-ai/cvat#298", 1, {"image_id": "1"}),
        ("zylo117/Yet-Another-EfficientDet-Pytorch#60", "2", {"image_id": 2.0}),
        ("jsbroks/coco-annotator#452", 1, {"segmentation": [], "attributes": {"occluded": False}}),
        ("cocodataset/cocoapi#373", "a-1", {"image_id": "a-1"}),
        ("matterport/Mask_RCNN#1439", 1, {"id": None}),
        ("category ids as texts", 1, {"category_id": "1"}),
    ],
)
def test_coco_with_odd_fields(thread: str, image: Any, given: dict[str, Any], tmp_path: Path) -> None:
    picture(tmp_path / "train/a.jpg")
    coco(tmp_path / "train.json", image=image, **given)
    assert opened(tmp_path) == {"a.jpg": [("car", CORNERS)]}


@pytest.mark.parametrize(
    ("thread", "categories", "used", "name"),
    [
        ("cvat-ai/cvat#10682", [{"id": 0, "name": "car"}, {"id": 1, "name": "bus"}], 0, "car"),
        (
            "voxel51/fiftyone#1696",
            [{"id": 2**53 + 1, "name": "car"}, {"id": 42, "name": "bus"}],
            2**53 + 1,
            "car",
        ),
        ("roboflow/supervision#169", [{"id": n, "name": f"c{n}"} for n in (0, 1, 3)], 3, "c3"),
    ],
)
def test_coco_with_odd_categories(thread: str, categories: Any, used: int, name: str, tmp_path: Path) -> None:
    picture(tmp_path / "train/a.jpg")
    coco(tmp_path / "train.json", categories=categories, category_id=used)
    assert opened(tmp_path) == {"a.jpg": [(name, CORNERS)]}


def test_coco_ids_that_are_one_in_all_but_type(tmp_path: Path) -> None:
    picture(tmp_path / "train/a.jpg")
    coco(tmp_path / "train.json")
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"].append(content["images"][0] | {"id": "1", "file_name": "b.jpg"})
    write(tmp_path / "train.json", json.dumps(content))
    with pytest.raises(FocusError, match="image id"):
        opened(tmp_path)


def test_label_studio_export_of_coco(tmp_path: Path) -> None:
    """HumanSignal/label-studio#7294: result.json with Windows paths, and with ones that lead out."""
    picture(tmp_path / "images/cb06-x.png")
    coco(tmp_path / "result.json", "images\\cb06-x.png", 0)
    assert opened(tmp_path) == {"images/cb06-x.png": [("car", CORNERS)]}
    coco(tmp_path / "result.json", "..\\..\\label-studio\\media\\upload\\4\\cb06-x.png", 0)
    with pytest.raises(FocusError, match="outside its folder: give a path inside it"):
        opened(tmp_path)


def test_coco_of_a_turned_photograph(tmp_path: Path) -> None:
    """HumanSignal/label-studio#6608: width and height are those of the file before its EXIF orientation."""
    picture(tmp_path / "train/a.jpg", turned=True)
    coco(tmp_path / "train.json")
    with pytest.raises(UnreadableImage, match="it has 120 x 160 once its EXIF orientation is applied"):
        opened(tmp_path)


def test_coco_file_of_another_name_beside_images(tmp_path: Path) -> None:
    """open-edge-platform/datumaro#1630: Images/ and Annotations/ with one file of any name."""
    picture(tmp_path / "Images/DJI_0969.png")
    coco(tmp_path / "Annotations/DJI_0969.json", "DJI_0969.png")
    with pytest.raises(FocusError, match="give a file of another name itself"):
        opened(tmp_path)
    assert opened(tmp_path / "Annotations/DJI_0969.json") == {"DJI_0969.png": [("car", CORNERS)]}


def test_coco_boxes_that_are_no_lists(tmp_path: Path) -> None:
    """NaturalIntelligence/imglab#126."""
    picture(tmp_path / "train/a.jpg")
    coco(tmp_path / "train.json", bbox={"x": 10, "y": 20, "width": 30, "height": 40})
    with pytest.raises(FocusError, match=r"annotation 1 has a box .*: give four numbers"):
        opened(tmp_path)


def test_coco_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """jsbroks/coco-annotator#486."""
    images = [{"id": n, "file_name": f"{folder}/a.jpg"} for n, folder in enumerate("xy")]
    for one in images:
        picture(tmp_path / "train" / str(one["file_name"]))
    boxes = [{"image_id": n, "category_id": 1, "bbox": [n, 0, 5, 5]} for n in range(2)]
    write(tmp_path / "train.json", json.dumps({"images": images, "annotations": boxes, "categories": CAR}))
    assert opened(tmp_path) == {
        f"{folder}/a.jpg": [("car", [n, 0, 5 + n, 5])] for n, folder in enumerate("xy")
    }


def test_voc_with_decimals_and_without_a_size(tmp_path: Path) -> None:
    """roboflow/supervision#2568."""
    picture(tmp_path / "train/img.jpg")
    corners = "<xmin>48.5</xmin><ymin>24.25</ymin><xmax>96.0</xmax><ymax>71.5</ymax>"
    write(
        tmp_path / "train/img.xml",
        f"<annotation><object><name>dog</name><bndbox>{corners}</bndbox></object></annotation>",
    )
    assert opened(tmp_path) == {"img.jpg": [("dog", [48.5, 24.25, 96.0, 71.5])]}


@pytest.mark.parametrize(
    ("thread", "files", "image"),
    [
        (
            "ultralytics/yolov5#6351: a list relative to `path`",
            {"data.yaml": "path: .\ntrain: train.txt\nnames: [car]\n", "train.txt": "images/1.png\n"},
            "images/1.png",
        ),
        (
            "microsoft/VoTT#106: blank lines",
            {"data.yaml": "train: train.txt\nnames: [car]\n", "train.txt": "./images/1.png\n\n"},
            "images/1.png",
        ),
        (
            "cvat-ai/cvat#8046: YOLO 1.1",
            {
                "obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
                "obj.names": "car\n",
                "train.txt": "data/obj_train_data/1.PNG\n",
            },
            "obj_train_data/1.PNG",
        ),
        (
            "HumanSignal/label-studio#6416: no YAML file",
            {"classes.txt": "car\nbus\n", "notes.json": '{"categories": [{"id": 0, "name": "car"}]}'},
            "images/1.png",
        ),
    ],
)
def test_yolo_exports(thread: str, files: dict[str, str], image: str, tmp_path: Path) -> None:
    picture(tmp_path / image)
    labels = (tmp_path / image.replace("images/", "labels/")).with_suffix(".txt")
    for name, text in files.items():
        write(tmp_path / name, text)
    write(labels, "0 0.5 0.5 0.2 0.2\n\n")
    (objects,) = opened(tmp_path).values()
    assert objects == [("car", pytest.approx([64, 48, 96, 72]))]


def test_yolo_boxes_outside_their_image(tmp_path: Path) -> None:
    """ultralytics/ultralytics#19553: an object outside is dropped and listed; the image keeps its others."""
    picture(tmp_path / "train/images/1.png")
    write(tmp_path / "train/labels/1.txt", "0 1.4033 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "data.yaml", "train: train/images\nnames: [drone]\n")
    source = open_detection_source(tmp_path)
    assert source.class_counts == (1,)
    assert [what for _, what in source.problems] == ["object 0 lies outside its image: dropped"]


def test_the_lists_of_yolo_1_1(tmp_path: Path) -> None:
    """cvat-ai/cvat#8046: obj.data names a list for each split, in a folder data/ that is not there."""
    for split in ("train", "valid"):
        key = f"obj_{split}_data/1.png"
        picture(tmp_path / key)
        write(tmp_path / f"obj_{split}_data/1.txt", "0 0.5 0.5 0.2 0.2\n")
        write(tmp_path / f"{split}.txt", f"data/{key}\n")
    write(tmp_path / "obj.names", "car\n")
    write(tmp_path / "obj.data", "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\n")
    for split, key in (("train", "obj_train_data/1.png"), ("val", "obj_valid_data/1.png")):
        source = open_detection_source(tmp_path, split)
        assert [record.key for record in source.records] == [key]
        assert source.skipped == ()


@pytest.mark.parametrize(
    ("thread", "groups", "classes"),
    [
        ("open-mmlab/mmdetection#11391: a group called like a class", ("car", "car"), ("car", "truck")),
        ("roboflow/rf-detr#609: no groups", ("none", "none"), ("car", "truck")),
        ("HumanSignal/label-studio-converter#48: a group for each", ("car", "truck"), ("car", "truck")),
        ("roboflow/roboflow-100-benchmark#45: a group as a category", ("none", "car"), ("truck",)),
    ],
)
def test_classes_and_the_groups_they_are_in(
    thread: str, groups: tuple[str, str], classes: tuple[str, ...], tmp_path: Path
) -> None:
    """The first category has no objects here; it is a class all the same unless it is the group of others."""
    picture(tmp_path / "train/a.jpg")
    named = zip(("car", "truck"), groups, strict=True)
    categories = [{"id": n, "name": name, "supercategory": group} for n, (name, group) in enumerate(named)]
    coco(tmp_path / "train.json", categories=categories)
    assert open_detection_source(tmp_path).class_names == classes


def test_coco_images_without_annotations(tmp_path: Path) -> None:
    """roboflow/supervision#188."""
    for name in "ab":
        picture(tmp_path / f"train/{name}.jpg")
    coco(tmp_path / "train.json")
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"].append(content["images"][0] | {"id": 2, "file_name": "b.jpg"})
    write(tmp_path / "train.json", json.dumps(content))
    assert opened(tmp_path) == {"a.jpg": [("car", CORNERS)], "b.jpg": []}


def test_masks_that_are_all_crowds(tmp_path: Path) -> None:
    """ultralytics/ultralytics#23930: CVAT marks all masks that were drawn with SAM as crowds."""
    picture(tmp_path / "train/a.jpg")
    coco(tmp_path / "train.json", iscrowd=1)
    source = open_detection_source(tmp_path)
    assert source.class_counts == (0,)
    with pytest.raises(FocusError, match="not all objects are marked as crowd or difficult"):
        object_sizes(source)


@pytest.mark.parametrize(
    ("thread", "inside", "found"),
    [
        (
            "endernewton/tf-faster-rcnn#405: truncated by a share",
            "<object><name>car</name><truncated>0.0597</truncated><bndbox><xmin>10</xmin><ymin>20</ymin>"
            "<xmax>40</xmax><ymax>60</ymax></bndbox></object>",
            [("car", CORNERS)],
        ),
        (
            "datitran/raccoon_dataset#74: corners in another order",
            "<object><bndbox><ymax>60</ymax><xmax>40</xmax><ymin>20</ymin><xmin>10</xmin></bndbox>"
            "<name>car</name></object>",
            [("car", CORNERS)],
        ),
        ("dusty-nv/jetson-inference#674: no objects", "", []),
        (
            "ssaru/convert2Yolo#16: Labelbox writes a polygon alone",
            "<object><name>car</name><polygon><x1>10</x1><y1>20</y1><x2>40</x2></polygon></object>",
            None,
        ),
    ],
)
def test_voc_with_odd_objects(
    thread: str, inside: str, found: list[tuple[str, list[float]]] | None, tmp_path: Path
) -> None:
    """An image with an object whose box is not there is left out."""
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"
    plain = f"<object><name>car</name><bndbox>{corners}</bndbox></object>"
    for name, objects in (("a", inside), ("b", plain)):
        picture(tmp_path / f"train/{name}.jpg")
        write(tmp_path / f"train/{name}.xml", f"<annotation>{objects}</annotation>")
    assert opened(tmp_path).get("a.jpg") == found


@pytest.mark.parametrize(
    ("thread", "name", "lines", "found"),
    [
        ("SkalskiP/make-sense#314: dots", "1670577347.002843", ["0 0.5 0.5 0.2 0.2"], [[64, 48, 96, 72]]),
        (
            "ultralytics/yolov5#5210: outside and repeated",
            "a",
            ["0 0.05 0.5 0.2 0.2", "0 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2 0.2"],
            [[0, 48, 24, 72], [64, 48, 96, 72]],
        ),
        (
            "ultralytics/ultralytics#14862: a box beside a polygon",
            "a",
            ["0 0.5 0.5 0.2 0.2", "0 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3"],
            [[64, 48, 96, 72], [16, 12, 32, 36]],
        ),
    ],
)
def test_yolo_labels(thread: str, name: str, lines: list[str], found: list[Any], tmp_path: Path) -> None:
    picture(tmp_path / f"images/{name}.png")
    write(tmp_path / f"labels/{name}.txt", "\n".join(lines))
    write(tmp_path / "data.yaml", "train: images\nnames: [car]\n")
    (objects,) = opened(tmp_path).values()
    assert objects == [("car", pytest.approx(box)) for box in found]


def around(degrees: float) -> Any:
    """The box around one of 30 x 40 px at (10, 20) that is turned about its middle, corner by corner."""
    turn = np.deg2rad(degrees)
    corners = np.array([[x, y] for x in (-15, 15) for y in (-20, 20)])
    there = corners @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + [25, 40]
    return pytest.approx([*there.min(0), *there.max(0)])


@pytest.mark.parametrize("degrees", [30, 90.0, 345.5])
def test_turned_boxes_of_cvat(degrees: float, tmp_path: Path) -> None:
    """cvat-ai/cvat#4745: `bbox` is that of the box before it was turned; much of the object is outside."""
    picture(tmp_path / "coco/train/a.jpg")
    turned = {"attributes": {"occluded": False, "rotation": degrees}, "segmentation": []}
    coco(tmp_path / "coco/train.json", **turned)
    assert opened(tmp_path / "coco") == {"a.jpg": [("car", around(degrees))]}
    assert open_detection_source(tmp_path / "coco").problems[0][1].startswith("object 1 is turned")
    # an outline is turned already
    coco(tmp_path / "coco/train.json", **turned | {"segmentation": [[5, 6, 50, 6, 50, 70]]})
    assert opened(tmp_path / "coco") == {"a.jpg": [("car", [5, 6, 50, 70])]}
    coco(tmp_path / "coco/train.json", attributes={"rotation": 0.0})
    assert opened(tmp_path / "coco") == {"a.jpg": [("car", CORNERS)]}
    picture(tmp_path / "voc/train/a.jpg")
    write(
        tmp_path / "voc/train/a.xml",
        "<annotation><object><name>car</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60"
        "</ymax></bndbox><attributes><attribute><name>occluded</name><value>x</value></attribute><attribute>"
        f"<name>rotation</name><value>{degrees}</value></attribute></attributes></object></annotation>",
    )
    assert opened(tmp_path / "voc") == {"a.jpg": [("car", around(degrees))]}


def test_lvis_names_no_files(tmp_path: Path) -> None:
    """facebookresearch/detectron2 reads the end of `coco_url`; LVIS 1.0 has no `file_name`."""
    picture(tmp_path / "train2017/391895.jpg")
    file = tmp_path / "annotations/lvis_v1_train.json"
    coco(file)
    content = json.loads(file.read_text())
    del content["images"][0]["file_name"]
    content["images"][0]["coco_url"] = "http://images.cocodataset.org/train2017/391895.jpg"
    write(file, json.dumps(content))
    assert opened(file) == {"train2017/391895.jpg": [("car", CORNERS)]}


@pytest.mark.parametrize(
    ("thread", "given", "ignored"),
    [
        ("open-mmlab/mmdetection#8615: regions to ignore", {"iscrowd": 0, "ignore": 1}, True),
        ("CVHub520/X-AnyLabeling#397 writes it for all", {"iscrowd": 0, "ignore": 0}, False),
        ("as texts", {"iscrowd": "1"}, True),
        ("as texts", {"iscrowd": "0", "ignore": "0"}, False),
    ],
)
def test_regions_to_ignore(thread: str, given: dict[str, Any], ignored: bool, tmp_path: Path) -> None:
    """Crowds by another name: neither learned nor background."""
    picture(tmp_path / "train/a.jpg")
    coco(tmp_path / "train.json", **given)
    source = open_detection_source(tmp_path)
    assert source.class_counts == (0 if ignored else 1,)
    assert source.objects("a.jpg", 160, 120).ignored.tolist() == [ignored]


def test_turned_shapes_without_a_box(tmp_path: Path) -> None:
    """CVHub520/X-AnyLabeling#397: neither box nor outline, so the image is left out."""
    for name in "ab":
        picture(tmp_path / f"train/{name}.jpg")
    coco(tmp_path / "train.json", bbox=[], segmentation=[], area=0, iscrowd=0, ignore=0)
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"].append({"id": 2, "file_name": "b.jpg", "width": 160, "height": 120})
    content["annotations"].append({"id": 2, "image_id": 2, "category_id": 1, "bbox": BOX})
    write(tmp_path / "train.json", json.dumps(content))
    assert opened(tmp_path) == {"b.jpg": [("car", CORNERS)]}
    assert ("a.jpg", "object 1 has no box and no outline") in open_detection_source(tmp_path).skipped


def test_windows_paths_of_fiftyone(tmp_path: Path) -> None:
    """voxel51/fiftyone#3235: backslashes, a `path` on another machine, and "validation"."""
    for split in ("train", "validation"):
        picture(tmp_path / f"images/{split}/1.png")
        write(tmp_path / f"labels/{split}/1.txt", "0 0.5 0.5 0.2 0.2\n")
    text = "names:\n- Raccoon\n- Cat\nnc: 2\npath: c:\\Dev\\datasets\\critters2\n"
    splits = (f"{split}: .\\images\\{split}\\\n" for split in ("train", "validation"))
    write(tmp_path / "dataset.yaml", text + "".join(splits))
    for split, folder in (("train", "train"), ("val", "validation")):
        source = open_detection_source(tmp_path, split)
        assert [record.key for record in source.records] == [f"images/{folder}/1.png"]
        assert source.class_counts == (1, 0)


def test_lines_with_a_confidence(tmp_path: Path) -> None:
    """ultralytics/ultralytics#1170: `save_conf` writes a sixth number, which labels have not."""
    picture(tmp_path / "images/1.png")
    write(tmp_path / "labels/1.txt", "0 0.684115 0.800463 0.153646 0.0935185 0.575787\n")
    write(tmp_path / "data.yaml", "train: images\nnames: [car]\n")
    with pytest.raises(FocusError, match=r"1\.txt: '0 0\.684115 .*: leave the confidence out"):
        opened(tmp_path)


NAMES = ["true", "null", "no", "on", "~", "1", "a: b", "x, y", "it's", 'a "b"', "# 7", "ü", "\u8f66",
         "\U0001f697", "a\u2028 \x7fb", "- [", "%", "* &", "a" * 300 + " " + "b" * 300]  # fmt: skip


def test_class_names_that_mean_something_in_yaml(tmp_path: Path) -> None:
    """ultralytics/ultralytics#23754, yolov5#7049, adrienverge/yamllint#270: what is written reads back."""
    text = data_yaml(NAMES)
    assert yaml.safe_load(text)["names"] == dict(enumerate(NAMES))
    picture(tmp_path / "images/train/1.png")
    write(tmp_path / "labels/train/1.txt", "13 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "data.yaml", text)
    assert open_detection_source(tmp_path).class_names == tuple(NAMES)


@pytest.mark.parametrize("width", [1e-12, 1e-7, 0.004])
def test_boxes_that_are_next_to_nothing(width: float, tmp_path: Path) -> None:
    """pytorch/vision#2740: boxes without an area, or with one that rounding takes away."""
    for name in "ab":
        picture(tmp_path / f"train/{name}.jpg")
    coco(tmp_path / "train.json", bbox=[130.1, 20, width, 40])
    content = json.loads((tmp_path / "train.json").read_text())
    content["images"].append({"id": 2, "file_name": "b.jpg", "width": 160, "height": 120})
    content["annotations"].append({"id": 2, "image_id": 2, "category_id": 1, "bbox": BOX})
    write(tmp_path / "train.json", json.dumps(content))
    assert opened(tmp_path) == {"b.jpg": [("car", CORNERS)]}
    # nor do they where an image's border leaves as much of them
    content["annotations"][0]["bbox"] = [160 - width, 20, 30, 40]
    del content["images"][0]["width"]
    write(tmp_path / "train.json", json.dumps(content))
    assert opened(tmp_path) == {"a.jpg": [], "b.jpg": [("car", CORNERS)]}


def test_what_is_made_of_turned_and_ignored_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: a crowd is masked in distilled images, and told of in a subset, where it is visible."""
    for number in range(6):
        picture(tmp_path / f"coco/train/{number}.jpg")
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 160, "height": 120} for n in range(6)]
    boxes = [
        {"image_id": n, "category_id": 1, "bbox": box, "ignore": ignore, "attributes": {"rotation": turn}}
        for n in range(6)
        for box, ignore, turn in ((BOX, 0, 90.0), ([90, 70, 40, 30], 1, 0.0))
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "\U0001f697"}]}
    write(tmp_path / "coco/train.json", json.dumps(content))
    out = detect.distill(tmp_path / "coco", tmp_path / "tiny", method="random", budget=2, size=160).folder
    made = json.loads((out / "annotations.json").read_text())
    # of 40 x 30 px now, and 20 px down: the image is 160 x 120 on a square
    assert [one["bbox"] for one in made["annotations"]] == [[5, 45, 40, 30]] * 2
    assert open_detection_source(out).class_names == ("\U0001f697",)
    pixels = decode(next((out / "images/train").iterdir()).read_bytes())[0]
    assert pixels.getpixel((110, 105)) == pytest.approx((114, 114, 114), abs=3)
    capsys.readouterr()
    part = detect.subset(tmp_path / "coco", tmp_path / "part", number=2, method="random", form="copies")
    assert "2 crowds and difficult objects of" in capsys.readouterr().out
    assert all(len(file.read_text().splitlines()) == 1 for file in (part / "labels/train").iterdir())

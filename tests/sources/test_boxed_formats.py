"""Detection sources: the three formats agree with each other, what is odd in them is refused or listed."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.sources import DemoSource
from focusdd.sources.annotated import AnnotatedSource
from focusdd.sources.base import DetectionSource
from focusdd.sources.boxes import CLIPPED, EMPTY, FINE, OUTSIDE, clip, safe_key
from focusdd.sources.coco import parse_coco
from focusdd.sources.detection import open_detection_source
from focusdd.sources.outlines import box_around
from focusdd.sources.voc import parse_voc
from focusdd.sources.yolo import label_key, parse_labels, parse_yaml


class Scene(NamedTuple):
    """An image as a test wants it: its size and (class, x0, y0, x1, y1) of its objects."""

    width: int
    height: int
    objects: list[tuple[str, float, float, float, float]]


Scenes = dict[str, Scene]


def put(path: Path, content: str | bytes = b"picture") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def coco_of(scenes: Scenes, names: list[str]) -> dict[str, Any]:
    annotations = [
        {"image_id": number, "category_id": names.index(name) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for number, scene in enumerate(scenes.values())
        for name, x0, y0, x1, y1 in scene.objects
    ]
    return {
        "images": [
            {"id": number, "file_name": key, "width": scene.width, "height": scene.height}
            for number, (key, scene) in enumerate(scenes.items())
        ],
        "annotations": [{"id": 100 + number, **item} for number, item in enumerate(annotations)],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(names)],
    }


def voc_of(scene: Scene, extra: str = "") -> str:
    objects = "".join(
        f"<object><name>{escape(name)}</name>{extra}<bndbox><xmin>{x0!r}</xmin><ymin>{y0!r}</ymin>"
        f"<xmax>{x1!r}</xmax><ymax>{y1!r}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in scene.objects
    )
    size = f"<size><width>{scene.width}</width><height>{scene.height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def yolo_of(scene: Scene, names: list[str]) -> str:
    return "".join(
        f"{names.index(name)} {(x0 + x1) / 2 / scene.width:.9f} {(y0 + y1) / 2 / scene.height:.9f} "
        f"{(x1 - x0) / scene.width:.9f} {(y1 - y0) / scene.height:.9f}\n"
        for name, x0, y0, x1, y1 in scene.objects
    )


def write_coco(root: Path, scenes: Scenes, names: list[str]) -> None:
    put(root / "train.json", json.dumps(coco_of(scenes, names)))
    for key in scenes:
        put(root / "train" / key)


def write_voc(root: Path, scenes: Scenes, names: list[str]) -> None:
    for key, scene in scenes.items():
        put(root / "train" / key)
        put((root / "train" / key).with_suffix(".xml"), voc_of(scene))


def write_devkit(root: Path, scenes: Scenes, names: list[str]) -> None:
    """Corners counted from 1, as in the original."""
    stems = [Path(key).with_suffix("") for key in scenes]
    put(root / "ImageSets" / "Main" / "train.txt", "".join(f"{stem}\n" for stem in stems))
    for (key, scene), stem in zip(scenes.items(), stems, strict=True):
        put(root / "JPEGImages" / key)
        objects = [(name, x0 + 1, y0 + 1, x1, y1) for name, x0, y0, x1, y1 in scene.objects]
        put(root / "Annotations" / f"{stem}.xml", voc_of(scene._replace(objects=objects)))


def write_yolo(root: Path, scenes: Scenes, names: list[str]) -> None:
    put(root / "data.yaml", json.dumps({"train": "images/train", "names": names}))
    for key, scene in scenes.items():
        put(root / "images" / "train" / key)
        put((root / "labels" / "train" / key).with_suffix(".txt"), yolo_of(scene, names))


WRITERS: dict[str, Callable[[Path, Scenes, list[str]], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "devkit": write_devkit,
    "yolo": write_yolo,
}
KINDS = {"coco": "COCO", "voc": "Pascal VOC", "devkit": "Pascal VOC", "yolo": "YOLO"}
TWO = {
    "a.jpg": Scene(100, 80, [("cat", 10, 20, 30, 40), ("dog", 0, 0, 100, 80)]),
    "deep/b.png": Scene(60, 90, [("dog", 5, 6, 7, 8)]),
    "none.jpg": Scene(50, 50, []),
}


def keys(source: DetectionSource) -> list[str]:
    return [record.key for record in source.records]


def boxes(source: DetectionSource, key: str, width: int, height: int) -> list[list[float]]:
    return source.objects(key, width, height).boxes.tolist()


def refused(path: Path, *words: str, split: str = "train") -> None:
    """One sentence that holds the words."""
    with pytest.raises(FocusError) as caught:
        open_detection_source(path, split)
    message = str(caught.value)
    assert not isinstance(caught.value, UnreadableImage)
    assert "\n" not in message
    message.encode()
    for word in words:
        assert word in message, message


# all formats


@pytest.mark.parametrize("kind", WRITERS)
def test_what_a_source_says(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, TWO, ["cat", "dog"])
    source = open_detection_source(tmp_path)
    assert isinstance(source, AnnotatedSource)
    assert source.place.startswith(KINDS[kind])
    assert (source.name, source.split) == (str(tmp_path), "train")
    assert source.classes == source.class_names == ("cat", "dog")
    prefix = "images/train/" if kind == "yolo" else ""
    assert keys(source) == [prefix + key for key in ("a.jpg", "deep/b.png", "none.jpg")]
    assert {record.label for record in source.records} == {-1}
    assert (source.skipped, source.problems) == ((), ())
    assert source.read(prefix + "a.jpg") == b"picture"
    found = source.objects(prefix + "a.jpg", 100, 80)
    assert found.boxes == pytest.approx(np.array([[10, 20, 30, 40], [0, 0, 100, 80]]), abs=1e-4)
    assert [column.dtype for column in found] == [np.float64, np.int32, np.bool_, np.int64]
    assert found.labels.tolist() == [0, 1]
    assert found.ids.tolist() == ([100, 101] if kind == "coco" else [0, 1])
    assert not found.ignored.any()
    empty = source.objects(prefix + "none.jpg", 50, 50)
    assert [column.shape for column in empty] == [(0, 4), (0,), (0,), (0,)]
    found.boxes[:] = 0
    assert source.objects(prefix + "a.jpg", 100, 80).boxes.any(), "a caller changes its own copy"


@st.composite
def scenes(draw: Callable[..., Any]) -> Scenes:
    sides = st.integers(1, 5000)
    fractions = st.tuples(*[st.floats(0, 1)] * 4)
    made = {}
    stems = draw(st.lists(st.sampled_from(["a", "b/c", "ü 犬", "x.y", "b/d/e"]), min_size=1, unique=True))
    for number, stem in enumerate(stems):
        width, height = draw(sides), draw(sides)
        objects = []
        for name, (u0, v0, u1, v1) in draw(
            st.lists(
                st.tuples(st.sampled_from(["cat", "Ära & <ü>", "zebra"]), fractions),
                min_size=number == 0,
                max_size=5,
            )
        ):
            x0, x1 = sorted((u0 * width, u1 * width))
            y0, y1 = sorted((v0 * height, v1 * height))
            if min(x1 - x0, y1 - y0) < 0.001 * max(width, height):
                x0, y0, x1, y1 = 0, 0, width, height
            objects.append((name, float(x0), float(y0), float(x1), float(y1)))
        made[f"{stem}.jpg"] = Scene(width, height, list(dict.fromkeys(objects)))
    return made


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=40, deadline=None)
@given(made=scenes())
def test_scenes_read_back_as_they_were_written(kind: str, made: Scenes) -> None:
    names = sorted({name for scene in made.values() for name, *_ in scene.objects})
    with tempfile.TemporaryDirectory() as folder:
        WRITERS[kind](Path(folder), made, names)
        source = open_detection_source(Path(folder))
        prefix = "images/train/" if kind == "yolo" else ""
        assert source.class_names == tuple(names)
        assert keys(source) == sorted(prefix + key for key in made)
        for key, scene in made.items():
            found = source.objects(prefix + key, scene.width, scene.height)
            expected = np.array([corners for _, *corners in scene.objects]).reshape(-1, 4)
            assert found.boxes.shape == expected.shape
            assert np.abs(found.boxes - expected).max(initial=0) < 0.01
            assert [names[label] for label in found.labels] == [name for name, *_ in scene.objects]
            assert (found.boxes[:, :2] >= 0).all()
            assert (found.boxes[:, 2:] <= [scene.width, scene.height]).all()
            assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
        assert source.problems == ()


@pytest.mark.parametrize("kind", WRITERS)
def test_boxes_are_mended_and_listed(tmp_path: Path, kind: str) -> None:
    odd = [
        ("cat", -10.0, 10.0, 20.0, 30.0),
        ("dog", 10.0, 10.0, 20.0, 20.0),
        ("cat", 200.0, 10.0, 220.0, 30.0),
        ("dog", 10.0, 10.0, 20.0, 20.0),
        ("cat", 30.0, 10.0, 20.0, 30.0),
        ("cat", 90.0, 70.0, 100.005, 80.005),
        ("dog", 90.0, 70.0, 101.0, 90.0),
    ]
    if kind == "yolo":  # its nearest decimals
        odd[5] = ("cat", 90.0, 70.0, 100.0005, 80.0005)
    empty = ("cat", 10.0, 10.0, 10.0, 30.0)
    made = {"a.jpg": Scene(100, 80, odd), "b.jpg": Scene(100, 80, [odd[1], empty]), "c.jpg": TWO["a.jpg"]}
    WRITERS[kind](tmp_path, made, ["cat", "dog"])
    if kind == "devkit":  # corners counted from 1
        file = tmp_path / "Annotations" / "a.xml"
        text = file.read_text()
        assert "<xmin>31.0</xmin><ymin>11.0</ymin><xmax>20.0<" in text
        file.write_text(text.replace("<xmin>31.0</xmin><ymin>11.0</ymin><xmax>20.0<",
                                     "<xmin>30.0</xmin><ymin>11.0</ymin><xmax>21.0<"))  # fmt: skip
    source = open_detection_source(tmp_path)
    key = keys(source)[0]
    assert [Path(key).stem for key in keys(source)] == ["a", "c"]
    ((where, reason),) = source.skipped
    assert (Path(where).name, reason.endswith("has a box without width or height")) == ("b.jpg", True)
    found = source.objects(key, 100, 80)
    expected = [[0, 10, 20, 30], [10, 10, 20, 20], [20, 10, 30, 30], [90, 70, 100, 80], [90, 70, 100, 80]]
    assert found.boxes == pytest.approx(np.array(expected, float), abs=0.001)
    assert (found.boxes[:, 2:] <= [100, 80]).all()
    assert found.labels.tolist() == [0, 1, 0, 0, 1]
    first = 100 if kind == "coco" else 0
    assert (found.ids - first).tolist() == [0, 1, 4, 5, 6]
    notes = {what.split()[1]: what for where, what in source.problems if where == key}
    expected_notes = {0: "clipped", 2: "dropped", 3: "once", 4: "in order", 6: "clipped"}
    if kind in ("voc", "devkit"):
        del expected_notes[4]  # nothing to be said of a box that a reader of XML turns
    assert {int(number) - first for number in notes} == set(expected_notes)
    assert all(notes[str(first + number)].endswith(word) for number, word in expected_notes.items())


@pytest.mark.parametrize("kind", ["coco", "voc", "devkit"])
def test_an_image_of_another_size_is_refused(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, {"a.jpg": Scene(300, 200, [("cat", 10, 10, 250, 190)])}, ["cat"])
    source = open_detection_source(tmp_path)
    with pytest.raises(UnreadableImage, match=r"annotated as 300 x 200 pixels, it has 200 x 300 once.* EXIF"):
        source.objects("a.jpg", 200, 300)
    with pytest.raises(UnreadableImage, match=r"annotated as 300 x 200 pixels, it has 30 x 20$"):
        source.objects("a.jpg", 30, 20)
    assert len(source.objects("a.jpg", 300, 200).boxes) == 1


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_without_a_stated_size_boxes_are_clipped_to_the_image(tmp_path: Path, kind: str) -> None:
    objects = [("cat", 10.0, 10.0, 250.0, 190.0), ("cat", 210.0, 10.0, 250.0, 20.0)]
    WRITERS[kind](tmp_path, {"a.jpg": Scene(0, 0, objects)}, ["cat"])
    source = open_detection_source(tmp_path)
    assert source.problems == ()
    assert boxes(source, "a.jpg", 200, 100) == [[10, 10, 200, 100]]
    assert len(source.objects("a.jpg", 300, 200).ids) == 2


@pytest.mark.parametrize("kind", WRITERS)
def test_no_annotations_at_all(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, {"a.jpg": Scene(300, 200, [])}, ["cat"])
    refused(tmp_path, str(tmp_path), "has no annotations")


@pytest.mark.parametrize("kind", WRITERS)
def test_annotations_without_images(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, {"a.jpg": TWO["a.jpg"]}, ["cat", "dog"])
    next(tmp_path.rglob("a.jpg")).unlink()
    refused(tmp_path, str(tmp_path), "a")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_missing_image_is_skipped(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, TWO, ["cat", "dog"])
    next(tmp_path.rglob("a.jpg")).unlink()
    source = open_detection_source(tmp_path)
    assert [Path(key).name for key in keys(source)] == ["b.png", "none.jpg"]
    ((where, reason),) = source.skipped
    assert Path(where).stem == "a"
    assert reason in ("it has no image", "No such file or directory")
    key = keys(source)[0]
    assert boxes(source, key, 60, 90)[0] == pytest.approx([5, 6, 7, 8], abs=1e-4)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_fingerprint_follows_images_and_annotations(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, TWO, ["cat", "dog"])
    seen = [open_detection_source(tmp_path).fingerprint]
    assert open_detection_source(tmp_path).fingerprint == seen[0]
    image = next(tmp_path.rglob("a.jpg"))
    os.utime(image, ns=(1, 1))
    shutil.copytree(tmp_path, copy := tmp_path.with_name(tmp_path.name + "-copy"), copy_function=shutil.copy)
    for path in (tmp_path, copy):
        assert open_detection_source(path).fingerprint == seen[0], "times and places are nobody's business"
    image.write_bytes(b"a larger picture")
    seen.append(open_detection_source(tmp_path).fingerprint)
    other = {**TWO, "a.jpg": Scene(100, 80, [("cat", 10, 20, 31, 40), ("dog", 0, 0, 100, 80)])}
    WRITERS[kind](copy, other, ["cat", "dog"])
    seen.append(open_detection_source(copy).fingerprint)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("kind", WRITERS)
def test_many_objects_in_one_image(tmp_path: Path, kind: str) -> None:
    corners = np.random.default_rng(0).uniform(0, 400, (50_000, 2)).round(3)
    objects = [("cat", x, y, x + 50, y + 60) for x, y in corners.tolist()]
    WRITERS[kind](tmp_path, {"a.jpg": Scene(500, 500, objects)}, ["cat"])
    source = open_detection_source(tmp_path)
    found = source.objects(keys(source)[0], 500, 500)
    assert found.boxes == pytest.approx(np.array([corners for _, *corners in objects]), abs=1e-4)
    assert len(set(found.ids.tolist())) == 50_000


@pytest.mark.parametrize("kind", WRITERS)
def test_class_names_for_people_and_for_folders(tmp_path: Path, kind: str) -> None:
    names = ["Cat", "cat", "n02102040", "犬/dog"]
    objects = [(name, 1.0, 1.0, 9.0, 9.0) for name in names]
    WRITERS[kind](tmp_path, {"a.jpg": Scene(10, 10, objects)}, names)
    source = open_detection_source(tmp_path)
    assert source.class_names == ("Cat", "cat", "English springer", "犬/dog")
    assert len({name.lower() for name in source.classes}) == 4
    assert not any("/" in name for name in source.classes)
    assert source.objects(keys(source)[0], 10, 10).labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", WRITERS)
def test_byte_order_marks_and_windows_lines(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, TWO, ["cat", "dog"])
    before = open_detection_source(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.suffix in (".json", ".xml", ".txt", ".yaml"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    after = open_detection_source(tmp_path)
    assert (after.records, after.class_names, after.skipped) == (before.records, before.class_names, ())
    for one, other in zip(
        before.objects(keys(before)[0], 100, 80), after.objects(keys(after)[0], 100, 80), strict=True
    ):
        assert (one == other).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_annotations_that_are_a_folder_or_not_text(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path, {"a.jpg": TWO["a.jpg"]}, ["cat", "dog"])
    suffix = {"coco": ".json", "yolo": ".txt"}.get(kind, ".xml")
    file = next(path for path in tmp_path.rglob("*" + suffix) if path.stem in ("a", "train"))
    file = next(tmp_path.rglob("a.txt"), file) if kind == "yolo" else file
    file = next(tmp_path.rglob("a.xml"), file)
    file.write_bytes(b"\xff\xfe\xff")
    refused(tmp_path, str(file))


def test_a_source_that_is_called_demo_opens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "demo", TWO, ["cat", "dog"])
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_detection_source("demo"), DemoSource)
    source = open_detection_source(Path("demo"))
    assert keys(open_detection_source(source.name)) == keys(source)


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    write_coco(tmp_path, TWO, ["cat", "dog"])
    source = open_detection_source(tmp_path)
    (tmp_path / "train" / "a.jpg").unlink()
    with pytest.raises(FocusError, match=r"train/a\.jpg cannot be read"):
        source.read("a.jpg")


def test_a_refused_layout_says_what_is_there(tmp_path: Path) -> None:
    put(tmp_path / "photos" / "1.jpg")
    put(tmp_path / "photos" / "2.jpg")
    put(tmp_path / "marks" / "1.csv")
    put(tmp_path / "read.me")
    refused(tmp_path, "there are marks/ (1 .csv), photos/ (2 .jpg), read.me")


def test_no_dataset(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no file or folder", "nowhere")
    refused(tmp_path, str(tmp_path), "data.yaml", "annotations/instances_", "Annotations/")
    put(tmp_path / "cat" / "1.jpg")
    refused(tmp_path, "no detection dataset")
    refused(put(tmp_path / "notes.txt", "hello"), "notes.txt", "no detection dataset")
    refused(put(tmp_path / "data.yaml" / "x.jpg").parent, "no detection dataset", "there are x.jpg")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "//host/x.jpg", ".."]
)
def test_paths_that_lead_out(path: str) -> None:
    with pytest.raises(FocusError, match=r"here names .* outside its folder"):
        safe_key(path, "here")


@pytest.mark.parametrize("path", [None, 3, "", " ", "a\0b", "\ud800"])
def test_paths_that_are_none(path: object) -> None:
    with pytest.raises(FocusError, match="here has an image without a file name"):
        safe_key(path, "here")


def test_paths_inside() -> None:
    assert [safe_key(path, "") for path in ("a.jpg", "./a//b.jpg", "a/../b.jpg", "a\\b.jpg", "..a/b")] == [
        "a.jpg",
        "a/b.jpg",
        "b.jpg",
        "a/b.jpg",
        "..a/b",
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-50, 150)] * 4), min_size=1, max_size=20),
    st.integers(1, 100),
    st.integers(1, 100),
)
def test_clipping_against_a_slow_reference(made: list[tuple[float, ...]], width: int, height: int) -> None:
    cut, verdicts = clip(np.array(made), np.array([[width, height]], float), 0.01)
    for (x0, y0, x1, y1), found, verdict in zip(made, cut.tolist(), verdicts.tolist(), strict=True):
        expected = [max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)]
        if x1 - x0 <= 0.01 or y1 - y0 <= 0.01:
            assert verdict == EMPTY
        elif expected[2] - expected[0] <= 0.01 or expected[3] - expected[1] <= 0.01:
            assert verdict == OUTSIDE
        else:
            assert found == expected
            out = max(abs(a - b) for a, b in zip(expected, (x0, y0, x1, y1), strict=True))
            assert verdict == (FINE if out <= 0.01 else CLIPPED)


NUMBERS = st.integers() | st.floats() | st.none() | st.sampled_from([0, 1, 10**400, True, "1"])
ANYTHING = st.recursive(
    NUMBERS | st.text(max_size=3), lambda inner: st.lists(inner, max_size=5), max_leaves=8
)


def items(*names: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.dictionaries(st.sampled_from(names), ANYTHING, max_size=len(names)), max_size=3)


@settings(max_examples=300, deadline=None)
@given(
    items("id", "file_name", "width", "height"),
    items("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd"),
    st.booleans(),
)
def test_whatever_coco_says_is_read_or_refused(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], known: bool
) -> None:
    if known:  # so that the boxes are reached
        images = [{"id": 1, "file_name": "a.jpg"}]
        for number, item in enumerate(annotations):
            item.update(id=number, image_id=1, category_id=1)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    try:
        found = parse_coco(json.dumps(content), "here")
    except FocusError as error:
        assert str(error).startswith("here")
    else:
        assert np.isfinite(found.rows["box"]).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(NUMBERS.map(str) | st.text(max_size=3), max_size=8).map(" ".join), max_size=4))
def test_whatever_yolo_says_is_read_or_refused(lines: list[str]) -> None:
    try:
        labels, found, _ = parse_labels("\n".join(lines), 2, "here")
    except FocusError as error:
        assert str(error).startswith("here")
    else:
        assert len(labels) == len(found)
        assert np.isfinite(found).all()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject) -> None:
    parsers: list[tuple[bytes, Callable[[bytes], object]]] = [
        (voc_of(TWO["a.jpg"]).encode(), lambda content: parse_voc(content, "here", False)),
        (b"path: .\ntrain: a\nnames: {0: cat, 1: dog}\nnc: 2", lambda content: parse_yaml(content, "here")),
    ]
    whole, parse = data.draw(st.sampled_from(parsers))
    start, length = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, 9))
    damaged = whole[:start] + data.draw(st.binary(max_size=4)) + whole[start + length :]
    try:
        parse(damaged)
    except FocusError as error:
        assert str(error).startswith("here")


# COCO


@pytest.mark.parametrize(
    ("file", "images", "split"),
    [
        ("train.json", "train", "train"),
        ("val.json", "val", "val"),
        ("test.json", "test", "val"),
        ("train.json", "images/train", "train"),
        ("train.json", "images", "train"),
        ("train.json", "", "train"),
        ("annotations/instances_train2017.json", "train2017", "train"),
        ("annotations/instances_val2017.json", "images/val2017", "val"),
        ("annotations/instances_train.json", "train", "train"),
        ("annotations/instances_val2014.json", "val2014", "val"),
        ("annotations/train.json", "images/train", "train"),
        ("annotations/instances_train2017.json", "", "train"),
        ("train/_annotations.coco.json", "train", "train"),
        ("valid/_annotations.coco.json", "valid", "val"),
        ("Train/annotations.json", "Train/images", "train"),
        ("train_annotations.json", "images", "train"),
        ("annotations/instances_Train.json", "Train", "train"),
    ],
)
def test_coco_layouts(tmp_path: Path, file: str, images: str, split: str) -> None:
    put(tmp_path / file, json.dumps(coco_of({"a.jpg": TWO["a.jpg"]}, ["cat", "dog"])))
    put(tmp_path / images / "a.jpg")
    put(tmp_path / "elsewhere" / "b.jpg")
    for path in (tmp_path, tmp_path / file):
        source = open_detection_source(path, split)
        assert isinstance(source, AnnotatedSource)
        assert source.place == f"COCO, {tmp_path / file}, images in {tmp_path / images}"
        assert (keys(source), source.read("a.jpg")) == (["a.jpg"], b"picture")
        assert source.skipped == ()
    refused(tmp_path, str(tmp_path), split="val" if split == "train" else "train")


@pytest.mark.parametrize(
    ("file", "images", "folder"),
    [
        ("annotations/instances_default.json", "a.jpg", "images"),  # CVAT
        ("result.json", "images/a.jpg", ""),  # Label Studio
        ("labels.json", "a.jpg", "data"),  # FiftyOne
        ("_annotations.coco.json", "a.jpg", ""),  # Roboflow
    ],
)
def test_coco_without_splits(tmp_path: Path, file: str, images: str, folder: str) -> None:
    put(tmp_path / file, json.dumps(coco_of({images: TWO["a.jpg"]}, ["cat", "dog"])))
    put(tmp_path / folder / images)
    for split in ("train", "val"):
        assert keys(open_detection_source(tmp_path, split)) == [images]
    put(tmp_path / "annotations" / "labels.json", "{}")
    put(tmp_path / "labels.json", (tmp_path / file).read_bytes())
    refused(tmp_path, "several files for the annotations", "give the one that is meant")


def test_splits_of_one_coco_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        scenes = {"a.jpg": TWO["a.jpg"], f"{split}.jpg": TWO["none.jpg"]}
        put(tmp_path / f"{split}.json", json.dumps(coco_of(scenes, ["cat", "dog"])))
        for key in scenes:
            put(tmp_path / split / key, split)
    for split in ("train", "val"):
        source = open_detection_source(tmp_path, split)
        assert keys(source) == ["a.jpg", f"{split}.jpg"]
        assert source.read("a.jpg") == split.encode()


def test_two_files_for_a_split_are_no_guess(tmp_path: Path) -> None:
    for year in (2014, 2017):
        put(tmp_path / "annotations" / f"instances_train{year}.json", "{}")
    refused(tmp_path, "instances_train2014.json", "instances_train2017.json")


def test_images_of_coco_are_not_looked_for_above_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "inner" / "train.json", json.dumps(coco_of({"a.jpg": TWO["a.jpg"]}, ["cat", "dog"])))
    put(tmp_path / "train" / "a.jpg")
    refused(tmp_path / "inner", "lists 1 image, but a.jpg is not there", str(tmp_path / "inner" / "train"))


def test_coco_says_once_what_it_does_not_list(tmp_path: Path) -> None:
    write_coco(tmp_path, TWO, ["cat", "dog"])
    put(tmp_path / "train" / "more.jpg")
    put(tmp_path / "train" / ".hidden.jpg")
    put(tmp_path / "train" / "notes.txt")
    assert open_detection_source(tmp_path).skipped == (("more.jpg", "train.json does not list it"),)
    put(tmp_path / "train" / "deep" / "more.jpg")
    ((where, _),) = open_detection_source(tmp_path).skipped
    assert where == "more.jpg and 1 more"


def coco(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    write_coco(tmp_path, {"a.jpg": TWO["a.jpg"]}, ["cat", "dog"])
    content = coco_of({"a.jpg": TWO["a.jpg"]}, ["cat", "dog"])
    change(content)
    return put(tmp_path / "train.json", json.dumps(content))


def test_category_ids_with_gaps_in_any_order(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 90, "name": "dog"}, {"id": 1, "name": "x"}, {"id": 7, "name": "cat"}]
        for item, category in zip(content["annotations"], (7, 90), strict=True):
            item["category_id"] = category

    coco(tmp_path, change)
    source = open_detection_source(tmp_path)
    assert source.classes == ("x", "cat", "dog")
    assert source.objects("a.jpg", 100, 80).labels.tolist() == [1, 2]


def test_crowds_are_ignored_objects(tmp_path: Path) -> None:
    coco(tmp_path, lambda content: content["annotations"][1].update(iscrowd=1, segmentation={"counts": []}))
    assert open_detection_source(tmp_path).objects("a.jpg", 100, 80).ignored.tolist() == [False, True]


def test_outlines_without_a_box(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        first, second = content["annotations"]
        first.update(bbox=None, segmentation=[[10, 20, 30, 20, 15, 40], [5, 25, 6, 26, 7, 27.5]])
        second.update(segmentation=[[1, 2, 3, 4, 5, 6]])  # has a box
        content["annotations"].append(
            {"id": 7, "image_id": 0, "category_id": 1, "bbox": [0, 0, 0, 0],
             "segmentation": {"size": [80, 100], "counts": [80 * 3 + 5, 4, 76, 4, 8000 - 329]}}
        )  # fmt: skip

    coco(tmp_path, change)
    source = open_detection_source(tmp_path)
    assert boxes(source, "a.jpg", 100, 80) == [[5, 20, 30, 40], [0, 0, 100, 80], [3, 5, 5, 9]]
    assert source.problems == tuple(
        ("a.jpg", f"object {number} has an outline only: its box is taken") for number in (100, 7)
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bbox": []},
        {"segmentation": []},
        {"segmentation": {"counts": "x", "size": [1, 1]}},
        {"segmentation": [[1, 2, "x", 4]]},
        {"segmentation": {"counts": [8000], "size": [80, 100]}},
    ],
)
def test_an_image_with_an_object_that_nobody_can_find_is_left_out(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write_coco(tmp_path, TWO, ["cat", "dog"])
    content = coco_of(TWO, ["cat", "dog"])
    content["annotations"].append({"id": 7, "image_id": 0, "category_id": 1, **change})
    put(tmp_path / "train.json", json.dumps(content))
    source = open_detection_source(tmp_path)
    assert keys(source) == ["deep/b.png", "none.jpg"]
    assert source.skipped == (("a.jpg", "object 7 has no box and no outline"),)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_boxes_around_masks_against_a_slow_reference(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    runs, value = [0], False
    for bit in mask.T.ravel():
        if bit != value:
            runs.append(0)
            value = bool(bit)
        runs[-1] += 1
    text = ""
    for number, run in enumerate(runs):  # rleToString of cocoapi
        left = run - (runs[number - 2] if number > 2 else 0)
        more = True
        while more:
            code = left & 31
            left >>= 5
            more = left != -1 if code & 16 else left != 0
            text += chr((code | 32 if more else code) + 48)
    rows, columns = np.nonzero(mask)
    expected = None
    if len(rows):
        x, y = columns.min(), rows.min()
        expected = [x, y, columns.max() - x + 1, rows.max() - y + 1]
    for counts in (runs, text):
        assert box_around({"size": [height, width], "counts": counts}) == expected


def test_annotation_ids_that_repeat(tmp_path: Path) -> None:
    """Across images they are as good as any; within one they are counted anew."""

    def change(content: dict[str, Any]) -> None:
        content["images"].append({"id": 9, "file_name": "b.jpg"})
        content["annotations"].append({**content["annotations"][1], "image_id": 9, "id": 100})

    coco(tmp_path, change)
    put(tmp_path / "train" / "b.jpg")
    source = open_detection_source(tmp_path)
    assert [source.objects(key, 100, 80).ids.tolist() for key in ("a.jpg", "b.jpg")] == [[100, 101], [100]]
    coco(tmp_path, lambda content: content["annotations"][1].update(id=100))
    assert open_detection_source(tmp_path).objects("a.jpg", 100, 80).ids.tolist() == [0, 1]


def test_the_group_that_roboflow_lists_first_is_no_class(tmp_path: Path) -> None:
    def change(content: dict[str, Any], group: str = "animals") -> None:
        for item in content["categories"]:
            item["supercategory"] = group
        content["categories"].append({"id": 0, "name": "animals", "supercategory": "none"})

    coco(tmp_path, change)
    source = open_detection_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.objects("a.jpg", 100, 80).labels.tolist() == [0, 1]
    coco(tmp_path, lambda content: change(content, "pets"))
    assert open_detection_source(tmp_path).classes == ("animals", "cat", "dog")


def test_annotations_without_ids_are_numbered(tmp_path: Path) -> None:
    coco(tmp_path, lambda content: [item.pop("id") for item in content["annotations"]])
    assert open_detection_source(tmp_path).objects("a.jpg", 100, 80).ids.tolist() == [0, 1]


def test_image_ids_may_be_texts(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"][0]["id"] = "first"
        for item in content["annotations"]:
            item["image_id"] = "first"

    coco(tmp_path, change)
    assert len(open_detection_source(tmp_path).objects("a.jpg", 100, 80).boxes) == 2


COCO_MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no images": (lambda c: c.update(images=[]), "has no images"),
    "images are gone": (lambda c: c.pop("images"), 'no list "images"'),
    "images are texts": (lambda c: c.update(images=["a.jpg"]), 'no list "images"'),
    "no annotations": (lambda c: c.update(annotations=[]), "has no annotations"),
    "no categories": (lambda c: c.update(categories=[]), "has no categories"),
    "image id twice": (lambda c: c["images"].append({"id": 0, "file_name": "b.jpg"}), "image id 0 2 times"),
    "image id missing": (lambda c: c["images"][0].pop("id"), "image without an id"),
    "image id a list": (lambda c: c["images"][0].update(id=[0]), "image without an id"),
    "file twice": (lambda c: c["images"].append({"id": 9, "file_name": "./a.jpg"}), "image file 'a.jpg' 2"),
    "file missing": (lambda c: c["images"][0].pop("file_name"), "without a file name, None"),
    "file absolute": (lambda c: c["images"][0].update(file_name="/etc/passwd"), "outside its folder"),
    "file above": (lambda c: c["images"][0].update(file_name="../train/a.jpg"), "outside its folder"),
    "file a number": (lambda c: c["images"][0].update(file_name=7), "without a file name, 7"),
    "category id twice": (lambda c: c["categories"][1].update(id=1), "category id 1 2 times"),
    "category name twice": (lambda c: c["categories"][1].update(name="cat "), "class 'cat' 2 times"),
    "category without a name": (lambda c: c["categories"][1].pop("name"), "class without a name"),
    "category of half a character": (lambda c: c["categories"][1].update(name="\ud800"), "without a name"),
    "category id a text": (lambda c: c["categories"][1].update(id="2"), "id is no whole number"),
    "unknown image": (lambda c: c["annotations"][1].update(image_id=5), "101 is of an unknown image 5"),
    "image a list": (lambda c: c["annotations"][1].update(image_id=[5]), "unknown image a list"),
    "unknown category": (lambda c: c["annotations"][1].update(category_id=0), "unknown category 0"),
    "no category": (lambda c: c["annotations"][1].pop("category_id"), "unknown category None"),
    "box of texts": (lambda c: c["annotations"][1].update(bbox=["1", "2", "3", "4"]), "101 has a box"),
    "box of truth": (lambda c: c["annotations"][1].update(bbox=[True, 2, 3, 4]), "give four numbers"),
    "box a text": (lambda c: c["annotations"][1].update(bbox="1 2 3 4"), "give four numbers"),
    "box of three": (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), "give four numbers"),
    "box of five": (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, 4, 5]), "give four numbers"),
    "box not a number": (lambda c: c["annotations"][1].update(bbox=[1, 2, math.nan, 4]), "101 is not finite"),
    "box infinite": (lambda c: c["annotations"][1].update(bbox=[1, 2, math.inf, 4]), "101 is not finite"),
    "box too far": (lambda c: c["annotations"][1].update(bbox=[1e308, 2, 1e308, 4]), "101 is not finite"),
    "box immense": (lambda c: c["annotations"][1].update(bbox=[10**400, 2, 3, 4]), "101 is not finite"),
    "polygon infinite": (
        lambda c: c["annotations"][1].update(bbox=[], segmentation=[[1, math.inf]]),
        "object 101 is not finite",
    ),
    "polygon immense": (
        lambda c: c["annotations"][1].update(bbox=[], segmentation=[[1, 10**400]]),
        "101 is not finite",
    ),
    "width a text": (lambda c: c["images"][0].update(width="100"), "'100' pixels wide"),
    "width below zero": (lambda c: c["images"][0].update(width=-1), "-1 pixels wide"),
    "width not a number": (lambda c: c["images"][0].update(width=math.nan), "nan pixels wide"),
}  # fmt: skip


@pytest.mark.parametrize("name", COCO_MISTAKES)
def test_mistakes_in_coco(tmp_path: Path, name: str) -> None:
    change, words = COCO_MISTAKES[name]
    file = coco(tmp_path, change)
    refused(tmp_path, str(file), words)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "[" * 100_000, '{"images": {}}', "1" * 5000])
def test_coco_that_is_none(text: str) -> None:
    with pytest.raises(FocusError, match=r"here\.json is (not JSON|no COCO file)"):
        parse_coco(text, "here.json")


def test_coco_that_cannot_be_read(tmp_path: Path) -> None:
    write_coco(tmp_path, TWO, ["cat", "dog"])
    (tmp_path / "train.json").write_bytes(json.dumps({"images": "é"}, ensure_ascii=False).encode("latin-1"))
    refused(tmp_path, "train.json", "not UTF-8")


def test_files_that_only_look_like_images(tmp_path: Path) -> None:
    write_coco(tmp_path, TWO, ["cat", "dog"])
    (tmp_path / "train" / "none.jpg").unlink()
    os.mkfifo(tmp_path / "train" / "none.jpg")  # reading it would wait for ever
    assert open_detection_source(tmp_path).skipped == (("none.jpg", "not a file"),)


# Pascal VOC


def test_corners_are_counted_from_one_in_a_devkit_alone() -> None:
    text = voc_of(Scene(100, 80, [("cat", 1, 1, 100, 80)])).encode()
    assert parse_voc(text, "", devkit=True).boxes.tolist() == [[0, 0, 100, 80]]
    assert parse_voc(text, "", devkit=False).boxes.tolist() == [[1, 1, 100, 80]]


def test_difficult_objects_are_ignored_and_parts_are_none(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a.jpg": TWO["a.jpg"]}, [])
    part = "<part><name>ear</name><bndbox><xmin>1</xmin></bndbox></part><difficult>1</difficult>"
    put(tmp_path / "train" / "b.jpg")
    put(tmp_path / "train" / "b.xml", voc_of(Scene(0, 0, [("cat", 1, 2, 3, 4)]), part))
    source = open_detection_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.objects("a.jpg", 100, 80).ignored.tolist() == [False, False]
    assert source.objects("b.jpg", 9, 9).ignored.tolist() == [True]
    assert boxes(source, "b.jpg", 9, 9) == [[1, 2, 3, 4]]


def test_voc_splits_share_the_classes_of_train(tmp_path: Path) -> None:
    write_voc(tmp_path, TWO, [])
    put(tmp_path / "test" / "v.jpg")
    put(tmp_path / "test" / "v.xml", voc_of(Scene(9, 9, [("dog", 1, 2, 3, 4)])))
    source = open_detection_source(tmp_path, "val")
    assert (source.classes, keys(source)) == (("cat", "dog"), ["v.jpg"])
    assert source.objects("v.jpg", 9, 9).labels.tolist() == [1]
    put(tmp_path / "test" / "v.xml", voc_of(Scene(9, 9, [("cow", 1, 2, 3, 4)])))
    refused(tmp_path, str(tmp_path / "test" / "v.xml"), "'cow'", split="val")
    assert open_detection_source(tmp_path / "test", "val").classes == ("cow",)


def test_class_folders_with_xml_beside_the_images(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        put(tmp_path / name / "1.jpg")
        put(tmp_path / name / "1.xml", voc_of(Scene(9, 9, [(name, 1, 2, 3, 4)])))
    source = open_detection_source(tmp_path)
    assert (source.classes, keys(source)) == (("cats", "dogs"), ["cats/1.jpg", "dogs/1.jpg"])


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("{}/JPEGImages", "{}/Annotations"),
        ("{}/images", "{}/annots"),
        ("images/{}", "annotations/{}"),
        ("JPEGImages/{}", "Annotations/{}"),
    ],
)
@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Train", "Test")])
def test_voc_split_folders(tmp_path: Path, images: str, annotations: str, train: str, val: str) -> None:
    for split in (train, val):
        put(tmp_path / images.format(split) / f"{split}.jpg")
        put(tmp_path / annotations.format(split) / f"{split}.xml", voc_of(Scene(9, 9, [("dog", 1, 2, 3, 4)])))
    for split, name in ((train, "train"), (val, "val")):
        source = open_detection_source(tmp_path, name)
        assert (keys(source), source.skipped) == ([f"{split}.jpg"], ())
        assert boxes(source, f"{split}.jpg", 9, 9)[0][0] == (0 if "JPEG" in images else 1)


@pytest.mark.parametrize("place", ["", "ImageSets", "annotations"])
def test_voc_lists_beside_the_annotations(tmp_path: Path, place: str) -> None:
    """Oxford-IIIT Pet keeps its lists in annotations/, with more behind the names."""
    xml = "annotations/xmls" if place == "annotations" else "annotations"
    for name in ("a", "b c", "d"):
        put(tmp_path / "images" / f"{name}.jpg")
        put(tmp_path / xml / f"{name}.xml", voc_of(Scene(9, 9, [("dog", 1, 2, 3, 4)])))
    put(tmp_path / place / "trainval.txt", "a 1 1 1\nb c\n")
    put(tmp_path / place / "test.txt", "d 1 2 1\n")
    assert keys(open_detection_source(tmp_path)) == ["a.jpg", "b c.jpg"]
    assert keys(open_detection_source(tmp_path, "val")) == ["d.jpg"]


def test_voc_without_the_split(tmp_path: Path) -> None:
    put(tmp_path / "test" / "v.jpg")
    put(tmp_path / "test" / "v.xml", voc_of(Scene(9, 9, [("dog", 1, 2, 3, 4)])))
    refused(tmp_path, str(tmp_path), "no images for train, its splits are test")
    assert open_detection_source(tmp_path, "val").classes == ("dog",)


def test_a_flat_voc_folder_is_either_split(tmp_path: Path) -> None:
    put(tmp_path / "v.jpg")
    put(tmp_path / "v.xml", voc_of(Scene(9, 9, [("dog", 1, 2, 3, 4)])))
    for split in ("train", "val"):
        assert keys(open_detection_source(tmp_path, split)) == ["v.jpg"]


def test_devkit_splits(tmp_path: Path) -> None:
    root = tmp_path / "VOC2007"
    write_devkit(root, TWO, [])
    put(root / "ImageSets" / "Main" / "val.txt", "v\n\n")
    put(root / "JPEGImages" / "v.jpg")
    put(root / "Annotations" / "v.xml", voc_of(Scene(9, 9, [("dog", 1, 2, 3, 4)])))
    put(root / "JPEGImages" / "other.jpg")
    for path in (root, tmp_path):
        assert keys(open_detection_source(path)) == ["a.jpg", "deep/b.png", "none.jpg"]
        source = open_detection_source(path, "val")
        assert (source.classes, keys(source), source.skipped) == (("cat", "dog"), ["v.jpg"], ())
        assert boxes(source, "v.jpg", 9, 9) == [[0, 1, 3, 4]]
    (root / "ImageSets" / "Main" / "val.txt").unlink()
    refused(root, str(root), "no images for val, its splits are train", split="val")
    put(tmp_path / "VOC2012" / "JPEGImages" / "x.jpg")
    put(tmp_path / "VOC2012" / "Annotations" / "x.xml", "")
    refused(tmp_path, "VOC2007, VOC2012")


def test_devkit_lists_that_are_wrong(tmp_path: Path) -> None:
    write_devkit(tmp_path, TWO, [])
    lists = tmp_path / "ImageSets" / "Main" / "train.txt"
    put(lists, "a\na\n")
    refused(tmp_path, str(lists), "'a' 2 times")
    put(lists, "../../a\n")
    refused(tmp_path, str(lists), "outside its folder")
    put(lists, "a\ngone\n")
    assert open_detection_source(tmp_path).skipped == (("gone", "it is not there"),)


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images", "annots"),
        ("images", "annotations"),
        ("images", "Annotations"),
        ("JPEGImages", "Annotations"),
        ("images", "annotations/xmls"),
        ("train/images", "train/annotations"),
        ("Images", "labels"),
    ],
)
def test_folders_of_images_and_annotations(tmp_path: Path, images: str, annotations: str) -> None:
    put(tmp_path / images / "a.jpg")
    put(tmp_path / annotations / "a.xml", voc_of(TWO["a.jpg"]))
    source = open_detection_source(tmp_path)
    assert (keys(source), source.skipped) == (["a.jpg"], ())
    first = 9.0 if images == "JPEGImages" else 10.0  # the original counts from 1
    assert boxes(source, "a.jpg", 100, 80)[0][0] == first


@pytest.mark.parametrize("name", ["default", "trainval"])
def test_other_lists_of_a_devkit(tmp_path: Path, name: str) -> None:
    write_devkit(tmp_path, TWO, [])
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / f"{name}.txt")
    put(tmp_path / "JPEGImages" / "other.jpg")
    assert keys(open_detection_source(tmp_path)) == ["a.jpg", "deep/b.png", "none.jpg"]


def test_voc_files_without_each_other(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a.jpg": TWO["a.jpg"]}, [])
    put(tmp_path / "train" / "b.jpg")
    put(tmp_path / "train" / "c.xml", "not looked at")
    put(tmp_path / "train" / "notes.txt")
    assert open_detection_source(tmp_path).skipped == (
        ("notes.txt", "not an image by its suffix '.txt'"),
        ("b.jpg", "it has no XML file"),
        ("c.xml", "it has no image"),
    )
    put(tmp_path / "train" / "a.png")
    refused(tmp_path, "a.jpg and a.png")


def test_voc_objects_without_a_box(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a.jpg": TWO["a.jpg"]}, [])
    file = tmp_path / "train" / "a.xml"
    file.write_text(file.read_text().replace("</annotation>", "<object><name>x</name></object></annotation>"))
    put(tmp_path / "train" / "b.jpg")
    put(tmp_path / "train" / "b.xml", voc_of(TWO["a.jpg"]))
    source = open_detection_source(tmp_path)
    assert (keys(source), source.classes) == (["b.jpg"], ("cat", "dog"))
    assert source.skipped == (("a.jpg", "1 of its objects has no box"),)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not XML"),
        (b"<annotation>", "is not XML"),
        (b"<a>&b;</a>", "is not XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "is not XML"),
        (b"<html/>", "starts with <html>"),
        (BOMB.encode(), "declares a document type"),
        (BOMB.encode("utf-16"), "declares a document type"),
        (BOMB.encode("utf-16-be"), "declares a document type"),
        (b'<!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>', "declares a document type"),
        (voc_of(Scene(1, 1, [("", 1, 2, 3, 4)])).encode(), "class without a name"),
        (voc_of(Scene(1, 1, [("a", math.nan, 2, 3, 4)])).encode(), "not finite"),
        (voc_of(Scene(1, 1, [("a", 1, 2, math.inf, 4)])).encode(), "not finite"),
        (voc_of(Scene(1, 1, [("a", 1, 2, 1, 4)])).replace("<xmin>1<", "<xmin>one<").encode(), "four numbers"),
        (voc_of(Scene(1, 1, [("a", 1, 2, 1, 4)])).replace("ymax", "bottom").encode(), "four numbers"),
        (voc_of(Scene(-5, 1, [])).encode(), "-5.0 pixels wide"),
        (voc_of(Scene(5, 1, [])).replace("5", "wide").encode(), "'wide' pixels wide"),
        (voc_of(Scene(5, 1, [])).replace("5", "nan").encode(), "nan pixels wide"),
    ],
)
def test_mistakes_in_voc(data: bytes, words: str) -> None:
    with pytest.raises(FocusError, match=r"^a/b\.xml ?") as caught:
        parse_voc(data, "a/b.xml", devkit=False)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# YOLO


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/x.jpg", "labels/train/x.txt"),
        ("train/images/a/x.y.png", "train/labels/a/x.y.txt"),
        ("images/images/x.jpg", "images/labels/x.txt"),
        ("train/x.jpg", "train/x.txt"),
        ("my images/images.jpg", "my images/images.txt"),
        ("x.jpg", "x.txt"),
    ],
)
def test_where_labels_are(image: str, label: str) -> None:
    assert label_key(image) == label


def yolo(root: Path, images: list[str], **config: Any) -> Path:
    for key in images:
        put(root / key)
        put(root / label_key(key), "0 0.5 0.5 0.5 0.5\n")
    return put(root / "data.yaml", json.dumps({"names": ["cat", "dog"], **config}))


@pytest.mark.parametrize(
    ("images", "config", "expected"),
    [
        (["images/train/a.jpg", "images/train/b/c.jpg", "images/val/d.jpg"], {"train": "images/train"}, 2),
        (["images/one/a.jpg", "images/two/b.jpg"], {"train": ["images/one", "images/two/"]}, 2),
        (["train/images/a.jpg"], {"train": "../train/images", "nc": 2}, 1),
        (["train/images/a.jpg"], {"train": "./train/images"}, 1),
        (["train/a.jpg"], {"train": "train"}, 1),
        (["a.jpg"], {"train": "."}, 1),
        (["images/a.jpg"], {"train": "images\\", "path": "."}, 1),
        (["images/a.jpg"], {"train": "images", "path": "../datasets/gone"}, 1),
    ],
)
def test_yolo_layouts(tmp_path: Path, images: list[str], config: dict[str, Any], expected: int) -> None:
    file = yolo(tmp_path, images, **config)
    for path in (tmp_path, file):
        source = open_detection_source(path)
        assert isinstance(source, AnnotatedSource)
        assert source.place.startswith(f"YOLO, {file}, images in ")
        assert keys(source) == images[:expected]
        assert source.skipped == ()
        for key in keys(source):
            assert boxes(source, key, 40, 20) == [[10, 5, 30, 15]]


def test_yolo_with_its_images_elsewhere(tmp_path: Path) -> None:
    yolo(tmp_path / "data", ["images/train/a.jpg"])
    for path in ("../data", str(tmp_path / "data")):
        for train in ("images/train", str(tmp_path / "data" / "images" / "train")):
            text = json.dumps({"path": path, "train": train, "names": {0: "cat"}})
            file = put(tmp_path / "x" / "mine.yml", text)
            assert keys(open_detection_source(file)) == ["images/train/a.jpg"]


def test_yolo_lists_of_images(tmp_path: Path) -> None:
    images = [f"images/train/{name}.jpg" for name in "abcd"]
    yolo(tmp_path, images, train="lists/train.txt")
    (tmp_path / "link").symlink_to(tmp_path)
    lines = [images[0], str(tmp_path / images[1]), f"./../{images[2]}", "images/train/gone.jpg", ""]
    put(tmp_path / "lists" / "train.txt", "\r\n".join([*lines, str(tmp_path / "link" / images[3])]))
    source = open_detection_source(tmp_path)
    assert keys(source) == [*images[:3], f"link/{images[3]}"]
    assert source.skipped == (("images/train/gone.jpg", "No such file or directory"),)
    source = open_detection_source(tmp_path / "link")
    assert keys(source) == sorted(images), "the same folder by another name"


@pytest.mark.parametrize("line", ["/etc/passwd", "../outside.jpg", "images/../../outside.jpg", "a\0b"])
def test_yolo_lists_that_lead_out(tmp_path: Path, line: str) -> None:
    put(tmp_path / "outside.jpg")
    yolo(tmp_path / "data", ["images/a.jpg"], train="train.txt")
    put(tmp_path / "data" / "train.txt", f"images/a.jpg\n{line}\n")
    refused(tmp_path / "data", "train.txt")


@pytest.mark.parametrize("train", ["../other/images", "/", "a/../../other/images"])
def test_yolo_folders_that_lead_out(tmp_path: Path, train: str) -> None:
    put(tmp_path / "other" / "images" / "a.jpg")
    yolo(tmp_path / "data", ["images/a.jpg"], train=train)
    refused(tmp_path / "data", "data.yaml", "outside")


def test_yolo_splits(tmp_path: Path) -> None:
    yolo(tmp_path, ["images/train/a.jpg", "images/b/b.jpg"], train="images/train", test="images/b")
    assert keys(open_detection_source(tmp_path, "val")) == ["images/b/b.jpg"]
    yolo(tmp_path, [], train="images/train", val="")
    refused(tmp_path, "data.yaml", "has no images for val", "its splits are train", "--val", split="val")
    yolo(tmp_path, [], train="images/gone")
    refused(tmp_path, "data.yaml", "images/gone")
    yolo(tmp_path, [], train="images/train", path="/nowhere/at/all")
    refused(tmp_path, "data.yaml", "/nowhere/at/all")
    yolo(tmp_path, [], train=["images/train", "images"])
    refused(tmp_path, "images/train/a.jpg twice")


def test_a_yaml_of_another_name(tmp_path: Path) -> None:
    file = yolo(tmp_path, ["images/train/a.jpg"], train="images/train")
    file.rename(tmp_path / "plates.yaml")
    put(tmp_path / "config.yaml", "batch: 3")
    assert keys(open_detection_source(tmp_path)) == ["images/train/a.jpg"]
    put(tmp_path / "more.yml", (tmp_path / "plates.yaml").read_bytes())
    refused(tmp_path, "more.yml, plates.yaml", "give the one that is meant")


@pytest.mark.parametrize(
    ("names", "images", "splits"),
    [
        ("classes.txt", "images/{}.jpg", False),  # Label Studio
        ("labels/classes.txt", "images/{}.jpg", False),
        ("classes.txt", "{}.jpg", False),  # LabelImg
        ("obj.names", "obj_train_data/{}.jpg", False),  # Darknet
        ("classes.txt", "train/images/{}.jpg", True),
        ("classes.txt", "images/train/{}.jpg", True),
        ("classes.txt", "Train/{}.jpg", True),
    ],
)
def test_yolo_with_a_list_of_classes(tmp_path: Path, names: str, images: str, splits: bool) -> None:
    yolo(tmp_path, [images.format(name) for name in "ab"])
    (tmp_path / "data.yaml").unlink()
    put(tmp_path / names, "cat\ndog\n\n")
    source = open_detection_source(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert keys(source) == [images.format(name) for name in "ab"]
    assert boxes(source, keys(source)[0], 40, 20) == [[10, 5, 30, 15]]
    assert all(where == names for where, _ in source.skipped)
    if splits:
        refused(tmp_path, "no images for val", split="val")
    else:
        assert keys(open_detection_source(tmp_path, "val")) == keys(source)


def test_yolo_files_without_each_other(tmp_path: Path) -> None:
    yolo(tmp_path, ["images/train/a.jpg", "images/val/v.jpg"], train="images/train")
    put(tmp_path / "images" / "train" / "b.jpg")
    put(tmp_path / "images" / "train" / "notes.md")
    put(tmp_path / "labels" / "train" / "c.txt", "not looked at")
    put(tmp_path / "labels" / "train.cache")
    put(tmp_path / "images" / "train" / "empty.jpg")
    put(tmp_path / "labels" / "train" / "empty.txt", "\n")
    source = open_detection_source(tmp_path)
    assert keys(source) == [f"images/train/{name}.jpg" for name in ("a", "b", "empty")]
    assert len(source.objects("images/train/b.jpg", 9, 9).boxes) == 0
    ((where, what),) = source.problems
    assert (where, what[:18]) == ("labels/train/b.txt", "no such label file")
    assert set(source.skipped) == {
        ("images/train/notes.md", "not an image by its suffix '.md'"),
        ("labels/train/c.txt", "it has no image"),
    }


def test_polygons_of_yolo_are_noted(tmp_path: Path) -> None:
    yolo(tmp_path, ["images/a.jpg", "images/b.jpg"], train="images")
    for name in "ab":
        text = "1 0.2 0.3 0.6 0.3 0.4 0.9\n0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2"
        put(tmp_path / "labels" / f"{name}.txt", text)
    source = open_detection_source(tmp_path)
    found = source.objects("images/a.jpg", 100, 100)
    assert found.boxes == pytest.approx(
        np.array([[20, 30, 60, 90], [25, 25, 75, 75], [10, 10, 20, 20]], float)
    )
    assert found.labels.tolist() == [1, 0, 1]
    polygons = [where for where, what in source.problems if "polygons" in what]
    assert polygons == ["labels/a.txt", "labels/b.txt"]


def test_keypoints_are_no_polygons() -> None:
    line = "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.9 1"
    _, found, polygons = parse_labels(line, 1, "", keypoints=True)
    assert (found.tolist(), polygons) == ([[0.25, 0.25, 0.75, 0.75]], False)
    assert parse_yaml(b"{names: [a], kpt_shape: [2, 3]}", "").keypoints


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.5 0.5\n", "'0 0.5 0.5 0.5' is no line"),
        ("0 0.5 0.5 0.5 0.5\n0 a b c d", "'0 a b c d' is no line"),
        ("0 0.5 0.5 0.5 0.5 0.9", "0.5 0.9' is no line"),
        ("0 0.1 0.1 0.2 0.1 0.2 x", "0.2 x' is no line"),
        ("0,0.5,0.5,0.5,0.5", "is no line"),
        ("0 0.5 nan 0.5 0.5", "object 0 is not finite"),
        ("0 0.5 0.5 0.5 0.5\n0 inf 0.5 inf 0.5", "object 1 is not finite"),
        ("0 0.1 0.1 0.2 0.1 nan 0.3", "object 0 is not finite"),
        ("0 0.5 0.5 0.5 0.5\n0 320 240 100 80", "a coordinate 370: give fractions"),
        ("3 0.5 0.5 0.5 0.5", "class 3, but there are classes 0 to 2"),
        ("-1 0.5 0.5 0.5 0.5", "class -1,"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5,"),
        ("nan 0.5 0.5 0.5 0.5", "class nan,"),
        ("9 0.1 0.1 0.2 0.1 0.2 0.2", "class 9,"),
    ],
)
def test_mistakes_in_yolo_labels(text: str, words: str) -> None:
    with pytest.raises(FocusError, match=r"^a/b\.txt") as caught:
        parse_labels(text, 3, "a/b.txt")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [no, 1, 2.50, n]", ["no", "1", "2.50", "n"]),
        ("names: {1: dog, 0: cat}", ["cat", "dog"]),
        ("names:\n  - ' cat '\n  - 犬\nnc: 2", ["cat", "犬"]),
        ("nc: 3", ["class_0", "class_1", "class_2"]),
    ],
)
def test_class_names_of_yolo(text: str, names: list[str]) -> None:
    assert parse_yaml(text.encode(), "").names == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [a", "not YAML"),
        ("\x07", "not YAML"),
        ("a: b: c", "not YAML"),
        ("- a", "no YOLO dataset"),
        ("", "no YOLO dataset"),
        ("train: x", "names no classes"),
        ("names: []", "names no classes"),
        ("names: cat", "names no classes"),
        ("names: [a, b]\nnc: 3", "2 `names`, but `nc` is 3"),
        ("names: [a, b]\nnc: two", "`nc` is 'two'"),
        ("nc: 0", "`nc` is '0'"),
        ("names: [a, a]", "class 'a' 2 times"),
        ("names: [a, '']", "without a name"),
        ("names: [a, [b]]", "without a name"),
        ("names: {0: a, 2: b}", "does not number"),
        ("names: {a: 0}", "does not number"),
        ("names: [a]\ntrain: {a: b}", "`train` is neither"),
        ("names: [a]\nval: [[b]]", "`val` is neither"),
        ("names: [a]\npath: [b]", "`path` is no path"),
        ("names: !!python/object/apply:os.system [ls]", "class 'ls'"),
    ],
)  # fmt: skip
def test_mistakes_in_yaml(text: str, words: str) -> None:
    if words == "class 'ls'":  # tags mean nothing, nothing is run
        assert parse_yaml(text.encode(), "").names == ["ls"]
        return
    with pytest.raises(FocusError, match=r"^here\.yaml") as caught:
        parse_yaml(text.encode(), "here.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["names", "nc", "train"])
def test_aliases_do_not_blow_up(key: str) -> None:
    nested = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    text = f"a0: &a0 [x, x]\n{nested}\n{'' if key == 'names' else 'names: [cat]'}\n{key}: *a29"
    with pytest.raises(FocusError, match=r"^here") as caught:
        parse_yaml(text.encode(), "here")
    assert len(str(caught.value)) < 200


# the demo


def test_the_demo_has_one_object_per_image() -> None:
    source = open_detection_source("demo:2", "val")
    assert isinstance(source, DemoSource)
    assert source.problems == ()
    for record in source.records[::3]:
        _, width, height = decode(source.read(record.key))
        found = source.objects(record.key, width, height)
        assert found.boxes.tolist() == [list(source.box(record.key))]
        assert (found.labels.tolist(), found.ignored.tolist(), found.ids.tolist()) == (
            [record.label],
            [False],
            [0],
        )
        with pytest.raises(UnreadableImage, match="annotated as"):
            source.objects(record.key, width + 1, height)

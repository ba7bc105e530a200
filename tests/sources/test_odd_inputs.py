"""Datasets of odd layouts: links to themselves, upper-case suffixes, lists as spreadsheets write them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.sources import Source, open_source
from focusdd.sources.base import DetectionSource
from focusdd.sources.detection import open_detection_source

YAML = "train: train/images\nnames: [car]\n"
LINE = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def put(root: Path, **files: str | bytes) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(root / name)


def tar(path: Path, **members: bytes) -> None:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def found(source: Source | DetectionSource) -> dict[str, str]:
    return {record.key: source.classes[record.label] for record in source.records}


def coco(file_name: str) -> str:
    images = [{"id": 1, "file_name": file_name, "width": 40, "height": 30}]
    annotations = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]}]
    categories = [{"id": 1, "name": "car"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def voc() -> str:
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax>"
    return f"<annotation><object><name>car</name><bndbox>{corners}</bndbox></object></annotation>"


# links and folders that are in the way


def test_links_to_themselves_are_no_folders(tmp_path: Path) -> None:
    pictures(tmp_path, "a/1.jpg", "b/1.jpg")
    for name in ("loop", "a/loop", "b/loop.jpg"):
        (tmp_path / name).symlink_to(tmp_path / name)
    source = open_source(tmp_path)
    assert found(source) == {"a/1.jpg": "a", "b/1.jpg": "b"}
    assert dict(source.skipped)["b/loop.jpg"] == "Too many levels of symbolic links"


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
def test_links_to_themselves_in_datasets_of_boxes(tmp_path: Path, kind: str) -> None:
    pictures(tmp_path, "train/images/a.jpg" if kind == "yolo" else "train/a.jpg")
    if kind == "coco":
        put(tmp_path, **{"train.json": coco("a.jpg")})
    elif kind == "voc":
        put(tmp_path, **{"train/a.xml": voc()})
    else:
        put(tmp_path, **{"data.yaml": YAML, "train/labels/a.txt": LINE})
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "train" / "loop").symlink_to(tmp_path / "train" / "loop")
    assert open_detection_source(tmp_path).class_counts == (1,)


def test_folders_and_dead_links_called_like_files(tmp_path: Path) -> None:
    pictures(tmp_path / "boxes", "train/images/a.jpg")
    put(tmp_path / "boxes", **{"own.yaml": YAML, "train/labels/a.txt": LINE})
    (tmp_path / "boxes" / "folder.yaml").mkdir()
    (tmp_path / "boxes" / "dead.yml").symlink_to(tmp_path / "nowhere")
    assert open_detection_source(tmp_path / "boxes").class_counts == (1,)
    pictures(tmp_path / "list", "images/1.jpg", "images/2.jpg", "labels.csv/a/1.jpg", "labels.csv/b/1.jpg")
    put(tmp_path / "list", **{"own.csv": "file,label\n1.jpg,x\n2.jpg,y\n"})
    assert open_source(tmp_path / "list" / "labels.csv").classes == ("a", "b")
    assert open_source(tmp_path / "list" / "own.csv").classes == ("x", "y")


# suffixes in upper case


@pytest.mark.parametrize(
    ("image", "files"),
    [
        ("train/A.JPG", {"train.JSON": coco("A.JPG")}),
        ("train/A.JPG", {"train/_Annotations.COCO.JSON": coco("A.JPG")}),
        ("train/A.JPG", {"train/A.XML": voc()}),
        ("train/images/A.JPG", {"DATA.YML": YAML, "train/labels/A.TXT": LINE}),
    ],
)
def test_boxes_with_suffixes_in_upper_case(tmp_path: Path, image: str, files: dict[str, str]) -> None:
    pictures(tmp_path, image)
    put(tmp_path, **files)
    source = open_detection_source(tmp_path)
    assert source.class_counts == (1,)
    assert not source.skipped


def test_tables_with_suffixes_in_upper_case(tmp_path: Path) -> None:
    members = {f"{number}{ending}": b"%d" % number for number in range(2) for ending in (".JPG", ".CLS")}
    (tmp_path / "tars").mkdir()
    tar(tmp_path / "tars" / "X.TAR", **members)
    assert open_source(tmp_path / "tars").classes == ("0", "1")
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table({"image": [b"1", b"2"], "label": [0, 1]}), tmp_path / "tables" / "X.PARQUET")
    assert open_source(tmp_path / "tables").classes == ("0", "1")
    pictures(tmp_path / "list", "1.JPG", "2.JPG")
    put(tmp_path / "list", **{"LABELS.CSV": "FILE,LABEL\n1.JPG,x\n2.JPG,y\n"})
    assert open_source(tmp_path / "list").classes == ("x", "y")


# lists


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffile;label\r\nimages\\0.jpg;a\r\nimages\\1.jpg;b\r\n",
        " file , label \n 0.jpg , a \n 1.jpg , b \n",
        'file,label,note\n0.jpg,a,"two\nlines"\n1.jpg,b,\n',
        "file,label,note\n0.jpg,a,x\u2028y\x85\n1.jpg,b,\n",
        "file,label,note\n0.jpg,a," + "x" * 140_000 + "\n1.jpg,b,\n",
        "file,label\n0.jpg,a\n1.jpg,b\n,\n\n",
        "file,label\n{here}/images/0.jpg,a\n{here}/images/1.jpg,b\n",
    ],
    ids=["Excel", "spaces", "two lines", "U+2028", "long", "empty rows", "absolute"],
)
def test_lists_as_others_write_them(tmp_path: Path, text: str) -> None:
    pictures(tmp_path, "images/0.jpg", "images/1.jpg")
    put(tmp_path, **{"labels.csv": text.replace("{here}", str(tmp_path))})
    source = open_source(tmp_path)
    assert list(found(source).values()) == ["a", "b"]
    assert not source.skipped
    for record in source.records:
        assert decode(source.read(record.key))[1:] == (40, 30)


def test_file_names_with_line_breaks(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a %\n.jpg", "images/b\u2028.jpg")
    put(tmp_path, **{"labels.csv": 'file,label\n"a %\n.jpg",a\nb\u2028.jpg,b\n'})
    assert list(found(open_source(tmp_path)).values()) == ["a", "b"]
    pictures(tmp_path / "yolo", "images/b\u2028\x85.jpg")
    put(tmp_path / "yolo", **{"data.yaml": "train: list.txt\nnames: [car]\n"})
    put(tmp_path / "yolo", **{"list.txt": "images/b\u2028\x85.jpg\r\n", "labels/b\u2028\x85.txt": LINE})
    assert open_detection_source(tmp_path / "yolo").class_counts == (1,)


@pytest.mark.parametrize(
    "text", ["", "0.jpg,a\n1.jpg,b\n", "file,cat,dog\n0.jpg,1,0\n", "url,label\nhttp://x,a\n"]
)
def test_a_list_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    pictures(tmp_path, "images/0.jpg", "images/1.jpg")
    put(tmp_path, **{"labels.csv": text})
    for path in (tmp_path, tmp_path / "labels.csv", f"{tmp_path}?label_column=breed"):
        with pytest.raises(FocusError, match=r"no list of images: .*names its columns.*--label-column"):
            open_source(path)


def test_absolute_paths_in_coco(tmp_path: Path) -> None:
    pictures(tmp_path, "images/train/a.jpg")
    put(tmp_path, **{"annotations/train.json": coco(str(tmp_path / "images/train/a.jpg"))})
    assert list(found(open_detection_source(tmp_path))) == ["images/train/a.jpg"]


# tables and tars


def test_names_of_classes_that_are_no_names(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["x", None, 3]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": [b"1", b"2"], "label": [0, 1]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "x.parquet")
    assert open_source(tmp_path).class_names == ("0", "1")


def test_a_table_in_a_folder_below_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").mkdir()
    pq.write_table(
        pa.table({"image": [b"1", b"2"], "label": [0, 1]}), tmp_path / "x.parquet" / "part-0.parquet"
    )
    with pytest.raises(FocusError, match=r"x\.parquet holds no images: .*give it alone: it holds part-0"):
        open_source(tmp_path)
    assert open_source(tmp_path / "x.parquet").classes == ("0", "1")


def test_several_parts_of_a_saved_dataset_for_one_split(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"image": [b"1", b"2"], "label": [0, 1]})
    datasets.DatasetDict({"train_a": part, "train_b": part, "test": part}).save_to_disk(tmp_path / "x")
    with pytest.raises(FocusError, match="several parts for train, train_a, train_b: save the one"):
        open_source(tmp_path / "x")
    assert len(open_source(tmp_path / "x", "val").records) == 2


def test_columns_of_the_newer_types(tmp_path: Path) -> None:
    columns = {
        "image": pa.array([b"1", b"2"], pa.binary_view()),
        "label": pa.array(["a", "b"], pa.string_view()),
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    source = open_source(tmp_path)
    assert [source.read(record.key) for record in source.records] == [b"1", b"2"]


@pytest.mark.parametrize("cell", [{"data": {"bytes": b"1"}}, [b"1"], [{"bytes": b"1", "path": "x"}]])
def test_images_that_are_nested_are_to_be_written_as_bytes(tmp_path: Path, cell: Any) -> None:
    pq.write_table(
        pa.Table.from_pylist([{"image": cell, "label": n} for n in range(2)]), tmp_path / "x.parquet"
    )
    with pytest.raises(FocusError, match=r"no column of images \(bytes, .*: write one; it has image"):
        open_source(tmp_path)


def test_the_plainest_image_of_a_sample_is_taken(tmp_path: Path) -> None:
    members = {}
    for number in range(2):
        members |= {
            f"{number}.cls": b"%d" % number,
            f"{number}.depth.png": b"depth",
            f"{number}.jpg": b"image",
        }
    tar(tmp_path / "x.tar", **members)
    source = open_source(tmp_path)
    assert list(found(source)) == ["x.tar/0.jpg", "x.tar/1.jpg"]
    assert {source.read(record.key) for record in source.records} == {b"image"}
    assert source.skipped[0] == ("x.tar/0.depth.png", "a second image of the sample 0")


def test_labels_in_tars_that_are_none_or_marked(tmp_path: Path) -> None:
    labels = {"0.json": b"[" * 100_000, "1.cls": b"\xef\xbb\xbf1", "2.cls": b" 2\r\n"}
    images = {f"{number}.jpg": b"image" for number in range(3)}
    tar(tmp_path / "x.tar", **labels, **images)
    assert found(open_source(tmp_path)) == {"x.tar/1.jpg": "1", "x.tar/2.jpg": "2"}


def test_tars_called_like_classes_in_upper_case(tmp_path: Path) -> None:
    for name in ("n01440764", "n02102040"):
        tar(tmp_path / f"{name}.TAR", **{"0.JPG": b"image"})
    assert open_source(tmp_path).classes == ("n01440764", "n02102040")


def test_a_class_without_a_name_beside_tars(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", **{"0.jpg": b"image", "0.cls": b"0", "1.jpg": b"image", "1.cls": b"2"})
    put(tmp_path, **{"classes.txt": "cat\n\ndog\n"})
    with pytest.raises(FocusError, match=r"classes\.txt does not list class names: put one on a line"):
        open_source(tmp_path)


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    put(tmp_path, **{"boxes.zip": b"PK"})
    with pytest.raises(FocusError, match="unpack it where it is an archive"):
        open_detection_source(tmp_path / "boxes.zip")

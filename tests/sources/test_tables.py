"""Tars, Parquet tables and Hugging Face datasets: the same images whatever they are packed in."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd import DistillSettings, ExtractSettings, distill, extract
from focusdd.core import console
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage
from focusdd.demo.run import WEIGHTS
from focusdd.settings import SourceSettings
from focusdd.settings.source import with_options
from focusdd.sources import DemoSource, FolderSource, Source, files, open_source, parquet, webdataset
from focusdd.sources.classes import folder_names, labelled, require_same_classes
from focusdd.sources.hub import HubSource
from focusdd.sources.webdataset import TarSource

datasets = pytest.importorskip("datasets")

Members = Sequence[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Listings are kept apart for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def tar_of(members: Members, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def samples(labels: Sequence[Any], ending: str = "cls", start: int = 0) -> list[tuple[str, bytes]]:
    """An image and a label file for each label; the image's bytes are its number."""
    found = []
    for number, label in enumerate(labels, start):
        value = json.dumps({"label": label}) if ending == "json" else str(label)
        found += [(f"{number:05d}.{ending}", value.encode()), (f"{number:05d}.jpg", b"picture %d" % number)]
    return found


def table_of(labels: Sequence[Any], names: list[str] | None = None, start: int = 0) -> datasets.Dataset:
    images = [{"bytes": b"picture %d" % number, "path": None} for number, _ in enumerate(labels, start)]
    kind = datasets.Value("string") if names is None else datasets.ClassLabel(names=names)
    features = datasets.Features({"image": datasets.Image(), "label": kind})
    return datasets.Dataset.from_dict({"image": images, "label": list(labels)}, features=features)


def write_parquet(path: Path, *args: Any, row_group: int = 3, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(*args, **options).data.table, path, row_group_size=row_group)
    return path


def content(source: Source) -> list[tuple[str, bytes]]:
    """Class and bytes of every image."""
    return [(source.classes[record.label], source.read(record.key)) for record in source.records]


# names of classes


@given(st.lists(st.text(st.characters(codec=None), max_size=300), max_size=8))
def test_class_folders_are_safe_whatever_the_labels(names: list[str]) -> None:
    folders = folder_names([*names, *names])
    assert len({folder.casefold() for folder in folders}) == 2 * len(names)
    for folder in folders:
        assert 0 < len(folder.encode()) <= 120
        assert folder[0] not in ". "
        assert folder[-1] not in ". "
        assert not set(folder) & set('/\\:*?"<>|\0\n\x7f')


@given(st.lists(st.from_regex(r"[a-z0-9_-]{1,40}", fullmatch=True), unique=True))
def test_harmless_names_stay(names: list[str]) -> None:
    kept = [
        name for name in names if name not in ("con", "nul", "aux", "prn") and name[:3] not in ("com", "lpt")
    ]
    assert folder_names(kept) == tuple(kept)


@pytest.mark.parametrize(
    "names",
    [
        ["a/b", "a:b", "a_b"],
        ["Cat", "cat"],
        ["..", "", "."],
        ["x" * 300, "x" * 301],
        ["crane", "crane"],
        ["metadata.jsonl", "CON"],
        ["é", "e\u0301"],
        ["/", "../../etc", "\ud800"],
    ],
)
def test_names_that_would_meet(names: list[str], tmp_path: Path) -> None:
    for folder in folder_names(names):
        (tmp_path / folder).mkdir()
    assert len(list(tmp_path.iterdir())) == len(names)
    found = labelled(names, list(range(len(names))), names, "it")
    assert sorted(found.class_names) == sorted(name.replace("\ud800", "?") for name in names)


@given(st.lists(st.one_of(st.none(), st.integers(-2, 120)), min_size=1))
def test_numbers_keep_their_order(values: list[int | None]) -> None:
    known = sorted({value for value in values if value is not None and value >= 0})
    if len(known) < 2:
        given = [value for value in values if value is not None]
        unlabelled = bool(given) and max(given) < 0
        words = "it is not labelled" if unlabelled else "telling classes apart needs two"
        with pytest.raises(FocusError, match=words):
            labelled([str(n) for n in range(len(values))], values, None, "it")
        return
    found = labelled([str(n) for n in range(len(values))], values, None, "it")
    assert [int(name) for name in found.classes] == known
    assert list(found.classes) == sorted(found.classes)
    wanted = [known.index(value) if value in known else None for value in values]
    assert found.labels == wanted


def test_a_number_beyond_the_names() -> None:
    with pytest.raises(FocusError, match="label 3, but its list of classes has 2 names"):
        labelled(["x", "y"], [0, 3], ["a", "b"], "it")


# names of files


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("t-{000..002}.tar", ["t-000.tar", "t-001.tar", "t-002.tar"]),
        ("t-{8..11}.tar", ["t-8.tar", "t-9.tar", "t-10.tar", "t-11.tar"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("plain", ["plain"]),
        ("{odd}", ["{odd}"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert files.expand(pattern) == names


@pytest.mark.parametrize("pattern", ["{3..1}", "{0..9999999999}", "{0..9999}{0..9999}"])
def test_ranges_that_cannot_be_meant(pattern: str) -> None:
    with pytest.raises(FocusError, match=r"backwards|more than"):
        files.expand(pattern)


LAYOUTS = [  # of the training and the validation files, and a pattern for both
    ("train/0{}", "val/0{}", "*/*{}"),
    ("train-000{}", "validation-000{}", "*{}"),
    ("data/train-00000-of-00001{}", "data/test-00000-of-00001{}", "data/*{}"),
    ("training/part{}", "valid/part{}", "{{training,valid}}/part*{}"),
]


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.parametrize(("train", "val", "pattern"), LAYOUTS)
def test_splits(tmp_path: Path, train: str, val: str, pattern: str, suffix: str) -> None:
    """A pattern over both splits takes no training images for validation either."""
    for number, place in enumerate((train, val)):
        path = tmp_path / place.format(suffix)
        if suffix == ".tar":
            write(path, tar_of(samples(["a", "b"], start=2 * number)))
        else:
            write_parquet(path, ["a", "b"], start=2 * number)
    for name in (str(tmp_path), f"{tmp_path}/{pattern.format(suffix)}"):
        train_source, val_source = open_source(name), open_source(name, "val")
        assert content(train_source) == [("a", b"picture 0"), ("b", b"picture 1")]
        assert content(val_source) == [("a", b"picture 2"), ("b", b"picture 3")]
        assert train_source.fingerprint != val_source.fingerprint


def test_a_folder_without_the_split_and_a_pattern_that_means_it(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", tar_of(samples("ab")))
    with pytest.raises(FocusError, match="no images for val, its splits are train"):
        open_source(tmp_path, "val")
    assert len(open_source(f"{tmp_path}/train-*.tar", "val").records) == 2
    assert len(open_source(f"{tmp_path}/train-{{0..0}}.tar", "val").records) == 2
    assert len(open_source(tmp_path / "train-0.tar", "val").records) == 2


def test_distilled_and_class_folders_stay_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "train" / name / "1.jpg", b"picture")
    write_parquet(tmp_path / "plan.parquet", ["a", "b"])
    assert isinstance(open_source(tmp_path), FolderSource)
    assert isinstance(open_source(tmp_path / "train"), FolderSource)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none-*.tar", "no .tar files at .*none-"),
        ("none.tar", "there is no .*none.tar"),
        ("t-{0..1}.tar", "there is no .*t-1.tar"),
        ("t.tar.gz", "compressed.*unpack"),
        ("t.tgz", "compressed.*unpack"),
        ("none.parquet", "there is no .*none.parquet"),
        ("nothing", "there is no folder"),
    ],
)
def test_nothing_there(tmp_path: Path, name: str, words: str) -> None:
    write(tmp_path / "t-0.tar", tar_of(samples("ab")))
    write(tmp_path / "t.tar.gz", b"")
    with pytest.raises(FocusError, match=words) as caught:
        open_source(f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["nostore://bucket/x.tar", "memory://nothing-here", "memory://nothing/x.tar"]
)
def test_stores_that_are_not_there(name: str) -> None:
    with pytest.raises(FocusError, match=name.partition(":")[0]):
        open_source(name)


def test_names_that_mean_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called demo or hf:x is opened again by the name its source has."""
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "hf:x"):
        write(tmp_path / folder / "0.tar", tar_of(samples("ab")))
        source = open_source(Path(folder))
        assert isinstance(source, TarSource)
        assert open_source(source.name).fingerprint == source.fingerprint


# tars


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"(\./|x/|x\.y/)?[a-zé0-9]{1,130}", fullmatch=True), st.binary(max_size=1500)
        ),
        min_size=2,
        max_size=12,
        unique_by=lambda pair: pair[0].removeprefix("./"),
    ),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from(["cls", "json"]),
    st.randoms(),
)
def test_a_tar_reads_as_tarfile_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[str, bytes]],
    format: int,
    ending: str,
    random: Any,
) -> None:
    """Places from the headers give the bytes that unpacking gives, for long names and any order."""
    members = [(f"{name}.jpg", data) for name, data in images]
    for number, (name, _) in enumerate(images):
        value = json.dumps({"caption": "é", "label": number % 2}) if ending == "json" else f"{number % 2}\n"
        members.append((f"{name}.{ending}", value.encode()))
    random.shuffle(members)
    path = tmp_path_factory.mktemp("tars") / "x.tar"
    path.write_bytes(tar_of(members, format))
    source = open_source(path)
    with tarfile.open(path) as tar:
        slow = {m.name.removeprefix("./"): tar.extractfile(m).read() for m in tar.getmembers()}
    assert [record.key for record in source.records] == [
        f"x.tar/{name}" for name in slow if name.endswith(".jpg")
    ]
    for record in source.records:
        name = record.key.removeprefix("x.tar/")
        assert source.read(record.key) == slow[name]
        label = slow[name.removesuffix("jpg") + ending].decode()
        assert source.classes[record.label] == str(
            json.loads(label)["label"] if ending == "json" else int(label)
        )
    again = open_source(path)  # from the cache
    assert (again.records, again.skipped, again.fingerprint) == (
        source.records,
        source.skipped,
        source.fingerprint,
    )


@pytest.mark.parametrize(
    ("ending", "data", "label"),
    [
        ("cls", b"3", 3),
        ("cls", b" 007\n", 7),
        ("cls", b"-1", -1),
        ("cls", b"n01440764", "n01440764"),
        ("cls", b"", None),
        ("cls", b"\xff", None),
        ("json", b'{"label": 2}', 2),
        ("json", b'{"class": "cat", "caption": "x"}', "cat"),
        ("json", b'{"cls": "5"}', 5),
        ("json", b'{"label": true}', None),
        ("json", b'{"label": 1.5}', None),
        ("json", b'{"label": null, "cls": 1}', 1),
        ("json", b'["label"]', None),
        ("json", b"3", None),
        ("json", b"{", None),
    ],
)
def test_labels_in_tars(ending: str, data: bytes, label: Any) -> None:
    assert webdataset._label(data, ending) == label


def test_odd_members_are_left_out_and_listed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.tar",
        tar_of(
            [
                *samples("ab"),
                ("../out.jpg", b"x"),
                ("/root.jpg", b"x"),
                ("00000.jpg", b"again"),
                ("00001.png", b"second"),
                ("alone.jpg", b"no label"),
                ("._00000.jpg", b"hidden"),
                ("caf\udce9.jpg", b"x"),
                ("README", b"x"),
            ],
            tarfile.GNU_FORMAT,
        ),
    )
    with tarfile.open(path, "a") as tar:
        for name, kind in (
            ("link.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("f.jpg", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "00000.jpg"
            tar.addfile(info)
    source = open_source(path)
    assert content(source) == [("a", b"picture 0"), ("b", b"picture 1")]
    reasons = {key.removeprefix("x.tar/"): reason for key, reason in source.skipped}
    assert set(reasons) == {
        *("../out.jpg", "/root.jpg", "00000.jpg", "00001.png", "alone.jpg", "caf\\udce9.jpg"),
        *("link.jpg", "hard.jpg", "f.jpg"),
    }
    assert ".cls" in reasons["alone.jpg"]
    json.dumps(source.skipped).encode()


def test_names_with_dots_in_tars(tmp_path: Path) -> None:
    """A sample ends at the first dot, except where the label lies beside the whole name."""
    members = [
        ("a/v1.2/x.0001.jpg", b"one"), ("a/v1.2/x.0001.cls", b"0"),
        ("a/v1.2/x.0002.jpg", b"two"), ("a/v1.2/x.0002.json", b'{"label": 1}'),
        ("b.left.jpg", b"left"), ("b.right.jpg", b"right"), ("b.cls", b"1"),
        ("c.jpg", b"three"), ("c.cls", b"0"),
        ("__MACOSX/._c.jpg", b"mac"), ("._c.jpg", b"mac"),
    ]  # fmt: skip
    write(tmp_path / "x.tar", tar_of(members))
    source = open_source(tmp_path)
    assert [(record.label, source.read(record.key)) for record in source.records] == [
        (0, b"one"), (1, b"two"), (1, b"left"), (0, b"three")
    ]  # fmt: skip
    assert source.skipped == (("x.tar/b.right.jpg", "a second image of the sample b"),)


@pytest.mark.parametrize("damage", ["cut in data", "cut at a member", "cut in a header", "garbage", "empty"])
def test_damaged_tars_are_named(tmp_path: Path, damage: str) -> None:
    data = tar_of(samples("abab"))
    data = {
        "cut in data": data[: 512 * 7 + 5],
        "cut at a member": data[: 512 * 4],
        "cut in a header": data[: 512 * 4 + 100],
        "garbage": data[: 512 * 4] + b"\x01" * 2048,
        "empty": b"",
    }[damage]
    path = write(tmp_path / "x.tar", data)
    for _ in range(2):  # nothing of it is kept
        with pytest.raises(FocusError, match=r"x\.tar is no whole tar.*copy it again") as caught:
            open_source(path)
        assert "\n" not in str(caught.value)


def test_tars_without_labels_say_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "x.tar", tar_of([("1.jpg", b"x"), ("1.txt", b"a cat"), ("2.jpg", b"y")]))
    with pytest.raises(FocusError, match=r'no labels: looked for a \.cls, or a \.json with "label"'):
        open_source(tmp_path)
    write(tmp_path / "x.tar", tar_of([("1.cls", b"x")]))
    with pytest.raises(FocusError, match="no images"):
        open_source(tmp_path)
    write(tmp_path / "x.tar", tar_of(samples("aa")))
    with pytest.raises(FocusError, match="one class only, 'a'"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "tars",
    [
        {"x.tar": ["cat/1.a.jpg", "cat/1.b.jpg", "dog/1.jpg"]},
        {"train-0.tar": ["./photos/cat/1.jpg", "photos/cat/2.jpg"], "train-1.tar": ["photos/dog/1.jpg"]},
        {"train/n02123045.tar": ["1.JPEG", "2.JPEG"], "train/n02102040.tar": ["1.JPEG"]},  # of ImageNet
    ],
)
def test_classes_of_tars_by_folders(tmp_path: Path, tars: dict[str, list[str]]) -> None:
    for name, members in tars.items():
        write(tmp_path / name, tar_of([(file, file.encode()) for file in members]))
    for _ in range(2):  # from the cache as well
        source = open_source(tmp_path)
        assert sorted(np.bincount([record.label for record in source.records]).tolist()) == [1, 2]
        assert source.place.endswith("classes by folders")
        assert all(source.read(record.key).decode().endswith(record.key[-6:]) for record in source.records)
    names = (("cat", "dog"), ("English springer", "tabby"))
    assert source.class_names in names


@pytest.mark.parametrize(
    "tars",
    [
        {"x.tar": ["train/cat/1.jpg", "test/cat/2.jpg", "train/dog/1.jpg"]},
        {"train-0.tar": ["1.jpg", "2.jpg"], "train-1.tar": ["3.jpg"]},
        {"x.tar": ["cat/1.jpg", "2.jpg", "dog/3.jpg"]},
    ],
)
def test_tars_whose_folders_are_no_classes(tmp_path: Path, tars: dict[str, list[str]]) -> None:
    for name, members in tars.items():
        write(tmp_path / name, tar_of([(file, b"x") for file in members]))
    with pytest.raises(FocusError, match=r"have no labels: .*unpack the tars into such folders"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "zebra\nant\n"),
        ("classes.json", '["zebra", "ant"]'),
        ("classes.json", '{"1": "ant", "0": "zebra"}'),
    ],
)
def test_names_of_numbers_lie_beside_the_tars(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path / "train" / "x.tar", tar_of(samples([0, 1, 1])))
    (tmp_path / file).write_text(text)
    source = open_source(tmp_path)
    assert source.classes == ("ant", "zebra")
    assert [record.label for record in source.records] == [1, 0, 0]


@pytest.mark.parametrize("text", ["{", "3", '{"a": "b"}', "[1]"])
def test_names_that_are_none(tmp_path: Path, text: str) -> None:
    write(tmp_path / "x.tar", tar_of(samples([0, 1])))
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(FocusError, match=r"classes\.json does not list class names"):
        open_source(tmp_path)


def test_the_cache_is_of_this_state_of_the_tar(tmp_path: Path, own_cache: Path) -> None:
    path = write(tmp_path / "x.tar", tar_of(samples("ab")))
    first = open_source(path)
    path.write_bytes(tar_of(samples("ba", start=1)))  # of the same size
    second = open_source(path)
    assert first.fingerprint != second.fingerprint
    assert content(second) == [("b", b"picture 1"), ("a", b"picture 2")]
    (kept,) = (file for file in own_cache.rglob("*.json") if b'"b"], ["00002' in file.read_bytes())
    for text in ("{", "[]", "[1, 2]", "null"):  # a damaged listing is made again
        kept.write_text(text)
        assert content(open_source(path)) == content(second)


def test_a_tar_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", tar_of(samples("ab")))
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FocusError, match=r"x\.tar is shorter"):
        source.read(source.records[1].key)
    path.unlink()
    with pytest.raises(FocusError, match=r"there is no .*x\.tar"):
        source.read(source.records[0].key)


# Parquet


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", None]), max_size=9), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(0, 60),
)
def test_a_table_reads_as_pyarrow_reads_it(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str | None]], row_group: int, kept: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    parts[0] += ["a", "b"]
    start = 0
    for number, labels in enumerate(parts):
        write_parquet(folder / f"{number}.parquet", labels, start=start, row_group=row_group)
        start += len(labels)
    slow = pq.read_table(folder).to_pylist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_KEPT", kept)
        source = open_source(folder)
        wanted = [(row["label"], row["image"]["bytes"]) for row in slow if row["label"]]
        assert content(source) == wanted
        backwards = [source.read(record.key) for record in source.records[::-1]]
        assert backwards == [data for _, data in wanted[::-1]]
    assert len(source.skipped) == len(slow) - len(wanted)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        (pa.array([b"1", b"2"]), pa.array([0, 1], pa.int8())),
        (pa.array([b"1", b"2"], pa.large_binary()), pa.array(["0", "1"]).dictionary_encode()),
        (
            pa.array([{"bytes": b"1", "path": "a"}, {"bytes": b"2", "path": None}]),
            pa.array(["0", "1"], pa.large_string()),
        ),
    ],
)
def test_kinds_of_columns(tmp_path: Path, image: pa.Array, label: pa.Array) -> None:
    pq.write_table(pa.table({"id": ["x", "y"], "img": image, "cls": label}), tmp_path / "x.parquet")
    assert content(open_source(tmp_path)) == [("0", b"1"), ("1", b"2")]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"text": ["a"], "label": [1]}, "no column of images.*text .string., label .int64."),
        ({"image": [b"x"], "caption": ["a"]}, "no column of labels.*image .binary., caption .string."),
        ({"image": [b"x"], "label": [0.5]}, "labels that are not whole numbers"),
        ({"image": [b"x"], "label": ["a"]}, "one class only, 'a'"),
        ({"image": [b"x"], "label": [-1]}, "is not labelled, all labels are below zero"),
        ({"image": [b"x"], "kind": ["a"], "place": ["b"]}, "name it with --label-column; it has"),
        ({"image": [b"x"], "label": [""]}, "no labels"),
    ],
)
def test_tables_without_the_columns(tmp_path: Path, columns: dict[str, list[Any]], words: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(FocusError, match=words) as caught:
        open_source(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "options", "classes"),
    [
        ({"image": [b"x", b"y"], "species": ["ox", "ass"]}, {}, ("ass", "ox")),
        ({"image": [b"x", b"y"], "kind": ["ox", "ass"], "file_name": ["1", "2"]}, {}, ("ass", "ox")),
        ({"image": [b"x", b"y"], "label": [1.0, 0.0]}, {}, ("0", "1")),
        ({"image": [b"x", b"y", b"z"], "label": [1.0, 0.0, float("nan")]}, {}, ("0", "1")),
        ({"image": [b"x", b"y"], "label": [True, False]}, {}, ("false", "true")),
        (
            {"image": [b"x", b"y"], "label": [1, 0], "Art": ["ox", "ass"]},
            {"label_column": "Art"},
            ("ass", "ox"),
        ),
        ({"thumb": [b"", b""], "scan": [b"x", b"y"], "label": [1, 0]}, {"image_column": "scan"}, ("0", "1")),
    ],
)
def test_columns_by_other_names(
    tmp_path: Path, columns: dict[str, list[Any]], options: dict[str, str], classes: tuple[str, ...]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    source = open_source(with_options(str(tmp_path), SourceSettings(**options)))
    assert source.classes == classes
    assert source.read("x.parquet/0000000") == b"x"
    if options:
        with pytest.raises(FocusError, match=r"no column of .* called 'none'.*name it with --"):
            open_source(with_options(str(tmp_path), SourceSettings(**dict.fromkeys(options, "none"))))


def test_other_classes_are_named() -> None:
    def said(classes: list[str], expected: list[str]) -> str:
        with pytest.raises(FocusError) as caught:
            require_same_classes("val", classes, "photos", expected)
        return str(caught.value)

    require_same_classes("val", ["a", "b"], "photos", ("a", "b"))
    assert "other classes, 2 and 2: it lacks 'b'; only it has 'c'; give" in said(["a", "c"], ["a", "b"])
    assert said(["a"], ["a", "b"]).endswith("1 and 2: it lacks 'b'; give images of the same classes")
    assert "another order" in said(["b", "a"], ["a", "b"])
    assert "only by upper and lower case or Unicode form, such as 'Cat' and 'cat'" in said(["Cat"], ["cat"])
    assert "Unicode form, such as 'cafe\u0301' and 'caf\u00e9'" in said(["cafe\u0301"], ["caf\u00e9"])
    assert "'07' and 12 more; give" in said([f"{n:02d}" for n in range(20)], ["x"])


def test_bad_tables(tmp_path: Path) -> None:
    good = write_parquet(tmp_path / "0.parquet", [0, 1], ["a", "b"])
    bad = write(tmp_path / "1.parquet", good.read_bytes()[:-20])
    with pytest.raises(FocusError, match=r"1\.parquet is no whole Parquet file.*copy it again"):
        open_source(tmp_path)
    bad.unlink()
    write_parquet(bad, [0, 1], ["b", "a"])
    with pytest.raises(FocusError, match=r"1\.parquet has other columns or classes"):
        open_source(tmp_path)
    for metadata in (b"{", b"[]", b'{"info": {"features": 3}}'):
        table = pa.table({"image": [b"1", b"2"], "label": ["a", "b"]}).replace_schema_metadata(
            {b"huggingface": metadata}
        )
        pq.write_table(table, bad)
        assert len(open_source(bad).records) == 2


def test_an_image_without_bytes_is_skipped_later(tmp_path: Path) -> None:
    images = pa.array([{"bytes": None, "path": "/etc/hosts"}, {"bytes": b"2", "path": None}])
    pq.write_table(pa.table({"image": images, "label": ["a", "b"]}), tmp_path / "x.parquet")
    source = open_source(tmp_path)
    with pytest.raises(UnreadableImage, match="no bytes"):
        source.read(source.records[0].key)


# Hugging Face datasets


def test_saved_datasets_and_names(tmp_path: Path) -> None:
    train, val = (
        table_of([0, 2, 1, -1], ["zebra", "ant", "b/c"]),
        table_of([0, 1], ["zebra", "ant", "b/c"], start=9),
    )
    datasets.DatasetDict({"train": train, "test": val}).save_to_disk(tmp_path / "both")
    train.save_to_disk(tmp_path / "one")
    for name in (tmp_path / "both", f"hf:{tmp_path}/both", tmp_path / "one"):
        source = open_source(name)
        assert isinstance(source, HubSource)
        assert content(source) == [("zebra", b"picture 0"), ("b_c", b"picture 1"), ("ant", b"picture 2")]
        assert source.class_names == ("ant", "b/c", "zebra")
        assert source.skipped == (("0000003", "no label"),)
        again = open_source(source.name)
        assert (again.fingerprint, again.records) == (source.fingerprint, source.records)
    held_out = open_source(tmp_path / "both", "val")
    assert content(held_out) == [("zebra", b"picture 9"), ("ant", b"picture 10")]
    assert held_out.fingerprint != open_source(tmp_path / "both").fingerprint


@pytest.mark.parametrize("form", ["parquet", "image folder"])
def test_what_datasets_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: Any, draw: Any, form: str
) -> None:
    """`hf:` takes whatever `datasets.load_dataset` takes; an image may then be a path instead of bytes."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pictures = [encoded(draw(8, 8, seed)) for seed in range(4)]
    if form == "parquet":
        images = [{"bytes": data, "path": None} for data in pictures]
        table = pa.table({"image": images, "label": ["a", "a", "b", "b"]})
        pq.write_table(table, write(tmp_path / "data" / "train-0.parquet", b""))
    else:
        for number, data in enumerate(pictures):
            write(tmp_path / "data" / "train" / "aabb"[number] / f"{number}.png", data)
    source = open_source(f"hf:{tmp_path}/data")
    assert sorted(content(source)) == sorted(zip("aabb", pictures, strict=True))
    assert open_source(source.name).fingerprint == source.fingerprint
    assert source.read(source.records[0].key)


def test_datasets_that_are_not_there(tmp_path: Path) -> None:
    datasets.DatasetDict({"extra": table_of("ab")}).save_to_disk(tmp_path / "extra")
    with pytest.raises(FocusError, match="no images for train, its splits are extra"):
        open_source(tmp_path / "extra")
    with pytest.raises(FocusError, match="after hf: comes"):
        open_source("hf:")
    with pytest.raises(FocusError, match="hf:nobody/nothing cannot be opened") as caught:
        open_source("hf:nobody/nothing")
    assert "\n" not in str(caught.value)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    for name in ("hf:someone/photos", "hf://datasets/someone/photos"):
        with pytest.raises(FocusError, match=r'pip install "focusdd\[hub\]"'):
            open_source(name)


# all of them


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Twenty demo images as a folder, tars, Parquet and a Hugging Face dataset."""
    root = tmp_path_factory.mktemp("packed")
    demo = DemoSource(2)
    members: list[tuple[str, bytes]] = []
    for number, record in enumerate(demo.records):
        data, name = demo.read(record.key), demo.classes[record.label]
        write(root / "folder" / record.key, data)
        members += [(f"{number:03d}.cls", name.encode()), (f"{number:03d}.jpg", data)]
    write(root / "tars" / "train-0.tar", tar_of(members[:16]))
    write(root / "tars" / "train-1.tar", tar_of(members[16:]))
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(demo.classes)[::-1])}
    )
    rows = {
        "image": [{"bytes": data, "path": None} for _, data in members[1::2]],
        "label": [9 - record.label for record in demo.records],
    }
    table = datasets.Dataset.from_dict(rows, features=features)
    (root / "parquet").mkdir()
    pq.write_table(table.data.table, root / "parquet" / "train-0.parquet", row_group_size=7)
    table.save_to_disk(root / "saved")
    fs = fsspec.filesystem("memory")
    for path in ("tars/train-0.tar", "tars/train-1.tar", "parquet/train-0.parquet"):
        fs.pipe_file(f"/focusdd-test/{path}", (root / path).read_bytes())
    return {
        "folder": f"{root}/folder",
        "tars": f"{root}/tars/train-{{0..1}}.tar",
        "parquet": f"{root}/parquet",
        "saved": f"{root}/saved",
        "tars in a store": "memory://focusdd-test/tars",
        "range in a store": "memory://focusdd-test/tars/train-{0..1}.tar",
        "parquet in a store": "memory://focusdd-test/parquet/*.parquet",
    }


def test_the_same_images_whatever_they_are_packed_in(packed: dict[str, str]) -> None:
    wanted = content(open_source(packed["folder"]))
    sources = {form: open_source(name) for form, name in packed.items()}
    for form, source in sources.items():
        assert content(source) == wanted, form
        assert list(source.classes) == sorted(source.classes), form
        assert open_source(source.name).fingerprint == source.fingerprint, form
        assert len({record.key for record in source.records}) == len(wanted), form
        with pytest.raises(FocusError):
            source.read("elsewhere/9999999")
    assert len({source.fingerprint for source in sources.values()}) >= 4


def test_reading_from_many_threads(packed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_KEPT", 1)  # row groups come and go
    wanted = dict(enumerate(data for _, data in content(open_source(packed["folder"]))))
    order = np.random.default_rng(0).integers(0, len(wanted), 400)
    for form, name in packed.items():
        source = open_source(name)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda row: source.read(source.records[row].key), order))  # noqa: B023
        assert found == [wanted[row] for row in order], form


def test_the_same_distilled_pixels_whatever_they_are_packed_in(
    packed: dict[str, str], tmp_path: Path
) -> None:
    options = DistillSettings(ipc=1, size=128, format="png", keep=0.5, seed=3)
    made = {}
    for form in ("folder", "tars", "parquet", "saved", "range in a store"):
        source = open_source(packed[form])
        out = tmp_path / form.replace(" ", "-")
        views = ExtractSettings(extractor=str(WEIGHTS / "vit"), tile=64)
        index = extract(source, out / "index", views)
        tiny = distill(source, out / "tiny", options, index=index)
        made[form] = {
            path.relative_to(tiny.folder).as_posix(): np.asarray(Image.open(path)).tobytes()
            for path, _ in tiny.files()
        }
    assert len(made["folder"]) == 10
    for form, pictures in made.items():
        assert pictures == made["folder"], form


def test_a_counter_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_PLAIN_SECONDS", 0.0)
    write(tmp_path / "t" / "0.tar", tar_of(samples("abc")))
    write_parquet(tmp_path / "p" / "0.parquet", ["a", "b"])
    for name in ("1", "2"):
        write(tmp_path / "f" / name / "1.jpg", b"x")
    for folder, words in (("t", ": 6 files, "), ("p", ": 2 rows, "), ("f", ": 2 images, ")):
        open_source(tmp_path / folder)
        assert words in capsys.readouterr().out


def test_records_can_be_sent_to_other_processes(packed: dict[str, str]) -> None:
    tars = open_source(packed["tars"])
    assert pickle.loads(pickle.dumps(tars)).read(tars.records[0].key) == tars.read(tars.records[0].key)

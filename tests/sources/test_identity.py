"""What makes two sources the same, and what happens when a file changes behind an index."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import focusdd
from focusdd import DistillSettings, ExtractSettings, TrainSettings, distill, extract, open_source
from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.core.images import decode
from focusdd.demo.run import WEIGHTS
from focusdd.sources.identity import content_hash, content_hashes, listing_hash, num_shared, require_other

MakeFolder = Callable[..., Path]
VIT = ExtractSettings(extractor=str(WEIGHTS / "vit"), tile=32, batch_size=32)
TINY = DistillSettings(ipc=1, size=32, grid=1, views=0)


def test_hashes() -> None:
    assert content_hash(b"picture") == hashlib.sha256(b"picture").hexdigest()[:16]
    listings = [[("a", 1), ("b", 2)], [("a", 12)], [("a", 1), ("b", 3)], [("b", 2), ("a", 1)], []]
    assert len({listing_hash(files) for files in listings}) == len(listings)
    assert listing_hash([], "x") != listing_hash([], "y")


def test_shared_images_are_counted() -> None:
    assert num_shared(["a", "b"], ["b", "c", "b"], "val") == 2
    assert num_shared([], ["b"], "val") == 0


def test_validation_on_the_training_images_is_refused(image_folder: MakeFolder) -> None:
    root = image_folder()
    source, val = open_source(root), open_source(root, "val")
    with pytest.raises(FocusError, match="--holdout") as caught:
        require_other(val, source.fingerprint, source.name)
    assert str(root) in str(caught.value)
    require_other(open_source("demo:2", "val"), open_source("demo:2").fingerprint, "demo")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The demo's images as files, all of one size."""
    source = open_source("demo:12")
    for record in source.records:
        path = tmp_path / "photos" / Path(record.key).with_suffix(".bmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        decode(source.read(record.key))[0].save(path)
    return tmp_path / "photos"


def test_a_copy_is_the_same_source_to_an_index(photos: Path, tmp_path: Path) -> None:
    root = photos
    index = extract(open_source(root), tmp_path / "index", VIT)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copy)
    made = distill(open_source(copy), tmp_path / "tiny", TINY, index=index)
    rows = pq.read_table(made.folder / "plan.parquet").to_pylist()
    assert [row["hash"] for row in rows] == [content_hash((root / row["key"]).read_bytes()) for row in rows]
    hashes = content_hashes(open_source(root), [record.key for record in open_source(root).records])
    assert index.hashes(hashes) == hashes and index.info["content"] == hash_of(hashes)


def test_other_bytes_of_the_same_size_are_noticed_when_read(photos: Path, tmp_path: Path) -> None:
    root = photos
    index = extract(open_source(root), tmp_path / "index", VIT)
    for path in (root / "9-nine").iterdir():
        data = bytearray(path.read_bytes())
        data[-1] ^= 255
        path.write_bytes(data)
    source = open_source(root)
    assert source.fingerprint == index.info["source"]["fingerprint"]
    with pytest.raises(FocusError, match=r"9-nine/.*\.bmp of .* has changed since .*`focusdd extract`"):
        distill(source, tmp_path / "tiny", TINY.model_copy(update={"ipc": 2}), index=index)


def test_images_of_both_splits_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of ten validation images is a copy of an image that the distilled dataset shows."""
    train, val = open_source("demo:4"), open_source("demo:4", "val")
    made = distill(train, tmp_path / "tiny", DistillSettings(method="random", ipc=1, size=32))
    shown = made.plan().tiles[0]
    folder = tmp_path / "val"
    for record in val.records:
        (folder / record.key).parent.mkdir(parents=True)
        (folder / record.key).write_bytes(val.read(record.key))
    (folder / val.records[0].key).write_bytes(train.read(shown.key))
    settings = TrainSettings(student="test_resnet", labels="hard", epochs=1, size=32)
    result = focusdd.train(made, open_source(folder), tmp_path / "student", settings)
    assert result.val["shared"] == 1
    assert f"1 of 10 validation images of {folder} is a training image as well" in capsys.readouterr().out

"""What makes two sources the same, and what happens when a file changes behind an index."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from focusdd import DistillSettings, ExtractSettings, distill, extract, open_source
from focusdd.core.errors import FocusError
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
    assert num_shared(["a", "b"], ["b", "c", "b"]) == 2
    assert num_shared([], ["b"]) == 0


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
    hashes = index.hashes
    assert hashes == content_hashes(open_source(root), [record.key for record in open_source(root).records])


def test_other_bytes_of_the_same_size_are_noticed_when_read(photos: Path, tmp_path: Path) -> None:
    root = photos
    index = extract(open_source(root), tmp_path / "index", VIT)
    path = root / "9-nine" / "00000.bmp"
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)
    source = open_source(root)
    assert source.fingerprint == index.info["source"]["fingerprint"]
    with pytest.raises(FocusError, match=r"9-nine/00000\.bmp .* has changed since .*`focusdd extract`"):
        distill(source, tmp_path / "tiny", TINY.model_copy(update={"ipc": 12}), index=index)

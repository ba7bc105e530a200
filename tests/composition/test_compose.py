"""Composing: the right pixels in the right cells, a folder for every loader, the same bytes every time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd.composition.dataset import Distilled, open_distilled
from focusdd.composition.images import LABELLED, compose, cut
from focusdd.composition.images import draw as compose_one
from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.extraction.geometry import cell_box
from focusdd.selection.plan import Plan, Tile
from focusdd.settings import ComposeSettings, DistillSettings
from focusdd.sources import FolderSource, Record
from focusdd.tasks.distill import distill

CLASSES = ("ant", "bee", "cat")


class Memory:
    """A source of files held in memory."""

    name, split, classes, class_names, skipped, fingerprint = "memory", "train", CLASSES, CLASSES, (), "x"

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.records = tuple(Record(key, 0) for key in files)

    def read(self, key: str) -> bytes:
        return self.files[key]


def tile(key: str, box: tuple[float, float, float, float], size: tuple[int, int], cell: int = 0) -> Tile:
    row, column = divmod(cell, 2)
    return Tile("patch", key, box, *size, 0.5, "ant/ant_00000", 0, row, column)


def files_of(out: Path) -> dict[str, bytes]:
    """Everything but run.json, which tells of time and place."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "run.json"}


# pixels


@settings(max_examples=60, deadline=None)
@given(
    st.data(), st.integers(8, 90), st.integers(8, 90), st.integers(8, 60), st.sampled_from(["PNG", "JPEG"])
)
def test_a_tile_is_the_box_of_the_full_image(
    draw: Callable[..., Image.Image],
    encoded: Callable[..., bytes],
    data: st.DataObject,
    width: int,
    height: int,
    side: int,
    format: str,
) -> None:
    x0, y0 = data.draw(st.floats(0, width - 2)), data.draw(st.floats(0, height - 2))
    x1, y1 = data.draw(st.floats(x0 + 1, width)), data.draw(st.floats(y0 + 1, height))
    # less than half the size would be decoded at a reduced scale from JPEG; see below
    if format == "JPEG" and max(side / (x1 - x0), side / (y1 - y0)) <= 0.5:
        side = round(max(x1 - x0, y1 - y0))
    file = encoded(draw(width, height), format)
    found = cut(Memory(a=file), tile("a", (x0, y0, x1, y1), (width, height)), side, side)
    wanted = decode(file)[0].resize((side, side), Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize("size", [(1001, 1001), (1000, 1007), (1993, 1001), (1003, 1600)])
@pytest.mark.parametrize("reach", [1000, 900, 460])
@pytest.mark.parametrize("corner", ["first", "last"])
def test_a_reduced_jpeg_shows_the_same_place(
    encoded: Callable[..., bytes], size: tuple[int, int], reach: int, corner: str
) -> None:
    """Also at the far edge, where the last pixel stands for fewer than 8 of the original."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = 128 + 60 * np.sin(x / 13) + 60 * np.sin(y / 17)
    picture = Image.fromarray(np.repeat(waves[..., None], 3, axis=2).astype(np.uint8))
    box = (0, 0, reach, reach) if corner == "first" else (width - reach, height - reach, width, height)
    file = encoded(picture, "JPEG", quality=98)
    assert min(decode(file, 2 * 112 * min(size) // reach + 1)[0].size) < min(size), "it is reduced"
    found = cut(Memory(a=file), tile("a", box, size), 112, 112)
    wanted = picture.resize((112, 112), Image.Resampling.BICUBIC, box=box)
    error = np.abs(np.asarray(found, dtype=float) - np.asarray(wanted))
    assert error.mean() < 2.0
    assert error.max() < 25


@pytest.mark.parametrize("reach", [900, 460])
def test_a_reduced_jpeg_keeps_the_detail_that_a_tile_can_show(
    encoded: Callable[..., bytes], reach: int
) -> None:
    """Noise as fine as the tile's pixels comes through; at half the scale it would not."""
    grains = 112 * 1001 // reach
    noise = np.random.default_rng(0).integers(0, 256, (grains, grains, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((1001, 1001), Image.Resampling.BICUBIC)
    box = (1001 - reach, 1001 - reach, 1001, 1001)
    found = cut(
        Memory(a=encoded(picture, "JPEG", quality=98, subsampling=0)), tile("a", box, (1001, 1001)), 112, 112
    )
    wanted = picture.resize((112, 112), Image.Resampling.BICUBIC, box=box)
    error = np.abs(np.asarray(found, dtype=float) - np.asarray(wanted)).mean()
    assert error < 0.1 * np.asarray(wanted).std()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.integers(16, 300))
def test_cells_tile_the_canvas(grid: int, size: int) -> None:
    covered = np.zeros((size, size), int)
    for row in range(grid):
        for column in range(grid):
            x0, y0, x1, y1 = cell_box(row, column, grid, size)
            covered[y0:y1, x0:x1] += 1
            assert abs(x1 - x0 - size / grid) < 1
            assert abs(y1 - y0 - size / grid) < 1
    assert (covered == 1).all()


def test_tiles_are_in_their_cells(encoded: Callable[..., bytes]) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
    source = Memory(
        **{f"k{n}": encoded(Image.new("RGB", (30, 20), colour)) for n, colour in enumerate(colours)}
    )
    tiles = [tile(f"k{n}", (0, 0, 30, 20), (30, 20), cell=n) for n in range(4)]
    canvas = np.asarray(compose_one(source, tiles, 2, 40))
    assert canvas.shape == (40, 40, 3)
    for number, (top, left) in enumerate([(0, 0), (0, 20), (20, 0), (20, 20)]):  # row by row
        assert (canvas[top : top + 20, left : left + 20] == colours[number]).all()


def test_an_image_that_changed_or_cannot_be_read_is_named(encoded: Callable[..., bytes]) -> None:
    picture = encoded(Image.new("RGB", (30, 20)))
    with pytest.raises(FocusError, match=r"a of memory has changed since .*`focusdd extract`"):
        cut(Memory(a=picture), tile("a", (0, 0, 20, 20), (20, 30)), 8, 8)
    with pytest.raises(FocusError, match="a of memory cannot be read any more"):
        cut(Memory(a=picture[:40]), tile("a", (0, 0, 20, 20), (30, 20)), 8, 8)


def test_a_failure_leaves_whole_images_alone(tmp_path: Path, encoded: Callable[..., bytes]) -> None:
    good = encoded(Image.new("RGB", (30, 20)))
    source = Memory(good=good, bad=b"no image")
    tiles = [
        Tile("view", key, (0, 0, 30, 20), 30, 20, 0.0, f"ant/ant_{n:05d}", 0, 0, 0)
        for n, key in enumerate(["good"] * 5 + ["bad"] + ["good"] * 5)
    ]
    with pytest.raises(FocusError, match="bad of memory"):
        compose(source, Plan(1, tuple(tiles)), tmp_path, ComposeSettings(size=16), LABELLED)
    for path in tmp_path.rglob("*"):
        assert path.suffix != ".tmp"
        if path.suffix == ".jpg":
            assert decode(path.read_bytes())[1:] == (16, 16)
    source.files["bad"] = good
    assert compose(source, Plan(1, tuple(tiles)), tmp_path, ComposeSettings(size=16), LABELLED) == 11
    assert len(list(tmp_path.glob("train/ant/*.jpg"))) == 11


# the folder


@pytest.fixture
def source(image_folder: Callable[..., Path]) -> FolderSource:
    return FolderSource(image_folder(CLASSES, per_class=10, size=(60, 45)))


@pytest.fixture
def make(source: FolderSource, make_index: Callable[..., object], tmp_path: Path) -> Callable[..., Distilled]:
    """make(name, **settings): distils the source into tmp_path/name."""
    counts = dict.fromkeys(CLASSES, 10)
    index = make_index(counts, sizes=(60, 45), fingerprint=source.fingerprint, tile=16)

    def run(name: str = "out", **options: object) -> Distilled:
        settings = DistillSettings(**{"ipc": 2, "grid": 2, "size": 32, "format": "png"} | options)
        return distill(source, tmp_path / name, settings, index=index)

    return run


def test_every_pixel_comes_from_the_image_on_record(
    make: Callable[..., Distilled], source: FolderSource
) -> None:
    """From the files alone: plan.parquet says which box of which image every cell shows."""
    distilled = make(size=33)
    plan = distilled.plan()
    files = distilled.files()
    assert len(files) == 6
    for (path, label), (image, tiles) in zip(files, sorted(plan.images()), strict=True):
        assert path == distilled.folder / "train" / f"{image}.png"
        assert distilled.classes[label] == path.parent.name
        canvas = np.asarray(Image.open(path))
        for one in tiles:
            x0, y0, x1, y1 = cell_box(one.row, one.column, plan.grid, 33)
            original = Image.open(source.root / one.key)
            wanted = original.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=one.box)
            np.testing.assert_array_equal(canvas[y0:y1, x0:x1], np.asarray(wanted))


def test_metadata_agrees_with_the_plan(make: Callable[..., Distilled]) -> None:
    distilled = make(format="jpg")
    rows = pq.read_table(distilled.folder / "plan.parquet").to_pylist()
    lines = (distilled.folder / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    for line in map(json.loads, lines):
        assert (distilled.folder / "train" / line["file_name"]).is_file()
        mine = [row for row in rows if row["image"] + ".jpg" == line["file_name"]]
        assert {row["label"] for row in mine} == {line["label"]}
        assert distilled.classes[line["label"]] == line["class_name"]
        for row, described in zip(mine, line["tiles"], strict=True):
            assert {name: row[name] for name in ("row", "column", "kind")} == {
                name: described[name] for name in ("row", "column", "kind")
            }
            assert row["key"] == described["source"]
            assert described["box"] == pytest.approx(
                [row[name] for name in ("x0", "y0", "x1", "y1")], abs=0.006
            )


def test_torchvision_reads_it(make: Callable[..., Distilled]) -> None:
    from torchvision.datasets import ImageFolder

    distilled = make()
    dataset = ImageFolder(distilled.folder / "train")
    assert tuple(dataset.classes) == distilled.classes
    assert [(Path(path), label) for path, label in dataset.samples] == distilled.files()
    assert dataset[0][0].size == (32, 32)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # timm leaves files open
def test_timm_reads_it(make: Callable[..., Distilled]) -> None:
    from timm.data import create_dataset

    distilled = make()
    dataset = create_dataset("", root=str(distilled.folder), split="train")
    found = sorted((Path(dataset.filename(i, absolute=True)), dataset[i][1]) for i in range(len(dataset)))
    assert found == distilled.files()


def test_hugging_face_reads_it(make: Callable[..., Distilled], tmp_path: Path) -> None:
    import datasets

    distilled = make()
    dataset = datasets.load_dataset(
        "imagefolder", data_dir=str(distilled.folder), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert len(dataset) == 6
    pictures = {(path.parent.name, path.read_bytes()): label for path, label in distilled.files()}
    found = {
        (row["class_name"], row["image"]["bytes"] or Path(row["image"]["path"]).read_bytes()): row["label"]
        for row in dataset.cast_column("image", datasets.Image(decode=False))
    }
    assert found == pictures
    assert dataset[0]["image"].size == (32, 32)
    assert len(dataset[0]["tiles"]) == 4


@pytest.mark.parametrize("format", ["png", "jpg"])
def test_the_same_settings_give_the_same_bytes(make: Callable[..., Distilled], format: str) -> None:
    one, two = (make(name, format=format, keep=0.8, seed=3).folder for name in ("one", "two"))
    assert files_of(one) == files_of(two)
    other = make("other", format=format, keep=0.8, seed=4).folder
    assert files_of(other).keys() == files_of(one).keys()
    assert files_of(other)["plan.parquet"] != files_of(one)["plan.parquet"]


def test_interrupted_work_is_finished_with_the_same_bytes(make: Callable[..., Distilled]) -> None:
    out = make().folder
    before = files_of(out)
    for name in ("done.json", "distilled.json", "train/bee/bee_00001.png", "train/cat/cat_00000.png"):
        (out / name).unlink()
    shutil.rmtree(out / "train" / "ant")
    (out / "train" / "bee" / ".bee_00001.png.0123abcd.tmp").write_bytes(b"half")
    with pytest.raises(FocusError, match="unfinished"):
        open_distilled(out)
    make()
    assert files_of(out) == before


def test_complete_work_is_left_alone(make: Callable[..., Distilled], source: FolderSource) -> None:
    out = make().folder
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    shutil.rmtree(source.root)  # nothing is read either
    assert make().folder == out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_a_missing_or_foreign_image_is_named(make: Callable[..., Distilled]) -> None:
    distilled = make()
    path = distilled.folder / "train" / "bee" / "bee_00000.png"
    copy = path.with_name("mine.png")
    shutil.copy(path, copy)
    with pytest.raises(FocusError, match=r"mine\.png does not belong"):
        distilled.files()
    copy.unlink()
    path.unlink()
    with pytest.raises(FocusError, match=r"bee_00000\.png is missing"):
        distilled.files()


def test_classes_with_odd_names(tmp_path: Path, image_folder: Callable[..., Path]) -> None:
    names = ("Äpfel & Birnen", "a b", "c" * 255, "it's", "犬")
    source = FolderSource(image_folder(names, per_class=2))
    distilled = distill(source, tmp_path / "out", DistillSettings(method="random", ipc=1, size=16))
    assert distilled.classes == tuple(sorted(names))
    assert [path.parent.name for path, _ in distilled.files()] == sorted(names)

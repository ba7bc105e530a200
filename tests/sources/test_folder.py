"""Sources: what is listed, in which order, what is left out, and what a user is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd.core.errors import FocusError
from focusdd.core.images import decode
from focusdd.settings import SourceSettings
from focusdd.settings.source import split_options, with_options
from focusdd.sources import DemoSource, FolderSource, demo, open_source
from focusdd.sources.disk import require_apart

MakeFolder = Callable[..., Path]


def touch(*paths: Path) -> None:
    """Files that only have to be there: listing opens none."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")


def keys(source: FolderSource) -> list[str]:
    return [record.key for record in source.records]


# folders


def test_classes_and_images_in_sorted_order(image_folder: MakeFolder) -> None:
    root = image_folder(["pear", "apple", "10", "9"], per_class=2)
    source = open_source(root)
    assert source.classes == ("10", "9", "apple", "pear")
    assert source.class_names == source.classes
    assert [(record.key, record.label) for record in source.records] == [
        (f"{name}/{number:03d}.png", label)
        for label, name in enumerate(("10", "9", "apple", "pear"))
        for number in range(2)
    ]
    assert source.skipped == ()
    assert source.name == str(root)
    assert source.read("pear/001.png") == (root / "pear" / "001.png").read_bytes()


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *(("train", "train"), ("training", "train"), ("Training", "train")),
        *(("val", "val"), ("validation", "val"), ("test", "val"), ("Testing", "val")),
    ],
)
def test_splits(tmp_path: Path, folder: str, split: str) -> None:
    touch(tmp_path / folder / "a" / "1.jpg", tmp_path / folder / "b" / "1.jpg")
    source = open_source(tmp_path, split)
    assert (source.classes, keys(source)) == (("a", "b"), ["a/1.jpg", "b/1.jpg"])
    assert source.split == split


def test_each_split_has_its_own_images(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        touch(tmp_path / split / "a" / f"{number}.jpg", tmp_path / split / "b" / f"{number}.jpg")
    assert keys(open_source(tmp_path, "train")) == ["a/1.jpg", "b/1.jpg"]
    assert keys(open_source(tmp_path, "val")) == ["a/2.jpg", "b/2.jpg"]
    assert open_source(tmp_path, "train").fingerprint != open_source(tmp_path, "val").fingerprint


@pytest.mark.parametrize(("there", "asked"), [("train", "val"), ("val", "train"), ("test", "train")])
def test_a_missing_split_is_no_set_of_classes(tmp_path: Path, there: str, asked: str) -> None:
    """Not even where two splits could pass for two classes."""
    for folder in {there, "test" if there == "val" else there}:
        touch(tmp_path / folder / "a" / "1.jpg", tmp_path / folder / "b" / "1.jpg")
    with pytest.raises(FocusError, match=f"no images for {asked}, its splits are .*{there}") as caught:
        open_source(tmp_path, asked)
    assert str(tmp_path) in str(caught.value)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "1.jpg" for name in ("bus", "car", "train", "test")))
    for split in ("train", "val"):
        assert open_source(tmp_path, split).classes == ("bus", "car", "test", "train")


def test_images_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x" / "y" / "2.JPG", tmp_path / "a" / "1.jpeg", tmp_path / "b" / "z" / "3.webp")
    assert keys(open_source(tmp_path)) == ["a/1.jpeg", "a/x/y/2.JPG", "b/z/3.webp"]


MISTAKES = {
    "missing": ([], "there is no folder"),
    "file": (["."], "is a file"),
    "empty": (["readme.txt"], "has no class folders"),
    "flat": (["1.jpg", "2.jpg"], "has no class folders"),
    "one": (["cat/1.jpg"], "one class folder only, 'cat'"),
    "no_images": (["cat/1.jpg", "dog/notes.txt"], "dog holds no images"),
    "empty_class": (["cat/1.jpg", "dog/.hidden.jpg"], "dog holds no images"),
    "empty_train": (["train/readme.txt"], "train has no class folders"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence_with_the_path(tmp_path: Path, name: str) -> None:
    files, words = MISTAKES[name]
    root = tmp_path / name
    if files == ["."]:
        root.write_text("a file")
    else:
        touch(*(root / file for file in files))
    with pytest.raises(FocusError, match=words) as caught:
        open_source(root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FocusError, match="Permission denied") as caught:
        open_source(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_image_that_is_gone_is_named(image_folder: MakeFolder) -> None:
    root = image_folder()
    source = open_source(root)
    (root / "pear" / "001.png").unlink()
    with pytest.raises(FocusError, match=r"pear/001\.png"):
        source.read("pear/001.png")


def test_unicode_and_long_names(tmp_path: Path) -> None:
    names = ["Äpfel und Birnen", "犬", "c" * 200, "emoji 🐈"]
    touch(*(tmp_path / name / ("ü" * 90 + " 1.jpg") for name in names))
    source = open_source(tmp_path)
    assert source.classes == tuple(sorted(names))
    assert all(source.read(record.key) == b"picture" for record in source.records)


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg")
    (tmp_path / "a" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"picture")
    source = open_source(tmp_path)
    assert keys(source) == ["a/1.jpg", "b/1.jpg"]
    assert source.skipped == (("'caf\\udce9.jpg'", "its name is not valid unicode"),)
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(FocusError, match="not valid unicode") as caught:
        open_source(tmp_path)
    str(caught.value).encode()


def test_hidden_files_and_folders_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg")
    touch(tmp_path / "a" / ".2.jpg", tmp_path / "a" / ".thumbs" / "3.jpg", tmp_path / ".git" / "4.jpg")
    source = open_source(tmp_path)
    assert (source.classes, keys(source), source.skipped) == (("a", "b"), ["a/1.jpg", "b/1.jpg"], ())


def test_other_files_are_listed_as_skipped(tmp_path: Path) -> None:
    touch(
        tmp_path / "a" / "1.jpg",
        tmp_path / "a" / "notes.txt",
        tmp_path / "a" / "x" / "raw",
        tmp_path / "b" / "1.gif",
    )
    os.mkfifo(tmp_path / "b" / "pipe.jpg")  # reading it would wait for ever
    (tmp_path / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "b" / "self.jpg").symlink_to(tmp_path / "b" / "self.jpg")
    source = open_source(tmp_path)
    assert keys(source) == ["a/1.jpg", "b/1.gif"]
    reasons = dict(source.skipped)
    assert list(reasons) == ["a/notes.txt", "a/x/raw", "b/gone.jpg", "b/pipe.jpg", "b/self.jpg"]
    assert "'.txt'" in reasons["a/notes.txt"]
    assert "suffix" in reasons["a/x/raw"]
    assert all(reasons.values())


def test_linked_class_folders_are_read(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "1.jpg", tmp_path / "root" / "b" / "1.jpg")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "b" / "more").symlink_to(tmp_path / "elsewhere")
    source = open_source(tmp_path / "root")
    assert (source.classes, keys(source)) == (("a", "b"), ["a/1.jpg", "b/1.jpg", "b/more/1.jpg"])


@pytest.mark.parametrize("target", ["root/a", "root/a/x", "root", "."])
def test_link_loops_end_and_bring_no_other_class(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    touch(
        root / "a" / "1.jpg",
        root / "a" / "x" / "2.jpg",
        root / "b" / "3.jpg",
        tmp_path / "val" / "c" / "4.jpg",
    )
    (root / "a" / "x" / "loop").symlink_to(tmp_path / target)
    source = open_source(root)
    assert [(record.key, record.label) for record in source.records] == [
        ("a/1.jpg", 0),
        ("a/x/2.jpg", 0),
        ("b/3.jpg", 1),
    ]
    assert source.skipped == (("a/x/loop", "a link back to a folder already read"),)


def test_the_fingerprint_follows_the_files(image_folder: MakeFolder) -> None:
    root = image_folder()
    seen = [open_source(root).fingerprint]
    assert open_source(root).fingerprint == seen[0]

    def changed() -> str:
        seen.append(open_source(root).fingerprint)
        return seen[-1]

    touch(root / "apple" / "new.png")
    assert changed() not in seen[:-1]
    (root / "apple" / "new.png").rename(root / "apple" / "newer.png")
    assert changed() not in seen[:-1]
    (root / "apple" / "newer.png").write_bytes(b"longer picture")
    assert changed() not in seen[:-1]
    os.utime(root / "apple" / "newer.png", ns=(1, 1))
    assert changed() == seen[-2], "times are nobody's business"
    (root / "apple" / "newer.png").rename(root / "pear" / "newer.png")
    assert changed() not in seen[:-1]
    (root / "pear" / "newer.png").unlink()
    assert changed() == seen[0]


def test_wordnet_folders_get_names(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "1.jpg" for name in ("n01440764", "n02102040", "n99999999", "n1")))
    source = open_source(tmp_path)
    assert dict(zip(source.classes, source.class_names, strict=True)) == {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n1": "n1",
        "n99999999": "n99999999",
    }


@pytest.mark.parametrize(
    ("train", "val"),
    [("Train", "Valid"), ("training_set", "test_set"), ("TRAIN", "test"), ("train-2", "val-2")],
)
def test_splits_by_other_names(tmp_path: Path, train: str, val: str) -> None:
    for folder, number in ((train, 1), (val, 2)):
        touch(tmp_path / folder / "a" / f"{number}.jpg", tmp_path / folder / "b" / f"{number}.jpg")
    touch(tmp_path / "__MACOSX" / train / "x.jpg")
    assert keys(open_source(tmp_path)) == ["a/1.jpg", "b/1.jpg"]
    assert keys(open_source(tmp_path, "val")) == ["a/2.jpg", "b/2.jpg"]


@pytest.mark.parametrize(
    "folders", [("train", "test"), ("train",), ("training_set", "test_set"), ("Train", "val")]
)
def test_splits_without_class_folders_are_no_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        touch(tmp_path / folder / "1.jpg")
    with pytest.raises(FocusError, match=r"without class folders: expected .*<class>/<image>\.jpg"):
        open_source(tmp_path)


def test_a_hierarchy_is_no_guess(tmp_path: Path) -> None:
    files = [f"{path}/1.jpg" for path in ("a/hat", "a/cap", "b/shoes")]
    touch(*(tmp_path / file for file in files))
    with pytest.raises(FocusError, match="top for a, b, or --classes deep for cap, hat, shoes"):
        open_source(tmp_path)
    top, deep = open_source(f"{tmp_path}?classes=top"), open_source(f"{tmp_path}?classes=deep")
    assert (top.classes, keys(top)) == (("a", "b"), ["a/cap/1.jpg", "a/hat/1.jpg", "b/shoes/1.jpg"])
    assert deep.classes == ("cap", "hat", "shoes")
    assert [(record.key, record.label) for record in deep.records] == [
        ("a/cap/1.jpg", 0),
        ("a/hat/1.jpg", 1),
        ("b/shoes/1.jpg", 2),
    ]
    assert deep.read("b/shoes/1.jpg") == b"picture"
    assert top.fingerprint != deep.fingerprint
    touch(tmp_path / "b" / "hat" / "1.jpg")
    assert open_source(f"{tmp_path}?classes=deep").classes == ("a-cap", "a-hat", "b-hat", "b-shoes")
    assert open_source(tmp_path).classes == ("a", "b"), "the same folders in several classes divide nothing"


def test_what_systems_and_storage_boxes_leave_is_not_there(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg")
    for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "$RECYCLE.BIN", "lost+found", "#recycle"):
        touch(tmp_path / name / "x.jpg", tmp_path / "a" / name / "1.jpg")
    touch(tmp_path / "a" / "Thumbs.db", tmp_path / "b" / "desktop.ini", tmp_path / "a" / "._1.jpg")
    source = open_source(tmp_path)
    assert (source.classes, keys(source), source.skipped) == (("a", "b"), ["a/1.jpg", "b/1.jpg"], ())


def test_a_folder_too_high_says_which_one_is_meant(tmp_path: Path) -> None:
    touch(tmp_path / "photos" / "a" / "1.jpg", tmp_path / "photos" / "b" / "1.jpg")
    with pytest.raises(FocusError, match=rf"give {tmp_path / 'photos'}, which holds 2 folders"):
        open_source(f"{tmp_path}?classes=top")


@pytest.mark.parametrize("depth", ["photos", "archive/photos", "a/b/c"])
def test_the_folder_that_is_meant_may_lie_deeper(tmp_path: Path, depth: str) -> None:
    for split in ("train", "valid"):
        touch(tmp_path / depth / split / "a" / "1.jpg", tmp_path / depth / split / "b" / "1.jpg")
    with pytest.raises(FocusError, match=f"give {tmp_path / depth}, which holds 2 folders"):
        open_source(tmp_path)
    assert len(open_source(tmp_path / depth).records) == 2, "the remedy helps"


def test_a_folder_without_images_beside_the_one_of_the_classes(tmp_path: Path) -> None:
    touch(*(tmp_path / "Images" / name / "1.jpg" for name in "ab"), tmp_path / "annotations" / "a.xml")
    with pytest.raises(FocusError, match=f"or give {tmp_path / 'Images'} if the classes are there"):
        open_source(tmp_path)
    assert open_source(tmp_path / "Images").classes == ("a", "b")


def test_splits_inside_of_the_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        touch(tmp_path / name / "train" / "1.jpg", tmp_path / name / "test" / "2.jpg")
    assert keys(open_source(tmp_path)) == ["cat/train/1.jpg", "dog/train/1.jpg"]
    assert keys(open_source(tmp_path, "val")) == ["cat/test/2.jpg", "dog/test/2.jpg"]
    everything = open_source(f"{tmp_path}?classes=top")
    assert len(everything.records) == 4
    touch(tmp_path / "cat" / "3.jpg")
    assert len(open_source(tmp_path).records) == 5, "not all images of the class are in splits"


def test_several_datasets_are_no_classes(tmp_path: Path) -> None:
    for name in ("bottle", "cable"):
        touch(*(tmp_path / name / split / "good" / "1.jpg" for split in ("train", "test")))
    with pytest.raises(FocusError, match="datasets with splits of their own, bottle, cable: give one"):
        open_source(tmp_path)
    assert len(open_source(f"{tmp_path}?classes=top").records) == 4


def test_a_split_that_is_there_twice_is_no_guess(tmp_path: Path) -> None:
    touch(*(tmp_path / folder / "a" / "1.jpg" for folder in ("train1", "train2", "test")))
    with pytest.raises(FocusError, match="several folders for train, train1 and train2: put them into one"):
        open_source(tmp_path)


def test_a_split_without_class_folders_is_named(tmp_path: Path) -> None:
    touch(*(tmp_path / "train" / name / "1.jpg" for name in "ab"), tmp_path / "val" / "1.jpg")
    assert len(open_source(tmp_path).records) == 2
    with pytest.raises(FocusError, match=rf"{tmp_path}/val is by its name a split, but holds images without"):
        open_source(tmp_path, "val")
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(FocusError, match="images with boxes are for `focusdd detect`"):
        open_source(tmp_path, "val")


def test_a_second_split_of_the_same_use_is_said_to_be_unused(tmp_path: Path) -> None:
    touch(*(tmp_path / split / name / "1.jpg" for split in ("train", "validation", "test") for name in "ab"))
    assert open_source(tmp_path, "val").place == f"{tmp_path}/validation (not used: test)"
    assert open_source(tmp_path).place == f"{tmp_path}/train"


def test_images_in_no_class_folder_are_listed(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "1.jpg" for name in "ab"), tmp_path / "cover.jpg", tmp_path / "labels.csv")
    assert open_source(tmp_path).skipped == (
        ("cover.jpg", "it is in no class folder"),
        ("labels.csv", "not an image by its suffix '.csv'"),
    )


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    touch(tmp_path / "photos" / "train.zip")
    with pytest.raises(FocusError, match=r"train\.zip is compressed.*unpack it to a folder"):
        open_source(tmp_path / "photos" / "train.zip")
    with pytest.raises(FocusError, match=r"has no class folders.*there are train\.zip"):
        open_source(tmp_path / "photos")


# lists of images


def listed(root: Path, rows: list[str], file: str = "labels.csv", images: str = "images/{}") -> Path:
    """A CSV file, and an image for the first field of each row but the first."""
    for row in rows[1:]:
        touch(root / images.format(row.replace(";", ",").split(",")[0]))
    touch(root / file)
    (root / file).write_text("\n".join(rows))
    return root


@pytest.mark.parametrize(
    ("file", "images", "head", "names"),
    [
        ("labels.csv", "images/{}", "filename,label", ("1.jpg", "2.jpg")),
        ("labels.csv", "{}", "path;class", ("x/1.jpg", "x/2.jpg")),
        ("train/metadata.csv", "train/{}", "file_name,label", ("1.jpg", "2.jpg")),
        ("train_labels.csv", "train/{}", "filename,width,class", ("1.jpg", "2.jpg")),
        ("train.csv", "train/{}.jpg", "id,breed", ("001", "002")),
        ("train.csv", "images/train/{}", "image,note,target", ("1.jpg", "2.jpg")),
    ],
)
def test_lists_of_images(tmp_path: Path, file: str, images: str, head: str, names: tuple[str, str]) -> None:
    mark = ";" if ";" in head else ","
    middle = [f"x{mark}"] * head.count("width") + [f"y{mark}"] * head.count("note")
    rows = [head, *(f"{name}{mark}{''.join(middle)}{label}" for name, label in zip(names, "ba", strict=True))]
    listed(tmp_path, rows, file, images)
    for path in (tmp_path, tmp_path / file):
        source = open_source(path)
        assert source.classes == ("a", "b")
        assert [record.label for record in source.records] == [1, 0]
        assert all(source.read(record.key) == b"picture" for record in source.records)
        assert open_source(source.name).fingerprint == source.fingerprint
        assert file in source.place


def test_what_a_list_leaves_out(tmp_path: Path) -> None:
    rows = ["filename,label", "1.jpg,10", "2.jpg,9", "2.jpg,9", "3.jpg,9", "3.jpg,10", "4.jpg,"]
    listed(tmp_path, rows)
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "gone.jpg,9"]))
    source = open_source(tmp_path)
    assert source.classes == ("09", "10")
    assert [(record.key, record.label) for record in source.records] == [("1.jpg", 1), ("2.jpg", 0)]
    assert source.skipped == (
        ("3.jpg", "the list gives it several labels"),
        ("gone.jpg", "No such file or directory"),
        ("4.jpg", "no label"),
    )


def test_splits_of_lists(tmp_path: Path) -> None:
    for split, name in (("train", "1"), ("test", "2")):
        rows = ["id,label", *(f"{name}{label}{number}.jpg,{label}" for label in "ab" for number in range(2))]
        listed(tmp_path, rows, f"{split}.csv", split + "/{}")
    assert keys(open_source(tmp_path)) == ["1a0.jpg", "1a1.jpg", "1b0.jpg", "1b1.jpg"]
    assert keys(open_source(tmp_path, "val")) == ["2a0.jpg", "2a1.jpg", "2b0.jpg", "2b1.jpg"]
    (tmp_path / "test.csv").write_text("id\n2a0.jpg\n2b0.jpg")  # as in competitions: without labels
    with pytest.raises(FocusError, match=r"no images for val, its splits are train: .*--holdout"):
        open_source(tmp_path, "val")
    assert len(open_source(f"{tmp_path}?holdout=0.5", "val").records) == 2
    other = tmp_path / "other"
    rows = ["id,label,split", "1.jpg,a,train", "2.jpg,b,train", "3.jpg,a,test", "4.jpg,b,test"]
    listed(other, rows)
    assert keys(open_source(other, "val")) == ["3.jpg", "4.jpg"]


def test_lists_that_are_no_guess(tmp_path: Path) -> None:
    root = listed(tmp_path, ["filename,color,size", "1.jpg,red,big", "2.jpg,blue,small"])
    with pytest.raises(FocusError, match=r"labels\.csv is no list of images: .*--label-column"):
        open_source(root / "labels.csv")
    source = open_source(f"{root}?label_column=color")
    assert source.classes == ("blue", "red")
    touch(root / "copy.csv")
    (root / "copy.csv").write_bytes((root / "labels.csv").read_bytes())
    with pytest.raises(FocusError, match=r"several lists, .*copy\.csv, .*labels\.csv: give the one"):
        open_source(f"{root}?label_column=color")


def test_class_folders_go_before_lists(tmp_path: Path) -> None:
    listed(tmp_path, ["filename,label", "a/1.jpg,x", "b/1.jpg,y"], images="{}")
    assert open_source(tmp_path).classes == ("a", "b")
    assert open_source(tmp_path / "labels.csv").classes == ("x", "y")


def test_photographs_that_nobody_reads_come_with_the_remedy(tmp_path: Path) -> None:
    touch(
        tmp_path / "a" / "1.jpg",
        tmp_path / "a" / "2.HEIC",
        tmp_path / "b" / "1.jpg",
        tmp_path / "b" / "1.xml",
    )
    assert open_source(tmp_path).skipped == (
        ("a/2.HEIC", "Pillow reads no .heic files: convert them to JPEG or PNG"),
        ("b/1.xml", "not an image by its suffix '.xml'"),
    )


# settings in the name


def test_held_out_images_are_a_share_of_every_class(tmp_path: Path) -> None:
    for name, count in (("a", 20), ("b", 5), ("c", 1)):
        touch(*(tmp_path / name / f"{number:02d}.jpg" for number in range(count)))
    name = f"{tmp_path}?holdout=0.2"
    train, val = open_source(name), open_source(name, "val")
    assert (train.name, val.name, val.split) == (name, name, "val")
    assert sorted([*train.records, *val.records]) == sorted(open_source(tmp_path).records)
    assert np.bincount([record.label for record in val.records], minlength=3).tolist() == [4, 1, 0]
    assert train.classes == val.classes == ("a", "b", "c")
    assert len({train.fingerprint, val.fingerprint, open_source(tmp_path).fingerprint}) == 3
    assert open_source(name, "val").records == val.records
    other = open_source(f"{name}&holdout_seed=1", "val")
    assert not hasattr(other, "box") and hasattr(open_source("demo:4?holdout=0.5"), "box")
    assert (other.records, len(other.records)) != (val.records, 5)
    assert "20% of it held out for validation by seed 0" in val.place
    with pytest.raises(FocusError, match="lies in the source"):
        require_apart(tmp_path / "index", train)
    require_apart(tmp_path.with_name("index"), train)


@pytest.mark.parametrize("option", ["holdout=1.5", "holdout=x", "holdout=", "classes=all"])
def test_settings_without_such_a_value(tmp_path: Path, option: str) -> None:
    with pytest.raises(FocusError, match=option.partition("=")[0]):
        open_source(f"{tmp_path}?{option}")


def test_settings_of_another_kind_of_source(image_folder: MakeFolder) -> None:
    with pytest.raises(FocusError, match="--label-column means nothing for"):
        open_source(f"{image_folder()}?label_column=x")


def test_a_wrong_setting_in_a_name_is_called_as_it_stands_there() -> None:
    with pytest.raises(FocusError, match=r"^photos\?holdout_seed=x: holdout_seed: "):
        split_options("photos?holdout_seed=x")


def test_names_travel_with_their_settings() -> None:
    name = with_options("photos/a?b", SourceSettings(holdout=0.25, label_column="the & column"))
    assert split_options(name) == ("photos/a?b", SourceSettings(holdout=0.25, label_column="the & column"))
    for plain in ("photos", "photos-?.tar", "photos?", "a?b=c"):
        assert with_options(plain, SourceSettings()) == plain
        assert split_options(plain) == (plain, SourceSettings())


# the demo


def test_the_demo_has_ten_classes() -> None:
    for name, split, per_class in (("demo", "train", 200), ("demo:8", "train", 8), ("demo:8", "val", 2)):
        source = open_source(name, split)
        assert source.name == name
        assert len(source.classes) == len(source.class_names) == 10
        counts = np.bincount([record.label for record in source.records])
        assert counts.tolist() == [per_class] * 10
        assert len({record.key for record in source.records}) == 10 * per_class
        assert open_source(source.name, split).fingerprint == source.fingerprint


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["train", "val"]), st.integers(0, 9), st.integers(0, 99_999))
def test_demo_images_are_the_same_every_time_with_the_box_inside(split: str, label: int, number: int) -> None:
    source = open_source("demo:3", split)
    key = f"{source.classes[label]}/{number:05d}.jpg"
    data = source.read(key)
    assert data == open_source("demo", split).read(key), "an image does not depend on how many there are"
    _, width, height = decode(data)
    x0, y0, x1, y1 = source.box(key)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert min(x1 - x0, y1 - y0) >= 8


def test_the_demo_box_holds_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image and the same with an invisible digit differ inside the box, up to its edges, nowhere else."""
    source, glyph = DemoSource(2), demo._glyph

    def pixels(key: str) -> np.ndarray:
        return np.asarray(decode(source.read(key))[0], dtype=float)

    for record in source.records[:6]:
        with_digit = pixels(record.key)
        with monkeypatch.context() as patch:
            patch.setattr(demo, "_glyph", lambda *a: Image.new("L", glyph(*a).size, 0))
            without = pixels(record.key)
        rows, columns = np.nonzero(np.abs(with_digit - without).max(2) > 60)  # more than JPEG's ringing
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert found == pytest.approx(source.box(record.key), abs=10)


def test_demo_splits_and_seeds_differ() -> None:
    key = "3-three/00000.jpg"
    sources = [DemoSource(4), DemoSource(4, "val"), DemoSource(4, seed=1)]
    assert len({source.read(key) for source in sources}) == 3
    assert len({source.fingerprint for source in [*sources, DemoSource(5)]}) == 4
    assert len({DemoSource(4).read(record.key) for record in DemoSource(4).records}) == 40


@pytest.mark.parametrize("name", ["demo:0", "demo:x", "demo:-1", "demo:1.5", "demo:100000", "demo: 3"])
def test_odd_demo_sizes_are_refused(name: str) -> None:
    with pytest.raises(FocusError, match="1 to 99999") as caught:
        open_source(name)
    assert repr(name) in str(caught.value)


def test_demo_is_the_generated_images_whatever_lies_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`focusdd demo` writes to demo/: the name must mean the same before and after."""
    touch(tmp_path / "demo" / "a" / "1.jpg", tmp_path / "demo" / "b" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source("demo"), DemoSource)
    for folder in (open_source("./demo"), open_source(Path("demo"))):
        assert isinstance(folder, FolderSource)
        assert isinstance(open_source(folder.name), FolderSource)

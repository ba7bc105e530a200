"""Subsets of original images: how many of every class, which, and in which form."""

import csv
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd import FocusError, SubsetSettings, open_source, subset
from focusdd.selection.subset import Candidates, choose, shares
from focusdd.tasks.classify.task import SUBSETTING

COUNTS = {"ant": 12, "bee": 30, "cat": 3}


def listed(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def source():
    return SimpleNamespace(classes=tuple(COUNTS), name="source")


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), st.integers(1, 120), st.integers(1, 4)
)
def test_shares_add_up_and_follow_the_classes(counts, number, least):
    wanted = SubsetSettings(number=number, least=least)
    total, low = min(number, sum(counts)), [min(least, count) for count in counts]
    if sum(low) > total:
        with pytest.raises(FocusError, match=f"fewer than the {sum(low)} that --least {least}"):
            shares(counts, total, least, wanted)
        return
    given = shares(counts, total, least, wanted)
    assert sum(given) == total
    assert all(few <= have <= count for few, have, count in zip(low, given, counts, strict=True))
    for have, count, few in zip(given, counts, low, strict=True):
        assert (
            have == few or have - total * count / sum(counts) < 1
        )  # nobody gets more than a rounded-up part


@pytest.mark.parametrize("method", ["random", "herding", "k-center", "clusters", "realism"])
def test_every_method_chooses_so_many_of_every_class(make_index, source, method):
    index = make_index(COUNTS)
    if method == "random":
        rows = index.table(["key", "label"]).to_pylist()
        source.records = [SimpleNamespace(**row) for row in rows]
    images = SUBSETTING.candidates(source, None if method == "random" else index)
    for wanted, counts in (
        (SubsetSettings(per_class=5, method=method), [5, 5, 3]),
        (SubsetSettings(ratio=0.2, method=method), [2, 6, 1]),
    ):
        made = choose(images, wanted)
        assert np.bincount(images.groups[made.chosen]).tolist() == counts
        assert (choose(images, wanted).chosen == made.chosen).all()


def test_the_most_realistic_of_near_duplicates_is_kept(make_index, source):
    index = make_index(COUNTS)
    table = index.table(["key", "confidence", "mass"])
    score = table["confidence"].to_numpy() * table["mass"].to_numpy()
    same = np.tile([1.0, 0.0], (45, 1))
    same[:6] = [0.0, 1.0]  # two looks among the ants, one elsewhere
    object.__setattr__(index, "features", lambda: same)
    images = SUBSETTING.candidates(source, index)
    made = choose(images, SubsetSettings(per_class=5, method="realism", max_similarity=0.9))
    best = sorted([max(range(6), key=score.__getitem__), max(range(6, 12), key=score.__getitem__)])
    assert [row for row in made.chosen if images.groups[row] == 0] == best
    assert np.bincount(images.groups[made.duplicates]).tolist() == [10, 29, 2]


@st.composite
def scattered(draw):
    """Images that show any of up to five classes, or none."""
    labels = draw(st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=40))
    rows = [[row for row, own in enumerate(labels) if label in own] for label in range(5)]
    shown = [np.array(one, int) for one in rows]
    groups = [min(own, key=lambda label: (len(rows[label]), label)) if own else 5 for own in labels]
    rng = np.random.default_rng(len(labels))
    keys = [f"{row}.png" for row in range(len(labels))]
    score, features = rng.random(len(keys)), rng.random((len(keys), 3)).astype(np.float16)
    return Candidates(keys, shown, np.array(groups), score, features, several=True)


@settings(max_examples=40, deadline=None)
@given(scattered(), st.sampled_from(["random", "k-center", "clusters"]), st.integers(1, 4), st.data())
def test_every_class_of_images_with_boxes_has_its_images(images, method, least, data):
    bad = data.draw(st.sets(st.integers(0, len(images.keys) - 1)))
    usable = np.array([row not in bad for row in range(len(images.keys))])
    able = [np.intersect1d(rows, np.flatnonzero(usable)) for rows in images.shown]
    made = choose(images, SubsetSettings(per_class=least, method=method), usable)
    assert all(usable[made.chosen]) and len(set(made.chosen)) == len(made.chosen)
    for rows in able:
        assert len(np.intersect1d(rows, made.chosen)) >= min(least, len(rows))
    number = data.draw(st.integers(1, 60))
    wanted = SubsetSettings(number=number, least=least, method=method, max_similarity=0.95)
    try:
        made = choose(images, wanted, usable)
    except FocusError as error:
        assert "ask for" in str(error) and number < sum(min(least, len(rows)) for rows in able)
        return
    assert len(made.chosen) <= number
    assert len(made.duplicates) or len(made.chosen) == min(number, usable.sum())
    for rows in able:
        unlike = np.setdiff1d(rows, made.duplicates)
        assert len(np.intersect1d(rows, made.chosen)) >= min(least, len(unlike))


def test_classes_with_fewer_images_than_asked_for_are_named(image_folder, tmp_path, capsys):
    root = image_folder(("apple", "pear"), per_class=4)
    next(root.rglob("pear/*.png")).unlink()
    subset(root, tmp_path / "out", per_class=4, method="random")
    said = " ".join(capsys.readouterr().out.split())
    assert "7 of 7 images, 3 to 4 of a class" in said
    assert "warning: 1 class has fewer images than per_class=4: pear" in said


@pytest.mark.parametrize("form", ["list", "links", "copies"])
def test_a_subset_is_a_list_links_or_copies(image_folder, tmp_path, capsys, form):
    root = image_folder(("apple", "pear"), per_class=4)
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    out = subset(root, tmp_path / "half", ratio=0.5, method="random", form=form)
    rows = listed(out / "subset.csv")
    assert [row["class"] for row in rows] == ["apple", "apple", "pear", "pear"]
    assert listed(out / "left_out.csv") == []
    assert "4 of 8 images, 2 of each class" in " ".join(capsys.readouterr().out.split())
    if form == "list":
        assert not (out / "train").exists()
    else:
        for row in rows:
            assert (out / row["file"]).is_symlink() == (form == "links")
            assert (out / row["file"]).read_bytes() == before[root / row["key"]]
        assert [record.label for record in open_source(out).records] == [0, 0, 1, 1]
    subset(root, out, per_class=1, method="random", form=form, overwrite=True)
    assert len(listed(out / "subset.csv")) == 2
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_an_image_without_bytes_is_left_out_of_copies(image_folder, tmp_path):
    image = next(image_folder(("apple", "pear")).rglob("*.png")).read_bytes()
    rows = [{"image": image if row else None, "label": row % 2} for row in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    out = subset(tmp_path / "x.parquet", tmp_path / "out", per_class=2, method="random", form="copies")
    assert len(listed(out / "subset.csv")) == 3
    assert listed(out / "left_out.csv") == [
        {"key": "x.parquet/0000000", "reason": "the table holds no bytes of it"}
    ]


def test_what_has_no_effect_is_said(image_folder, tmp_path, capsys):
    subset(image_folder(), tmp_path / "out", per_class=1, method="random", extractor="vit", index=tmp_path)
    said = capsys.readouterr().out
    assert "index= has no effect with method random" in said
    assert "extractor= has no effect with method random" in said


def test_what_cannot_be_asked_for(image_folder, tmp_path):
    root = image_folder(("apple", "pear"), per_class=4)
    for wrong in ({}, {"number": 2, "ratio": 0.5}):
        with pytest.raises(FocusError, match="give one of number=, ratio= and per_class="):
            subset(root, tmp_path / "out", **wrong)
    with pytest.raises(FocusError, match="has no files to link to: use form='copies'"):
        subset("demo:4", tmp_path / "out", per_class=1, method="random", form="links")
    assert not (tmp_path / "out").exists()


def test_classes_called_by_numbers_keep_their_names_in_a_list(image_folder, tmp_path):
    root = image_folder(tuple(map(str, range(11))), per_class=2)
    out = subset(root, tmp_path / "out", per_class=1, method="random")
    assert open_source(out / "subset.csv").classes == open_source(root).classes
    again = subset(out / "subset.csv", tmp_path / "again", per_class=1, method="random")
    assert {row["class"] for row in listed(again / "subset.csv")} == set(map(str, range(11)))


def test_a_subset_without_a_readable_image_is_none(image_folder, tmp_path):
    root = image_folder(("apple", "pear"), per_class=2)
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(FocusError, match=r"no image of .* can be read \(.*\.png: not an image"):
        subset(root, tmp_path / "out", per_class=1, method="random", form="copies")
    assert not (tmp_path / "out").exists()


def test_links_lead_to_where_the_source_is_now(image_folder, tmp_path, monkeypatch):
    root, moved = image_folder(("apple", "pear"), per_class=2), tmp_path / "moved"

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("focusdd.tasks.subset.csv_text", stopped)
        with pytest.raises(KeyboardInterrupt):
            subset(root, tmp_path / "out", per_class=2, method="random", form="links")
    root.rename(moved)
    out = subset(moved, tmp_path / "out", per_class=2, method="random", form="links")
    for row in listed(out / "subset.csv"):
        assert (out / row["file"]).resolve() == moved / row["key"]

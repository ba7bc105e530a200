"""The report page: what it shows, that it stands alone, and that nothing in the data can break out of it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from written import Page, edit, make, make_index, make_student

from focusdd.comparison.scores import augmentation_robust_score, label_robust_score
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.reports import galleries
from focusdd.reports.collect import collect
from focusdd.reports.page import report
from focusdd.reports.results import rows, scores
from focusdd.sources import open_source

EVIL = ("<script>alert(1)<b>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}&amp;$x_{$")
TURNED = "\u202egpj.exe\u2066"  # runs from the right to the left, and so does what is beside it


def test_page_shows_balanced_accuracy_and_chance_where_classes_differ_in_size(work: Path) -> None:
    plain = Page(report(work)).words()
    assert "Balanced" not in plain and "most frequent class" not in plain
    for path in work.glob("focus-student-*/result.json"):
        shares = read_json(path)["per_class"]
        shares[min(shares)] = None  # a class without a readable image
        edit(path, balanced=0.25, chance=0.9, per_class=shares)
    words = Page(report(work)).words()
    assert "Balanced" in words and "25.0% ± 0.0" in words
    assert "always naming the most frequent class gets 90.0% top-1" in words


def test_page_tells_stored_from_soft_labels_of_one_student(work: Path) -> None:
    (dataset,) = {path.parent for path in work.glob("focus-1*/distilled.json")}
    make_student(dataset, work / "stored-student", 0.5, labels="stored")
    words = Page(report(work)).words()
    assert f"81.2% top-1 on tiles of {dataset.name}" in words
    assert all(f"focus 1, resnet18, {labels} labels, 300 epochs" in words for labels in ("stored", "soft"))


def test_page_leaves_out_top5_where_it_is_always_all(work: Path) -> None:
    assert "Top-5" in Page(report(work)).words()
    for path in work.glob("*/result.json"):
        edit(path, per_class=dict([*read_json(path)["per_class"].items()][:5]))
    assert "Top-5" not in Page(report(work)).words()


def test_page_warns_of_what_makes_its_figures_too_good(work: Path) -> None:
    plain = Page(report(work)).words()
    assert "training images as well" not in plain and "under several classes" not in plain
    for path in work.glob("focus-student-*/result.json"):
        edit(path, val={**read_json(path)["val"], "shared": 3})
    edit(work / "index" / "index.json", contradictions=[["a/1.jpg", "b/2.jpg"], ["a/3.jpg", "b/4.jpg"]])
    words = Page(report(work)).words()
    assert "3 validation images of the 10 of demo:4 are training images as well" in words
    assert (
        "4 images of demo:4 stand under several classes with the same bytes, such as a/1.jpg and b/2.jpg"
        in words
    )


def test_page_shows_results_and_pictures(work: Path) -> None:
    path = report(work)
    assert path == work / "report.html"
    assert path.stat().st_size < 4_000_000
    page = Page(path)
    page.check()
    words = page.words()
    assert "40 images → 10 images" in words
    assert "46.0% ± 1.4" in words and "31.0% ± 1.4" in words
    assert words.index("46.0% ± 1.4") < words.index("31.0% ± 1.4")
    assert "81.2% top-1 on a sample of the validation images" in words
    assert "its head gets 75.0% top-1 on all 40 indexed source images" in words
    assert "In 100.0% of 40 images the first key patch covers at least 80% of the object’s true box" in words
    assert "true box of the object" in words
    assert "0-zero/0000" in words and "Tiles of 0-zero/0-zero_00000" in words
    pictures = [value for name, value in page.attributes if name == "src"]
    assert len(pictures) == 2 + 2 * 8 + 2 * 10  # bars, cost, pairs, two galleries
    alts = [value for name, value in page.attributes if name == "alt"]
    assert len(alts) == len(pictures) and all(alts)


def test_same_files_make_the_same_page(work: Path) -> None:
    first = report(work).read_bytes()
    assert report(work).read_bytes() == first


def test_matplotlib_is_left_as_it_was(work: Path) -> None:
    with matplotlib.rc_context({"font.size": 31.0, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        styled = report(work).read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert report(work).read_bytes() == styled


def test_hostile_names_are_shown_and_do_nothing(tmp_path: Path, image_folder: Callable[..., Path]) -> None:
    folder = image_folder(classes=EVIL, per_class=8, root=tmp_path / EVIL[1])
    (folder / EVIL[0] / "000.png").rename(folder / EVIL[0] / f"{EVIL[1]}.png")
    source, root = open_source(folder), tmp_path / "out"
    index = make_index(source, root / "index", [(EVIL[0], EVIL[1])])
    edit(index / "index.json", extractor={"name": EVIL[2], "confidence": EVIL[1], "accuracy": 0.5})
    dataset = make(source, root, "focus")
    student = make_student(dataset, root / EVIL[1], 0.4, student=EVIL[1])
    make_student(make(source, root, "focus", 2), root / EVIL[2], 0.5, student=EVIL[1])
    edit(student / "run.json", command=f"focusdd {EVIL[0]}")
    run = (
        (student / "run.json").read_text(encoding="utf-8").replace("Linux", "\\ud800<i>")
    )  # half a character: no UTF-8 for it
    (student / "run.json").write_text(run, encoding="utf-8")
    edit(dataset / "distilled.json", short_classes=[EVIL[0], TURNED], judge={"name": TURNED})
    page = Page(report(root))
    page.check()
    assert not {"i", "b"} & set(page.tags)
    for text in (*EVIL, r"\u202egpj.exe\u2066"):
        assert text in page.text
    assert not set(TURNED) & set("\u202e\u2066") & set(page.text + str(page.attributes))
    assert f"focusdd {EVIL[0]}" in page.text
    alts = [value for name, value in page.attributes if name == "alt"]
    assert any(EVIL[1] in alt for alt in alts)


@pytest.mark.parametrize("gone", ["source", "image"])
def test_page_without_the_originals_says_so(
    gone: str, tmp_path: Path, image_folder: Callable[..., Path]
) -> None:
    folder = image_folder(per_class=8)
    source, root = open_source(folder), tmp_path / "out"
    make_index(source, root / "index")
    make(source, root, "focus")
    whole = Page(report(root))
    if gone == "source":
        shutil.rmtree(folder)
    else:
        for path in (folder / "apple").iterdir():
            path.write_bytes(b"no image")
    page = Page(report(root))
    assert "not shown" not in whole.words() and "cannot be shown" not in whole.words()
    if gone == "source":
        assert f"cannot be shown: there is no folder {folder}" in page.words()
    else:
        assert "4 originals are not shown: apple/" in page.words()
    assert page.tags.count("img") < whole.tags.count("img")
    assert "Tiles of apple/apple_00000" in page.words()


def test_folder_without_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="no finished output of focusdd"):
        report(tmp_path)
    with pytest.raises(FocusError, match="there is no folder"):
        report(tmp_path / "missing")
    (tmp_path / "started").mkdir()
    write_json(tmp_path / "started" / "stage.json", {"stage": "extract", "focusdd": "1", "key": "x"})
    with pytest.raises(FocusError, match="no finished output"):
        report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_runs_without_run_json_and_parts_alone_are_shown(work: Path) -> None:
    for path in work.rglob("run.json"):
        path.unlink()
    assert "46.0% ± 1.4" in Page(report(work)).words()
    for path in work.glob("*-student-*"):
        shutil.rmtree(path)
    page = Page(report(work))
    assert "Accuracy by images per class" not in page.text and "The distilled images" in page.text
    for name in ("focus-1", "random-1"):
        shutil.rmtree(work / name)
    words = Page(report(work)).words()
    assert "focusdd report" in words and "The distilled images" not in words and "Source images40" in words


def test_index_elsewhere_is_used(work: Path, tmp_path: Path) -> None:
    shutil.move(work / "index", tmp_path / "index")
    edit(work / "focus-1" / "distilled.json", index=str(tmp_path / "index"))
    words = Page(report(work)).words()
    assert "Where the extractor looks" in words and str(tmp_path / "index") in words
    shutil.rmtree(tmp_path / "index")
    assert "Where the extractor looks" not in Page(report(work)).words()


def test_rows_join_seeds_and_name_what_differs(work: Path) -> None:
    source = open_source("demo:4")
    no_views = make(source, work, "focus", views=0)
    make_student(no_views, work / "no-views", 0.4)
    make_student(work / "focus-1", work / "other", 0.5, student="vit_tiny")
    shutil.copytree(work / "other", work / "copied")  # the same run twice is one run
    found = rows(collect(work))
    shown = [(row.method, row.student, row.variant, len(row.main)) for row in found]
    assert shown == [
        ("focus", "resnet18", "views 0", 1),
        ("focus", "resnet18", "views 4", 2),
        ("focus", "vit_tiny", "", 1),
        ("random", "resnet18", "", 2),
    ]
    assert sorted(found[1].main) == pytest.approx([0.45, 0.47])
    assert found[1].times.extract is not None and found[3].times.extract is None


def test_best_and_worst_class_stand_beside_each_other(work: Path) -> None:
    for path in work.glob("focus-student-*/result.json"):
        edit(path, per_class=read_json(path)["per_class"] | {"3-three": 1.0, "5-five": 0.125, "6-six": None})
    words = Page(report(work)).words()
    best, worst = words.index("Best class: three"), words.index("Worst class: five")
    assert words[best:worst].rstrip() == "Best class: three focus100.0% random31.0%"
    assert words[worst:].startswith("Worst class: five focus12.5% random31.0%")


def test_source_images_used_can_be_downloaded(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(report(work))
    links = [value for name, value in page.attributes if name == "href" and value.startswith("data:text")]
    lists = [base64.b64decode(link.partition(",")[2]).decode().splitlines() for link in links]
    for found, keys in zip(collect(work).distilled, lists, strict=True):
        assert keys == list(dict.fromkeys(tile.key for tile in found.plan.tiles))
    monkeypatch.setattr(galleries, "_LIST_BYTES", 100)
    words = Page(report(work)).words()
    assert "List of the" not in words
    assert "The 10 source images used are in the column key of random-1/plan.parquet" in words


def test_several_ipc_make_a_line_plot(work: Path) -> None:
    two = make(open_source("demo:4"), work, "random", 2)
    make_student(two, work / "two", 0.5)
    page = Page(report(work))
    alts = [value for name, value in page.attributes if name == "alt"]
    assert any("random: 31.0% at 1, 50.0% at 2" in alt for alt in alts)
    assert "10 to 20 images" in page.words()


def test_classes_left_out_are_counted(tmp_path: Path, image_folder: Callable[..., Path]) -> None:
    source = open_source(image_folder(classes=[f"c{number:02d}" for number in range(12)]))
    make(source, tmp_path / "out", "random")
    assert "10 of 12 images; 2 classes are left out here" in Page(report(tmp_path / "out")).words()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("focus-student-0/result.json", {"top1": EVIL[0]}),
        ("focus-student-0/run.json", {"seconds": None}),
        ("index/index.json", {"class_names": ["one"]}),
        ("focus-1/distilled.json", {"ipc": "ten"}),
        ("random-1/done.json", {"settings": 3}),
    ],
)
def test_file_of_another_shape_is_named(file: str, change: dict[str, Any], work: Path) -> None:
    edit(work / file, **change)
    with pytest.raises(FocusError, match="is not as focusdd writes it") as caught:
        report(work)
    assert file in str(caught.value)


def test_damaged_plan_and_missing_images(work: Path) -> None:
    next((work / "random-1" / "train").glob("*/*.jpg")).unlink()
    assert "The images cannot be shown" in Page(report(work)).words()
    (work / "random-1" / "plan.parquet").write_bytes(json.dumps({}).encode())
    with pytest.raises(FocusError, match=r"plan\.parquet"):
        report(work)


def test_full_data_is_a_line_and_methods_are_compared_seed_by_seed(work: Path) -> None:
    random, focus = work / "random-1", work / "focus-1"
    two = make(open_source("demo:4"), work, "random", 2)
    make_student(two, work / "two", 0.5)
    for seed in (0, 1):
        for name, dataset, top1 in (("random", random, 0.2), ("focus", focus, 0.3)):
            make_student(dataset, work / f"{name}-hard-{seed}", top1, seed=seed, labels="hard")
            make_student(dataset, work / f"{name}-plain-{seed}", top1 - 0.1, seed=seed, augment=False)
        full = make_student(focus, work / f"full-{seed}", 0.8, seed=seed, labels="hard", epochs=9)
        result = read_json(full / "result.json")
        edit(full / "result.json", distilled=result["distilled"] | {"method": "full", "ipc": 4})
    table = rows(collect(work))
    assert [row.method for row in table].count("full") == 1
    [(_, [found])] = scores(table)
    assert (found.method, found.ipc) == ("focus", 1)
    assert found.ior_soft == pytest.approx([0.15, 0.15]) and found.ior_hard == pytest.approx([0.1, 0.1])
    assert found.hlr == pytest.approx([0.5, 0.5])
    assert found.lrs == pytest.approx([label_robust_score(0.5, 0.15)] * 2)
    assert found.ars == pytest.approx([augmentation_robust_score(0.15, 0.1)] * 2)
    page = Page(report(work))
    page.check()
    words = page.words()
    assert "+15.0 ± 0.0" in words and "+50.0 ± 0.0" in words and "not augmented" in words
    assert "Over random, hard" in words and "Below full data, hard LRS ARS" in words
    assert "full 80.0%" in words
    alts = [value for name, value in page.attributes if name == "alt"]
    assert any("random: 31.0% in 12.5" in alt or "random: 31.0% in" in alt for alt in alts)


def test_scores_that_no_method_has_are_no_columns(work: Path) -> None:
    words = Page(report(work)).words()
    assert "Over random, soft" in words
    assert not any(name in words for name in ("Over random, hard", "Over rded", "Below full data, hard"))


def test_students_outside_the_distribution(work: Path) -> None:
    student = work / "focus-student-0"
    out = work / "robustness"

    def make(work: Workspace) -> dict[str, Any]:
        other = {"name": EVIL[0], "top1": 0.125}
        write_json(out / "robustness.json", {"corrupted_top1": 0.25, "corruptions": None, "other": other})
        return {}

    inputs = {"student": read_json(student / "done.json")["key"]}
    run_stage(Stage("robustness", 1, {}, inputs), out, make)
    words = Page(report(work)).words()
    assert "Top-1, corrupted" in words and "25.0%" in words and "12.5%" in words


def test_the_page_says_who_is_ahead_and_whose_images_no_seed_changes(work: Path) -> None:
    words = Page(report(work)).words()
    assert "focus 46.0%, random 31.0% top-1. focus is 15.0 ± 0.0 points ahead of random (2 seeds)." in words
    assert "†" not in words
    best = make(open_source("demo:4"), work, "focus", keep=0)
    for seed in (0, 1):
        make_student(best, work / f"best-student-{seed}", 0.5, seed=seed)
    words = Page(report(work)).words()
    assert "2 †" in words and "The images are the same for every seed" in words

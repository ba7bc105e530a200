"""Rows of the results and what the page counts: each has its own words, and none counts for another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from written import Page, edit, make, make_index, make_student

from focusdd.core.files import read_json
from focusdd.reports.classes import class_tables
from focusdd.reports.collect import collect
from focusdd.reports.figures import accuracy_figure
from focusdd.reports.galleries import galleries
from focusdd.reports.page import report
from focusdd.reports.results import rows, verdicts
from focusdd.settings import DistillSettings
from focusdd.sources import open_source
from focusdd.tasks.distill import distill


def _shares(student: Path, **shares: float) -> None:
    path = student / "result.json"
    edit(path, per_class=read_json(path)["per_class"] | shares)


def test_cards_of_classes_show_the_row_that_they_were_chosen_by(work: Path) -> None:
    for path in work.glob("focus-student-*"):
        _shares(path, **{"3-three": 1.0, "5-five": 0.125})
    for name, changes in (("a-plain", {"augment": False}), ("z-long", {"epochs": 900})):
        other = make_student(work / "focus-1", work / name, 0.2, **changes)
        _shares(other, **{"3-three": 0.4, "5-five": 0.3})
    make_student(work / "random-1", work / "random-plain", 0.1, augment=False)
    words = Page(report(work)).words()
    assert "Best class: three focus100.0% random31.0%" in words
    assert "Worst class: five focus12.5% random31.0%" in words


def test_columns_of_classes_are_told_apart(work: Path) -> None:
    make_student(work / "focus-1", work / "plain", 0.2, augment=False)
    make_student(work / "focus-1", work / "long", 0.2, epochs=900)
    words = Page(report(work)).words()
    for length in ("300 epochs", "300 epochs, not augmented", "900 epochs"):
        assert f"Top-1, focus 1, resnet18, soft labels, {length}Top-1" in words.replace(length + " ", length)


def test_students_that_train_by_steps_have_no_epochs(work: Path) -> None:
    row = replace(rows(collect(work))[0], labels="")
    assert [replace(row, epochs=steps).training for steps in (1, 1200)] == ["1 step", "1,200 steps"]
    alt = accuracy_figure([replace(row, epochs=steps) for steps in (100, 200)]).alt
    assert "focus (100 steps)" in alt and "focus (200 steps)" in alt


def test_many_images_per_class_are_written_out(work: Path) -> None:
    full = make_student(work / "focus-1", work / "full", 0.8)
    facts = read_json(full / "result.json")["distilled"] | {"method": "full", "ipc": 12_500}
    edit(full / "result.json", distilled=facts)
    words = Page(report(work)).words()
    assert "1.25e+04" not in words and "12,500" in words


def test_seeds_of_the_datasets_alone_are_runs_of_their_own(work: Path) -> None:
    for path in work.glob("*-student-*"):
        shutil.rmtree(path)
    for seed, (ours, theirs) in enumerate([(0.5, 0.4), (0.6, 0.4), (0.4, 0.5)]):
        for method, top1 in (("focus", ours), ("random", theirs)):
            changes = {"seed": seed} if seed else {}
            make_student(make(open_source("demo:4"), work, method, **changes), work / f"{method}{seed}", top1)
    table = rows(collect(work))
    assert [len(row.main) for row in table] == [3, 3]
    [(_, verdict)] = verdicts(table)
    [difference] = verdict.differences
    assert difference.seeds == 3 and round(difference.mean, 4) == 0.0667


def test_datasets_of_two_extractors_are_both_shown(work: Path) -> None:
    source = open_source("demo:4")
    other = make_index(source, work / "other-index")
    done = read_json(other / "done.json")
    edit(other / "done.json", key="other", inputs={**done["inputs"], "extractor": "others"})
    edit(
        other / "index.json", key="other", extractor={"name": "b_vit", "confidence": "head", "accuracy": 0.5}
    )
    before = len(galleries(collect(work).distilled))
    wanted = {"method": "focus", "ipc": 1, "size": 64}
    distill(source, work / "other", DistillSettings(**wanted), index=other)
    distill(source, work / "seed", DistillSettings(**wanted, seed=9), index=work / "index")
    assert len(galleries(collect(work).distilled)) == before + 1


def test_images_of_two_sources_are_not_counted_as_one(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for number, per_class in enumerate((3, 8)):
        root = image_folder(per_class=per_class, root=tmp_path / f"photos{number}")
        make_index(open_source(root), out / f"index{number}")
    (table,) = class_tables(collect(out), [])
    counted = {column.title: column.by_class["apple"] for column in table["columns"]}
    assert counted == {f"Source images of {tmp_path / f'photos{n}'}": (3, 8)[n] for n in (0, 1)}


def test_an_image_that_no_probe_judged_is_taken_for_no_class(work: Path) -> None:
    assert "taken for" not in Page(report(work)).words()
    (part,) = (work / "index" / "parts").iterdir()
    table = pq.read_table(part)
    place = table.schema.get_field_index("predicted")
    unjudged = pa.array([-1] * len(table), pa.int32())
    pq.write_table(table.set_column(place, table.schema.field(place), unjudged), part)
    done = read_json(work / "index" / "done.json")
    edit(work / "index" / "done.json", files={name: {} for name in done["files"]})
    assert "taken for" not in Page(report(work)).words()


def test_accuracy_on_objects_is_said_to_be_that(work: Path) -> None:
    edit(work / "index" / "index.json", counts={"images": 40, "objects": 75})
    assert "its head gets 75.0% top-1 on all 75 indexed objects" in Page(report(work)).words()


def test_marks_that_turn_text_and_all_controls_are_written_out(work: Path) -> None:
    marks = "\u061c\u200f\u202e\u2066\u2028\u2029\x7f\x85\x9b"
    edit(work / "focus-1" / "distilled.json", short_classes=[f"a{marks}b"])
    page = Page(report(work))
    assert "a" + "".join(f"\\u{ord(mark):04x}" for mark in marks) + "b" in page.text
    assert not set(marks) & set(page.text)


def test_sources_are_counted_by_image_and_not_by_line(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = image_folder(per_class=2)
    for path in root.rglob("*.png"):
        path.rename(path.with_name(f"new\nline{path.name}"))
    make(open_source(root), tmp_path / "out", "random")
    assert "List of the 2 source images used" in Page(report(tmp_path / "out")).words()

"""What is known before the pass over a source with class labels, and what its rows hold after."""

import numpy as np
import pytest

from focusdd import ExtractorSettings, ExtractSettings, FocusError, distill, extract, open_index, open_source
from focusdd.core.files import read_json
from focusdd.demo.run import WEIGHTS
from focusdd.sources import DemoSource

PROBE_READING = ExtractorSettings(extractor=str(WEIGHTS / "vit"), device="cpu")
PROBE = ExtractSettings(extractor=str(WEIGHTS / "vit"), confidence="probe", device="cpu")


def test_a_class_with_a_single_image_is_named_first_and_neutral_after(image_folder, draw, tmp_path, capsys):
    root = image_folder(("apple", "pear"), per_class=6)
    (root / "quince").mkdir()
    draw(40, 30, seed=7).save(root / "quince" / "0.png")
    index = extract(open_source(root), tmp_path / "index", PROBE)
    said = " ".join(capsys.readouterr().out.split())
    assert "a single image, whose confidence is neutral: quince" in said
    assert "12 images of" in said and "too few to tell" in said
    rows = index.table(["label", "confidence", "predicted"]).to_pylist()
    (alone,) = [row for row in rows if row["label"] == 2]
    assert alone["confidence"] == pytest.approx(1 / 3) and alone["predicted"] == -1
    assert all(row["predicted"] in (0, 1) for row in rows if row is not alone)


def test_features_that_tell_nothing_apart_are_refused_before_the_pass(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("focusdd.tasks.classify.rows.SAMPLE", 40)
    source = DemoSource(40)
    shuffled = np.random.default_rng(0).permutation([record.label for record in source.records])
    source.records = [
        record._replace(label=int(label)) for record, label in zip(source.records, shuffled, strict=True)
    ]
    with pytest.raises(FocusError, match=r"the probe of .* gets .* of 80 images of demo.* anyway=True$"):
        extract(source, tmp_path / "index", PROBE)
    assert not (tmp_path / "index").exists()
    extract(source, tmp_path / "index", PROBE.model_copy(update={"anyway": True}))
    assert (tmp_path / "index" / "done.json").exists()
    assert capsys.readouterr().out.count("chance is") == 2  # said of the sample, and of all


def test_a_source_without_a_whole_image_leaves_nothing(tmp_path):
    for name in ("apple/1.jpg", "pear/1.jpg", "pear/notes.txt"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    with pytest.raises(FocusError, match=r"no image of .* can be read \(pear/1\.jpg: the file is empty\)"):
        extract(open_source(tmp_path / "photos"), tmp_path / "index", PROBE)
    assert not (tmp_path / "index").exists()


def test_a_probe_that_judges_nothing_has_no_accuracy(image_folder, tmp_path, monkeypatch):
    root = image_folder(("apple", "pear", "quince"), per_class=1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tiny = distill(root, ".", ipc=1, size=32, grid=1, extract=PROBE_READING, oversize=True)
    index = open_index(tmp_path / "here-index")
    assert index.info["extractor"]["confidence"] == ""
    assert not any("accuracy" in name for name in read_json(index.folder / "done.json")["counts"])
    assert "top-1" not in (tiny.folder / "README.md").read_text()

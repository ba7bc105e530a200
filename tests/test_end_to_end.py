"""The whole path on generated images."""

import hashlib
import json
from pathlib import Path

import pytest

from focusdd import (
    DistillSettings,
    ExtractSettings,
    FitSettings,
    FocusError,
    TrainSettings,
    distill,
    extract,
    fit,
    open_source,
    status,
    train,
)
from focusdd.composition.dataset import open_distilled
from focusdd.demo.run import WEIGHTS, run_demo
from focusdd.extraction.coverage import object_coverage
from focusdd.sources import DemoSource

TEACHER, VIT = str(WEIGHTS / "teacher"), str(WEIGHTS / "vit")
VARIES = {"run.json", "report.html", "results.csv"}  # times and machines


FOCUS = "distilled/focus-ipc1-seed0"


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in VARIES)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, quick=True)


def test_demo_leaves_a_report_and_three_students(demo):
    out, page = demo
    assert page.read_text().count("<html") == 1
    results = {path.parent.name: json.loads(path.read_text()) for path in out.glob("students/*/result.json")}
    assert {name.partition("-")[0] for name in results} == {"random", "rded", "focus"}
    assert all(0 <= result["top1"] <= result["top5"] <= 1 for result in results.values())
    assert {stage.state for stage in status(out)} == {"done"}


def test_key_patches_find_the_objects(tmp_path):
    """The key patch holds the digit far more often than a random window of its size does."""
    source = DemoSource(30)
    index = extract(source, tmp_path / "index", ExtractSettings(extractor=VIT, tile=64))
    coverage = object_coverage(index, source)
    assert coverage.images == 300
    assert coverage.patch >= 0.9
    assert coverage.random < 0.6


def test_every_part_of_the_demo_comes_out_the_same_twice(demo, tmp_path):
    out, _ = demo
    run_demo(tmp_path, quick=True)
    assert digests(out) == digests(tmp_path)


def test_any_backbone_works_through_the_probe(tmp_path):
    """A ViT with another head: the confidence comes from a probe, and the index is complete."""
    source = DemoSource(20)
    names = json.loads((WEIGHTS / "vit" / "config.json").read_text())
    other = tmp_path / "vit"
    other.mkdir()
    (other / "model.safetensors").write_bytes((WEIGHTS / "vit" / "model.safetensors").read_bytes())
    (other / "config.json").write_text(
        json.dumps(names | {"label_names": [f"x{n}" for n in range(10)], "label_descriptions": {}})
    )
    index = extract(source, tmp_path / "index", ExtractSettings(extractor=str(other), tile=64))
    assert index.info["extractor"]["confidence"] == "probe"
    confidence = index.table(["confidence"]).column("confidence").to_numpy()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    with pytest.raises(FocusError, match="confidence='probe'"):
        extract(source, tmp_path / "head", ExtractSettings(extractor=str(other), confidence="head"))


def test_a_shuffled_head_is_refused_before_anything_is_spent(tmp_path):
    config = json.loads((WEIGHTS / "vit" / "config.json").read_text())
    names = config["label_names"]
    shuffled = tmp_path / "vit"
    shuffled.mkdir()
    (shuffled / "model.safetensors").write_bytes((WEIGHTS / "vit" / "model.safetensors").read_bytes())
    turned = {"label_names": names[1:] + names[:1]}
    (shuffled / "config.json").write_text(json.dumps(config | turned))
    with pytest.raises(FocusError, match="class order is wrong"):
        extract(DemoSource(30), tmp_path / "index", ExtractSettings(extractor=str(shuffled)))
    assert not list((tmp_path / "index").glob("parts/part-*"))


def test_an_index_of_another_source_is_refused(demo, tmp_path):
    out, _ = demo
    with pytest.raises(FocusError, match="another source"):
        distill(DemoSource(17), tmp_path / "x", DistillSettings(ipc=1), index=out / "index")


def test_fit_makes_a_checkpoint_that_the_other_stages_take(tmp_path):
    source, val = DemoSource(12), DemoSource(12, "val")
    settings = FitSettings(
        model="test_vit", model_args={"depth": 1}, size=32, epochs=2, teacher=TEACHER, ema=0.5, flip=False
    )
    folder = fit(source, tmp_path / "vit", settings, val=val)
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == list(source.classes)
    assert 0 <= config["focusdd"]["val_top1"] <= 1
    # too weak to be trusted as a head after two epochs: the features are there for the probe all the same
    before = digests(folder)
    fit(source, folder, settings, val=val)
    assert digests(folder) == before


def test_hard_labels_need_no_teacher(demo, tmp_path):
    out, _ = demo
    settings = TrainSettings(student="test_resnet", size=32, epochs=1, labels="hard", batch_size=8)
    result = train(out / FOCUS, open_source("demo:16", "val"), tmp_path / "hard", settings)
    assert result.teacher is None
    with pytest.raises(FocusError, match="need a teacher"):
        train(out / FOCUS, open_source("demo:16", "val"), tmp_path / "soft", TrainSettings())


def test_students_are_judged_on_the_same_classes(demo, tmp_path):
    out, _ = demo
    val = DemoSource(16, "val")
    val.classes = tuple(f"other-{name}" for name in val.classes)
    with pytest.raises(FocusError, match="other classes"):
        train(out / FOCUS, val, tmp_path / "x", TrainSettings(teacher=TEACHER))


def test_a_damaged_distilled_dataset_is_noticed(tmp_path):
    made = distill(DemoSource(16), tmp_path / "d", DistillSettings(method="random", ipc=1, size=64))
    picture = next((tmp_path / "d" / "train").glob("*/*.jpg"))
    whole = picture.read_bytes()
    picture.write_bytes(whole[:100])
    settings = TrainSettings(student="test_resnet", size=32, epochs=1, teacher=TEACHER)
    with pytest.raises(FocusError, match=picture.name):
        train(made, DemoSource(16, "val"), tmp_path / "t", settings)
    picture.unlink()
    with pytest.raises(FocusError, match=f"{picture.name} is missing"):
        train(made, DemoSource(16, "val"), tmp_path / "t", settings)


def test_the_size_of_the_teacher_is_that_of_the_student_unless_told(demo, tmp_path, capsys):
    """The demo's teacher was fitted at 64 px."""
    out, _ = demo
    val = open_source("demo:16", "val")
    settings = TrainSettings(student="test_resnet", teacher=TEACHER, epochs=1, batch_size=8)
    result = train(out / FOCUS, val, tmp_path / "own", settings)
    assert result.settings["size"] == 64
    assert 0 <= result.balanced <= 1 and result.chance == pytest.approx(0.1)
    capsys.readouterr()
    told = settings.model_copy(update={"size": 48})
    assert train(out / FOCUS, val, tmp_path / "told", told).settings["size"] == 48
    assert "fitted at 64 px, used at 48 px" in " ".join(capsys.readouterr().out.split())
    hard = settings.model_copy(update={"teacher": "", "labels": "hard"})
    side = open_distilled(out / FOCUS).info["size"]
    assert train(out / FOCUS, val, tmp_path / "hard", hard).settings["size"] == side

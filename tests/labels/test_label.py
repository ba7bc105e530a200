"""The stage that asks the teacher."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from labelling import CPU, DENSE, RECIPE, SETTINGS, TEACHER, label_files

from focusdd import FocusError, TrainSettings, label, publish
from focusdd.composition.dataset import open_distilled
from focusdd.demo.run import WEIGHTS
from focusdd.labels import label as stage
from focusdd.labels.reader import LabelledViews
from focusdd.labels.store import open_store
from focusdd.labels.views import resized_crops
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.load import load_model, new_net
from focusdd.sources import DemoSource


def test_stored_labels_are_what_the_teacher_says(labelled: Path) -> None:
    distilled = open_distilled(labelled)
    teacher = load_model(TEACHER, CPU, 64)
    data = LabelledViews(labelled, TrainSettings(labels="views", **RECIPE))
    views, tiles = open_store(distilled, "views"), open_store(distilled, "tiles")
    assert views.records.shape == (3, 20)
    assert tiles.records.shape == (20, 5)

    def agree(stored: np.ndarray, said: torch.Tensor) -> None:
        said = said - said.min(1, keepdim=True).values
        assert np.abs(stored - said.numpy()).max() < 0.51 * said.max() / 255 + 1e-3

    rows = torch.arange(20)
    for number in range(3):
        pixels, _ = data.batch(rows, torch.full_like(rows, number))
        agree(views.logits(number), teacher.logits(pixels))
    for part, box in enumerate([(0, 0, 128, 128), (0, 0, 64, 64), (64, 0, 128, 64)]):
        crops = resized_crops(data.pixels.images, torch.tensor([box] * 20).float(), 64)
        agree(tiles.logits(slice(None), part), teacher.logits(crops))
    assert tiles.info["teacher"]["weights"] == teacher.weights
    assert tiles.info["teacher"]["accuracy"] > 0.3
    assert views.bytes < 20 * 3 * 12 + 20 * 8 + 1500


def test_the_same_arguments_give_the_same_bytes(labelled: Path, plain: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(plain, tmp_path / "other"))
    label(other, SETTINGS.model_copy(update={"kind": "views"}))
    label(other, SETTINGS.model_copy(update={"kind": "tiles"}))  # one after the other
    assert label_files(other) == label_files(labelled)
    before = {path: path.stat().st_mtime_ns for path in (other / "labels").rglob("*.npy")}
    label(other, SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in (other / "labels").rglob("*.npy")} == before


def test_labels_that_are_there_need_neither_images_nor_teacher(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("work where nothing is to be done")

    for name in ("teacher_facts", "load_files", "draw_views"):
        monkeypatch.setattr(stage, name, asked)
    before = label_files(copy)
    label(copy, SETTINGS)
    assert label_files(copy) == before
    assert capsys.readouterr().out.count("is complete already: nothing to do") == 2


def test_a_wrong_teacher_replaces_nothing(copy: Path, tmp_path: Path) -> None:
    net, arguments = new_net("test_resnet", 10, 64, CPU, seed=1)
    source = DemoSource(1)
    save_checkpoint(tmp_path, net, source.classes, source.class_names, 64, arguments, {})
    before = label_files(copy)
    with pytest.raises(FocusError, match=r"right, chance is 10\.0%"):
        label(copy, SETTINGS.model_copy(update={"teacher": str(tmp_path)}), overwrite=True)
    assert label_files(copy) == before


def test_an_interrupted_stage_goes_on(
    labelled: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    real, calls = stage.view_logits, []

    def interrupted(*arguments: object) -> Iterator[np.ndarray]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(stage, "view_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(out, SETTINGS)
    with pytest.raises(FocusError, match="views is unfinished: run the command that made it again"):
        LabelledViews(out, TrainSettings(labels="views", **RECIPE))
    label(out, SETTINGS)
    assert len(calls) == 4  # the two views that were there were not asked for again
    assert label_files(out) == label_files(labelled)


def test_a_teacher_near_chance_writes_nothing(plain: Path, tmp_path: Path) -> None:
    net, arguments = new_net("test_resnet", 10, 64, CPU, seed=1)
    source = DemoSource(1)
    save_checkpoint(tmp_path, net, source.classes, source.class_names, 64, arguments, {})
    with pytest.raises(FocusError, match=r"right, chance is 10\.0%"):
        label(plain, SETTINGS.model_copy(update={"teacher": str(tmp_path)}))
    assert not (plain / "labels").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])  # half precision ends at 65504
def test_a_teacher_that_gives_no_numbers_is_named(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    real = stage.view_logits

    def broken(*arguments: object) -> Iterator[np.ndarray]:
        for logits in real(*arguments):
            logits[3, 2] = value
            yield logits

    monkeypatch.setattr(stage, "view_logits", broken)
    with pytest.raises(FocusError, match="gives logits that are no finite numbers: use another teacher"):
        label(out, SETTINGS)
    assert not (out / "labels" / "views" / "done.json").exists()


def test_a_card_that_was_edited_keeps_its_words(
    plain: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    for kind in ("tiles", "views"):  # our own card is renewed
        label(out, SETTINGS.model_copy(update={"kind": kind}))
    assert (out / "README.md").read_text() == (labelled / "README.md").read_text()
    (out / "README.md").write_text("My photographs\n")
    capsys.readouterr()
    label(out, SETTINGS.model_copy(update={"kind": "tiles", "bits": 4}), overwrite=True)
    assert (out / "README.md").read_text() == "My photographs\n"
    assert "README.md has been edited: it is left as it is" in capsys.readouterr().out


def test_labels_of_other_settings_are_not_overwritten(copy: Path) -> None:
    other = SETTINGS.model_copy(update={"kind": "tiles", "bits": 4})
    with pytest.raises(FocusError, match="bits was 8, now 4"):
        label(copy, other)
    (store,) = label(copy, other, overwrite=True)
    assert store.info["bits"] == 4


def test_labels_of_many_images_are_in_their_order(
    dense: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for in batches, which the last digits depend on."""
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    monkeypatch.setattr("focusdd.labels.teacher.BATCH", 8)
    label(out, DENSE)
    many, once = (open_store(open_distilled(folder), "views") for folder in (out, dense))
    assert many.records.shape == once.records.shape == (3, 20, 5)
    rows = np.arange(20)
    for number in range(3):
        one, other = (store.logits(np.full(20, number), rows) for store in (many, once))
        assert np.abs(one - other).max() < 0.05 * np.abs(other).max()


def test_locations_that_the_teacher_does_not_have_are_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="has 2 x 2 locations at 64 px: use dense=2 or less"):
        label(plain, DENSE.model_copy(update={"dense": 3}))
    blind = DENSE.model_copy(update={"teacher": str(WEIGHTS / "vit")})
    with pytest.raises(FocusError, match=r"no feature map of several locations at 64 px: use dense=0$"):
        label(plain, blind)
    assert not (plain / "labels").exists()
    label(Path(shutil.copytree(plain, tmp_path / "tiles")), blind.model_copy(update={"kind": "tiles"}))


def test_the_card_and_publishing_know_dense_labels(dense: Path) -> None:
    assert "at 2 x 2 locations" in (dense / "README.md").read_text()
    publish(dense)

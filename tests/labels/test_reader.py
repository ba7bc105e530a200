"""Stored labels as a torch dataset, and what students learn from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from labelling import CPU, DENSE, RECIPE, TEACHER
from torch.utils.data import DataLoader

from focusdd import FocusError, TrainSettings, label, train
from focusdd.labels.reader import LabelledViews
from focusdd.models.dense import DenseLogits, PooledLogits, dense_grid
from focusdd.models.device import autocast
from focusdd.models.load import load_model, new_net, normalisation, normalise
from focusdd.sources import DemoSource
from focusdd.training.loop import epoch_counter
from focusdd.training.losses import divergence_of_logits, stored_loss


def test_views_are_for_one_recipe(labelled: Path) -> None:
    with pytest.raises(FocusError, match=r"crop was 0\.5, now 0\.2"):
        LabelledViews(labelled, TrainSettings(labels="views", **RECIPE | {"crop": 0.2}))
    with pytest.raises(FocusError, match="size was 64, now 32"):
        LabelledViews(labelled, TrainSettings(labels="stored", **RECIPE | {"size": 32}))
    LabelledViews(labelled, TrainSettings(labels="tiles", **RECIPE | {"size": 32, "crop": 0.2}))


@pytest.mark.parametrize("other", [{"mix": "mixup"}, {"loss": "mse"}, {"hard_weight": 0.1}])
def test_stored_labels_are_learnt_in_one_way(labelled: Path, tmp_path: Path, other: dict) -> None:
    name = next(iter(other))
    settings = TrainSettings(labels="stored", **RECIPE, **other)
    with pytest.raises(FocusError, match=f"only be learnt with {name}="):
        train(labelled, DemoSource(20, "val"), tmp_path / "student", settings)
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("kind", ["stored", "tiles"])
def test_training_needs_no_teacher(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def no_teacher(*_: object) -> None:
        raise AssertionError("a teacher or an image was loaded")

    monkeypatch.setattr("focusdd.training.train.load_model", no_teacher)
    val = DemoSource(16, "val")
    settings = TrainSettings(labels=kind, **RECIPE)
    results = [train(labelled, val, tmp_path / name, settings) for name in ("one", "two")]
    assert results[0] == results[1]
    assert results[0].teacher["name"] == TEACHER
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    monkeypatch.setattr("focusdd.labels.reader.load_files", no_teacher)  # nor any image where it is done
    assert train(labelled, val, tmp_path / "one", settings) == results[0]


@pytest.mark.parametrize("kind", ["views", "tiles"])
def test_items_are_those_of_a_batch_in_any_order(labelled: Path, kind: str) -> None:
    data = LabelledViews(labelled, TrainSettings(labels=kind, **RECIPE | {"epochs": 4}))
    assert len(data) == 20 * (3 if kind == "views" else 4)
    items = [41, 0, 59, 7, 20]
    pixels, target = data.batch(torch.tensor(items) % 20, torch.tensor(items) // 20)
    for number, item in enumerate(items):
        image, distribution = data[item]
        torch.testing.assert_close(image * 255, pixels[number], atol=1e-3, rtol=0)
        torch.testing.assert_close(distribution, target[number])
        assert distribution.sum().item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(IndexError):
        data[len(data)]
    torch.testing.assert_close(data[-1][0], data[len(data) - 1][0])
    seen = 0
    for images, targets in DataLoader(data, batch_size=7, shuffle=True):
        assert images.shape[1:] == (3, 64, 64)
        assert 0 <= images.min() <= images.max() <= 1
        assert len(images) == len(targets)
        seen += len(images)
    assert seen == len(data)


def test_dense_labels_are_what_the_teacher_says(dense: Path) -> None:
    teacher = load_model(TEACHER, CPU, 64)
    data = LabelledViews(dense, TrainSettings(labels="stored", **RECIPE))
    assert data.store.records.shape == (3, 20, 5) and data.store.dense == 2
    assert data.settings.tile_crops == 0.5  # as with a teacher at hand
    rows = torch.arange(20)
    for number in range(3):
        numbers = torch.full_like(rows, number)
        pixels, (whole, located) = data.batch(rows, numbers, dense=True)
        with torch.inference_mode(), autocast(CPU):
            said, said_there = DenseLogits(teacher.net)(teacher.prepare(pixels))
        assert located.shape == said_there.shape == (20, 10, 2, 2)
        for stored, heard in ((whole, said), *zip(located.unbind(3), said_there.unbind(3), strict=True)):
            heard = heard - heard.amin(1, keepdim=True)
            assert (stored - heard).abs().max() < 0.51 * heard.max() / 255 + 1e-3
        same, distribution = data.batch(rows, numbers)
        torch.testing.assert_close(distribution, (whole / 20).softmax(1))
        torch.testing.assert_close(same, pixels)
    assert data[7][1].shape == (10,)  # for anyone's training: a distribution of the whole view


@pytest.mark.parametrize(("size", "student"), [(64, "test_resnet"), (64, "test_vit")])
def test_the_loss_of_stored_labels_is_that_of_every_place(dense: Path, size: int, student: str) -> None:
    """Against one location after another; a student without them learns the whole."""
    net, _ = new_net(student, 10, size, CPU, 0)
    recipe = TrainSettings(labels="stored", **RECIPE | {"student": student}, dense_weight=0.3)
    data = LabelledViews(dense, recipe)
    knows = dense_grid(net, size, CPU)
    settled = data.settings.model_copy(update={"dense_weight": 0.3 if knows else 0.0})
    net.eval()  # the same batch statistics for both ways
    rows = torch.tensor([3, 19, 0, 7])
    found = stored_loss(net, data, settled, CPU)(rows, torch.Generator().manual_seed(1))
    numbers = (rows + epoch_counter(torch.Generator().manual_seed(1))) % 3
    pixels, (whole, located) = data.batch(rows, numbers, dense=True)
    with autocast(CPU):
        mine = (DenseLogits if knows else PooledLogits)(net)(normalise(pixels, *normalisation(net)))
    temperature = 4.0 if student == "test_vit" else 20.0  # the teacher is a ResNet
    expected = divergence_of_logits(mine[0], whole, temperature)
    if knows:
        assert mine[1].shape == located.shape
        each = [
            divergence_of_logits(mine[1][..., row, column], located[..., row, column], temperature)
            for row in range(2)
            for column in range(2)
        ]
        expected = 0.7 * expected + 0.3 * sum(each) / 4
    torch.testing.assert_close(found, expected)


def test_a_student_is_taught_densely_where_labels_and_student_know_them(
    dense: Path, labelled: Path, tmp_path: Path
) -> None:
    val = DemoSource(16, "val")

    def taught(folder: Path, name: str, **changes: object) -> bool:
        settings = TrainSettings(labels="stored", **RECIPE | changes)
        return train(folder, val, tmp_path / name, settings).taught["dense"]

    assert taught(dense, "one")
    assert not taught(dense, "two", dense_weight=0.0)
    assert not taught(dense, "three", student="test_vit")
    assert not taught(labelled, "four")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] != weights[1]
    with pytest.raises(FocusError, match=r"dense_weight was 1\.0, now 0\.0"):
        taught(dense, "one", dense_weight=0.0)
    assert not taught(labelled, "four", dense_weight=0.0)  # the same run: complete


def test_dense_labels_are_for_views(
    labelled: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = LabelledViews(labelled, TrainSettings(labels="views", **RECIPE))
    with pytest.raises(FocusError, match="are not dense: make some with `focusdd label --dense`"):
        data.batch(torch.arange(4), torch.zeros(4, dtype=torch.long), dense=True)
    out = Path(shutil.copytree(plain, tmp_path / "tiles"))
    label(out, DENSE.model_copy(update={"kind": "tiles"}))
    assert "dense= has no effect with kind tiles" in capsys.readouterr().out

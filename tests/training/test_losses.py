"""Losses of one batch, and the dense logits that they compare."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from focusdd import DistillSettings, TrainSettings, distill, train
from focusdd.demo.run import WEIGHTS
from focusdd.labels.views import Views, draw_views, render
from focusdd.models.dense import DenseLogits, dense_grid, on_one_grid
from focusdd.models.load import load_model, new_net, normalisation, normalise
from focusdd.sources import DemoSource
from focusdd.sources.pixels import Pixels, load_source
from focusdd.training.losses import (
    DISTANCES,
    divergence,
    divergence_of_logits,
    mixed_cross_entropy,
    online_loss,
    squared_error,
)

CPU = torch.device("cpu")
TEACHER = str(WEIGHTS / "teacher")
SOURCE = DemoSource(2)
MEANS = [
    "test_resnet",
    "test_efficientnet",
    "swin_tiny_patch4_window7_224",
]  # heads that average, then a line
NORMS = ["test_convnext", "convnext_atto"]  # heads with a norm between the two


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)


def small(name: str) -> nn.Module:
    options = {"embed_dim": 16, "depths": (1, 1, 1, 1), "img_size": 64} if name.startswith("swin") else {}
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=7, **options).eval()


@torch.inference_mode()
@pytest.mark.parametrize("name", MEANS + NORMS)
def test_the_whole_is_what_the_network_says_and_places_are_read_one_by_one(name: str) -> None:
    net, images = small(name), torch.randn(2, 3, 64, 64)
    whole, dense = DenseLogits(net)(images)
    torch.testing.assert_close(whole, net(images))
    maps = net.forward_features(images)
    if name.startswith("swin"):
        maps = maps.permute(0, 3, 1, 2)
    assert dense.shape == (2, 7, *maps.shape[2:]) and maps.shape[2] > 1
    for row in range(maps.shape[2]):
        for column in range(maps.shape[3]):
            one = maps[:, :, row : row + 1, column : column + 1]
            one = one.permute(0, 2, 3, 1) if name.startswith("swin") else one
            torch.testing.assert_close(dense[:, :, row, column], net.forward_head(one), rtol=1e-4, atol=1e-5)
    if name in MEANS:
        torch.testing.assert_close(dense.mean((2, 3)), whole, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_place_is_where_it_is_seen() -> None:
    """Something in the upper right corner changes what is said of the upper right most."""
    net, images = small("test_resnet"), torch.zeros(1, 3, 128, 128)
    changed = images.clone()
    changed[:, :, :32, 96:] = 3.0
    moved = (DenseLogits(net)(changed)[1] - DenseLogits(net)(images)[1]).abs().sum(1)[0]
    assert moved.argmax() == moved.shape[1] - 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_resnet", True),
        ("test_convnext", True),
        ("test_vit", False),  # tokens, not maps
        ("convnet5", False),  # its head reads all dense at once
    ],
)
def test_whether_a_network_has_dense_logits(name: str, expected: bool) -> None:
    net = new_net(name, 7, 64, CPU, 0)[0].train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert (dense_grid(net, 64, CPU) is not None) is expected
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_two_grids_meet_on_the_coarser() -> None:
    one, other = torch.randn(2, 5, 4, 4), torch.randn(2, 5, 2, 2)
    mine, theirs = on_one_grid(one, other)
    assert mine.shape == theirs.shape == (2 * 4, 5)
    for number, (image, row, column) in enumerate(
        (image, row, column) for image in range(2) for row in range(2) for column in range(2)
    ):
        block = one[image, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(mine[number], block.mean((1, 2)))
        torch.testing.assert_close(theirs[number], other[image, :, row, column])


@pytest.mark.parametrize(("loss", "distance"), [("kl", divergence_of_logits), ("mse", squared_error)])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_the_whole_and_of_every_location(loss, distance, weight: float) -> None:
    """Against one place after another."""
    settings = TrainSettings(
        teacher=TEACHER, student="test_convnext", size=64, dense_weight=weight, loss=loss, device="cpu",
        temperature=20.0,
    )  # fmt: skip
    teacher, pixels = load_model(TEACHER, CPU, 64), load_source(SOURCE, 80, "read")
    net, _ = new_net("test_convnext", 10, 64, CPU, 0)
    outputs = torch.arange(10).flip(0)
    rows = torch.tensor([3, 9, 0, 7])
    found = online_loss(net, pixels, 1, teacher, outputs, settings, CPU)(
        rows, torch.Generator().manual_seed(1)
    )

    views = draw_views(4, len(pixels), 80, 1, settings, torch.Generator().manual_seed(1))
    view = render(pixels.images, rows, views, 64, CPU)
    mine = DenseLogits(net)(normalise(view, *normalisation(net)))
    with torch.no_grad():
        theirs = DenseLogits(teacher.net)(teacher.prepare(view))
    whole = distance(mine[0], theirs[0][:, outputs], 20.0)
    torch.testing.assert_close(
        distance(net(normalise(view, *normalisation(net))), teacher.logits(view)[:, outputs], 20.0), whole
    )
    assert mine[1].shape[2:] == theirs[1].shape[2:] == (2, 2)
    dense = [
        distance(mine[1][:, :, row, column], theirs[1][:, outputs, row, column], 20.0)
        for row in range(2)
        for column in range(2)
    ]
    torch.testing.assert_close(found, (1 - weight) * whole + weight * sum(dense) / 4)


@pytest.mark.parametrize("grid", [1, 2])
def test_training_sees_what_its_records_replay(grid: int, tmp_path: Path) -> None:
    """Views drawn for a batch of training, and those of the same records read from views.npy."""
    images = torch.randint(0, 256, (9, 3, 48, 48), dtype=torch.uint8)
    pixels = Pixels(images, torch.arange(9) % 3, ())
    net = new_net("test_resnet", 3, 32, CPU, 0)[0]
    seen: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    recipe = TrainSettings(labels="hard", size=32, tile_crops=0.5)
    rows = torch.tensor([8, 0, 3, 5])
    online_loss(net, pixels, grid, None, None, recipe, CPU)(rows, torch.Generator().manual_seed(4))

    np.save(
        tmp_path / "views.npy",
        draw_views(4, 9, 48, grid, recipe, torch.Generator().manual_seed(4)).records(),
    )
    replayed = render(images, rows, Views.of(np.load(tmp_path / "views.npy")), 32, CPU)
    assert torch.equal(seen[0], normalise(replayed, *normalisation(net)))


@pytest.mark.parametrize("mix", ["cutmix", "mixup"])
def test_mixed_cross_entropy_weighs_both_labels(mix: Any) -> None:
    logits, labels = torch.randn(4, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    rows = torch.tensor([5, 0, 2, 3])
    views = draw_views(4, 6, 40, 1, TrainSettings(), torch.Generator().manual_seed(3), mix)
    expected = 0.0
    for number, row in enumerate(rows.tolist()):
        log = logits[number].log_softmax(0)
        own, other = labels[row], labels[(row + views.shift[number]) % 6]
        expected -= (views.lam[number] * log[own] + (1 - views.lam[number]) * log[other]) / 4
    torch.testing.assert_close(mixed_cross_entropy(logits, labels, rows, views), expected)


def test_dense_labels_are_part_of_the_recipe_of_soft_labels_alone(tmp_path: Path) -> None:
    tiny = distill(SOURCE, tmp_path / "tiny", DistillSettings(method="random", ipc=1, size=64))
    val = DemoSource(12, "val")
    settings = TrainSettings(
        teacher=TEACHER, student="test_resnet", size=64, epochs=1, batch_size=5, lr=1e-3, device="cpu"
    )
    soft = [
        train(tiny, val, tmp_path / f"soft{w}", settings.model_copy(update={"dense_weight": w}))
        for w in (0.0, 0.5)
    ]
    weights = [(tmp_path / f"soft{w}" / "model.safetensors").read_bytes() for w in (0.0, 0.5)]
    assert weights[0] != weights[1] and [one.settings["dense_weight"] for one in soft] == [0.0, 0.5]
    whole = {"dense": False, "tile_crops": 1.0}
    assert [one.taught for one in soft] == [whole, {"dense": True, "tile_crops": 0.5}]
    small = train(tiny, val, tmp_path / "small", settings.model_copy(update={"size": 32}))
    assert small.taught == whole  # a map of one place
    hard = settings.model_copy(update={"labels": "hard", "teacher": ""})
    assert train(tiny, val, tmp_path / "hard", hard).taught == whole
    train(
        tiny, val, tmp_path / "hard", hard.model_copy(update={"dense_weight": 0.0})
    )  # the same run: complete


def test_dense_labels_need_no_size(tmp_path: Path) -> None:
    """The default size is that of the teacher, and so is the result."""
    tiny = distill(SOURCE, tmp_path / "tiny", DistillSettings(method="random", ipc=1, size=64))
    settings = TrainSettings(teacher=TEACHER, student="test_resnet", epochs=1, batch_size=5, device="cpu")
    told = settings.model_copy(update={"size": load_model(TEACHER, CPU).input_size})
    default, given = (train(tiny, DemoSource(12, "val"), tmp_path / f"{s.size}", s) for s in (settings, told))
    assert default == given
    assert default.taught == {"dense": True, "tile_crops": 0.5}


def test_distances_by_hand():
    predicted, target = torch.tensor([[1.0, 3.0, -2.0]]), torch.tensor([[0.5, 2.0, 0.0]])
    student, teacher = ([math.exp(x / 4) for x in row] for row in (predicted[0].tolist(), target[0].tolist()))
    student, teacher = ([x / sum(row) for x in row] for row in (student, teacher))
    expected = 16 * sum(t * math.log(t / s) for s, t in zip(student, teacher, strict=True))
    assert DISTANCES["kl"](predicted, target, 4.0).item() == pytest.approx(expected, rel=1e-5)
    assert divergence(predicted, torch.tensor([teacher]), 4.0).item() == pytest.approx(expected, rel=1e-5)
    assert DISTANCES["mse"](predicted, target, 4.0).item() == pytest.approx((0.25 + 1 + 4) / 3)

"""Augmentation, the loop that resumes, and learning something at all."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import resize

from focusdd.core.errors import FocusError
from focusdd.labels.augment import (
    Mixed,
    augment,
    crop_boxes,
    crop_regions,
    cutmix,
    mixed_cross_entropy,
    mixup,
    resized_crops,
    shuffle_tiles,
)
from focusdd.training.distances import DISTANCES, divergence
from focusdd.training.loop import cosine, half_cosine, run_epochs, warm_cosine


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shuffle_keeps_every_tile_whole():
    images = torch.arange(4 * 3 * 12 * 12).view(4, 3, 12, 12)
    shuffled = shuffle_tiles(images, 3, generator())
    assert not torch.equal(shuffled, images)
    for before, after in zip(images, shuffled, strict=True):
        tiles = {before[:, y : y + 4, x : x + 4].sum().item() for y in (0, 4, 8) for x in (0, 4, 8)}
        assert {after[:, y : y + 4, x : x + 4].sum().item() for y in (0, 4, 8) for x in (0, 4, 8)} == tiles


def test_shuffle_leaves_what_the_grid_does_not_divide():
    images = torch.rand(2, 3, 10, 10)
    assert torch.equal(shuffle_tiles(images, 3, generator()), images)


def test_crop_boxes_lie_inside_and_have_their_area():
    boxes = crop_boxes(crop_regions(4000, 50, 80, 1, 0.0, generator()), 0.4, generator())
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 80 + 1e-4).all()
    assert (boxes[:, 3] <= 50 + 1e-4).all()
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = width * height / 4000
    unclipped = (width < 79.9) & (height < 49.9)
    assert unclipped.sum() > 500
    assert (share[unclipped] >= 0.4 - 1e-4).all()
    assert (width / height)[unclipped].min() > 0.74
    assert (width / height)[unclipped].max() < 1.34


def test_a_share_of_the_crops_lies_within_one_tile():
    regions = crop_regions(2000, 70, 100, 3, 0.25, generator())
    whole = (regions == torch.tensor([0.0, 0.0, 100.0, 70.0])).all(1)
    assert whole.float().mean() == pytest.approx(0.75, abs=0.05)
    tiles = {tuple(box) for box in regions[~whole].tolist()}
    columns, rows = [(0, 33), (33, 67), (67, 100)], [(0, 23), (23, 47), (47, 70)]
    assert tiles == {(x0, y0, x1, y1) for x0, x1 in columns for y0, y1 in rows}


@pytest.mark.parametrize("box", [(8, 16, 56, 64), (20, 4, 28, 12), (0, 0, 64, 64), (3, 5, 43, 64)])
def test_resized_crops_agree_with_an_antialiased_resize(box: tuple[int, int, int, int]):
    """The batched crop and torchvision's resize of the cut agree, shrinking and enlarging."""
    image = torch.rand(1, 3, 64, 64, generator=generator()) * 255
    x0, y0, x1, y1 = box
    ours = resized_crops(image, torch.tensor([box], dtype=torch.float32), 24)[0]
    reference = resize(image[0, :, y0:y1, x0:x1], [24, 24], antialias=True)
    assert (ours - reference).abs().max() < 0.01


def test_cutmix_share_is_the_share_of_own_pixels():
    images = torch.arange(1.0, 9.0)[:, None, None, None].expand(8, 3, 40, 40).contiguous()
    for seed in range(20):
        mixed = cutmix(images, generator(seed))
        for number in range(8):
            if mixed.order[number] == number:
                continue
            own = (mixed.images[number, 0] == images[number, 0, 0, 0]).double().mean()
            assert own.item() == pytest.approx(mixed.share)


def test_mixup_blends_with_the_share_of_its_own():
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    mixed = mixup(images, generator(2))
    assert 0 < mixed.share < 1
    for number, partner in enumerate(mixed.order.tolist()):
        expected = mixed.share * images[number].double() + (1 - mixed.share) * images[partner].double()
        torch.testing.assert_close(mixed.images[number].double(), expected, rtol=0, atol=1e-3)


def test_augment_mixes_in_the_way_it_is_told():
    images = torch.rand(4, 3, 8, 8)
    told = augment(
        images, 8, 1.0, False, 1.0, generator(), mix=lambda batch, _: Mixed(batch * 0, batch, 0.25)
    )
    assert told.images.abs().max() == 0
    assert told.share == 0.25


def test_distances_by_hand():
    predicted, target = torch.tensor([[1.0, 3.0, -2.0]]), torch.tensor([[0.5, 2.0, 0.0]])
    student, teacher = ([math.exp(x / 4) for x in row] for row in (predicted[0].tolist(), target[0].tolist()))
    student, teacher = ([x / sum(row) for x in row] for row in (student, teacher))
    expected = 16 * sum(t * math.log(t / s) for s, t in zip(student, teacher, strict=True))
    assert DISTANCES["kl"](predicted, target, 4.0).item() == pytest.approx(expected, rel=1e-5)
    assert divergence(predicted, torch.tensor([teacher]), 4.0).item() == pytest.approx(expected, rel=1e-5)
    assert DISTANCES["mse"](predicted, target, 4.0).item() == pytest.approx((0.25 + 1 + 4) / 3)


def test_mixed_cross_entropy_weighs_both_labels():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    mixed = cutmix(torch.zeros(6, 3, 8, 8), generator(3))
    each = nn.functional.cross_entropy(logits, labels, reduction="none").mean()
    other = nn.functional.cross_entropy(logits, labels[mixed.order], reduction="none").mean()
    expected = mixed.share * each + (1 - mixed.share) * other
    assert mixed_cross_entropy(logits, labels, mixed).item() == pytest.approx(expected.item(), rel=1e-5)


def test_augment_depends_on_the_generator_alone():
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    first, second = (augment(images, 16, 0.5, True, 1.0, generator(5)) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert not torch.equal(first.images, augment(images, 16, 0.5, True, 1.0, generator(6)).images)


def test_schedules():
    assert cosine(0) == 1
    assert cosine(1) == pytest.approx(0)
    assert half_cosine(1) == pytest.approx(0.5)
    assert warm_cosine(0.025) == pytest.approx(0.5)
    assert max(warm_cosine(t / 100) for t in range(100)) == pytest.approx(1, abs=1e-3)
    assert warm_cosine(1) == pytest.approx(0)


def toy(seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
    inputs = torch.randn(33, 4)
    return net, inputs, (inputs.sum(1) > 0).long()


def learn(net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, checkpoint, epochs: int = 12, **more):
    def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        return nn.functional.cross_entropy(net(inputs[rows]), labels[rows])

    run_epochs(
        net, more.pop("loss", loss), len(inputs), epochs=epochs, batch_size=8, lr=0.05, weight_decay=0.01,
        rate=cosine, seed=3, device=torch.device("cpu"), checkpoint=checkpoint, what="learn", **more,
    )  # fmt: skip


def test_one_image_is_too_little_to_learn_from(tmp_path):
    net, inputs, labels = toy()
    with pytest.raises(FocusError, match="one image is too little"):
        learn(net, inputs[:1], labels[:1], tmp_path / "one.pt")


def test_a_run_that_was_stopped_takes_the_same_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("focusdd.training.loop._SAVE_SECONDS", 0.0)
    whole, inputs, labels = toy()
    learn(whole, inputs, labels, tmp_path / "whole.pt")
    stopped, _, _ = toy()
    calls = 0

    def failing(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 5 * 7 + 2:  # in the middle of an epoch
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(stopped(inputs[rows]), labels[rows])

    with pytest.raises(KeyboardInterrupt):
        learn(stopped, inputs, labels, tmp_path / "stopped.pt", loss=failing)
    resumed, _, _ = toy(seed=9)  # its weights come from the checkpoint
    learn(resumed, inputs, labels, tmp_path / "stopped.pt")
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_last_batch_of_one_is_left_out(tmp_path):
    seen: list[int] = []
    net, inputs, labels = toy()

    def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        seen.append(len(rows))
        return nn.functional.cross_entropy(net(inputs[rows]), labels[rows])

    learn(net, inputs, labels, tmp_path / "x.pt", epochs=2, loss=loss)
    assert seen == [8, 8, 8, 8] * 2  # 33 images


def test_average_follows_the_weights(tmp_path):
    net, inputs, labels = toy()
    average, _, _ = toy()
    learn(net, inputs, labels, tmp_path / "x.pt", average=average, decay=0.5)
    weight, mean = net[0].weight, average[0].weight
    assert not torch.equal(weight, mean)
    assert (weight - mean).abs().max() < 0.05  # the rate has gone to zero: the average has caught up


def test_a_loss_that_is_no_number_is_named(tmp_path):
    net, inputs, labels = toy()
    with pytest.raises(FocusError, match="smaller --lr"):
        learn(net, inputs, labels, tmp_path / "x.pt", loss=lambda rows, _: net(inputs[rows]).sum() * math.inf)


def test_evaluate_counts_by_hand():
    from focusdd.sources.pixels import Pixels
    from focusdd.training.evaluate import evaluate

    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            level = images.mean((1, 2, 3))
            return -(level[:, None] - torch.linspace(0, 1, 7)[None]).abs()

    levels = torch.tensor([0, 42, 85, 128, 170, 212, 255])
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 6])  # one is wrong, and not near
    images = levels[:, None, None, None].expand(7, 3, 4, 4).to(torch.uint8)
    score = evaluate(Mean(), Pixels(images, labels, ()), (0, 0, 0), (1, 1, 1), torch.device("cpu"), 7)
    assert score.top1 == pytest.approx(6 / 7)
    assert score.top5 == pytest.approx(6 / 7)
    assert score.per_class[0] == pytest.approx(0.5)
    assert np.isnan(score.per_class[5])

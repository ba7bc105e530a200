"""The loop: steps, schedules, and runs that are resumed."""

import math
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from focusdd.core.errors import FocusError
from focusdd.training.loop import cosine, half_cosine, run_epochs, warm_cosine


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

    return run_epochs(
        net, more.pop("loss", loss), len(inputs), epochs=epochs, batch_size=8, lr=0.05, weight_decay=0.01,
        rate=cosine, seed=3, device=torch.device("cpu"), checkpoint=checkpoint, what="learn", **more,
    )  # fmt: skip


def test_one_image_is_too_little_to_learn_from(tmp_path):
    net, inputs, labels = toy()
    with pytest.raises(FocusError, match="one image is too little"):
        learn(net, inputs[:1], labels[:1], tmp_path / "one.pt")


def test_progress_within_an_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("focusdd.core.console._PLAIN_SECONDS", 0.0)
    learn(*toy(), tmp_path / "x.pt", epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("learn:")]
    assert len(lines) == 2 * 4  # steps
    assert lines[0].startswith("learn: 8/64, ")
    assert lines[0].endswith("epoch 1 of 2")
    assert lines[-1].startswith("learn: 64/64, ")
    assert "epoch 2 of 2, loss " in lines[-1]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_that_was_stopped_takes_the_same_steps(tmp_path, monkeypatch, ema):
    monkeypatch.setattr("focusdd.training.loop._SAVE_SECONDS", 0.0)
    whole, inputs, labels = toy()
    kept, _ = learn(whole, inputs, labels, tmp_path / "whole.pt", ema=ema)
    stopped, _, _ = toy()
    calls = 0

    def failing(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 5 * 7 + 2:  # in the middle of an epoch
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(stopped(inputs[rows]), labels[rows])

    with pytest.raises(KeyboardInterrupt):
        learn(stopped, inputs, labels, tmp_path / "stopped.pt", loss=failing, ema=ema)
    resumed, _, _ = toy(seed=9)  # its weights come from the checkpoint
    found, _ = learn(resumed, inputs, labels, tmp_path / "stopped.pt", ema=ema)
    for one, other in zip(kept.state_dict().values(), found.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("cost", "saves"), [(0.3, 9), (5.0, 1)])
def test_checkpoints_that_take_long_come_less_often(tmp_path, monkeypatch, cost: float, saves: int):
    """20 epochs of 10 seconds; 5 seconds are 2 % of 250."""
    now, written = 0.0, []

    def write(path, data) -> None:
        nonlocal now
        now += cost
        written.append(now)

    def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        nonlocal now
        now += 10 / 4
        return nn.functional.cross_entropy(net(inputs[rows]), labels[rows])

    monkeypatch.setattr("focusdd.training.loop.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("focusdd.training.loop.write_whole", write)
    net, inputs, labels = toy()
    learn(net, inputs, labels, tmp_path / "x.pt", loss=loss, epochs=20)
    assert len(written) == saves


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
    average, _ = learn(net, inputs, labels, tmp_path / "x.pt", ema=0.5)
    weight, mean = net[0].weight, average[0].weight
    assert not torch.equal(weight, mean)
    assert (weight - mean).abs().max() < 0.05  # the rate has gone to zero: the average has caught up


def test_an_average_is_the_mean_of_the_steps_until_it_is_long_enough(tmp_path):
    """The random weights of the start are no part of it, and a resumed run counts its steps on."""
    net, inputs, labels = toy()
    weights = []

    def loss(rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        weights.append(net[0].weight.detach().clone())
        return nn.functional.cross_entropy(net(inputs[rows]), labels[rows])

    average, _ = learn(net, inputs, labels, tmp_path / "x.pt", ema=0.999, loss=loss)
    steps = torch.stack([*weights[1:], net[0].weight.detach()])
    torch.testing.assert_close(average[0].weight, steps.mean(0))


def test_the_network_itself_is_kept_without_an_average(tmp_path):
    net, inputs, labels = toy()
    assert learn(net, inputs, labels, tmp_path / "x.pt", epochs=1)[0] is net


def test_tokens_and_embeddings_of_positions_do_not_decay(tmp_path):
    """A loss without a gradient leaves decay alone to change weights."""
    net = timm.create_model("test_vit", num_classes=2, img_size=32)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    weights = list(net.parameters())
    learn(net, torch.zeros(8), None, tmp_path / "x.pt", 1, loss=lambda *_: sum(w.sum() * 0 for w in weights))
    still = {name for name, weight in net.named_parameters() if torch.equal(weight, before[name])}
    assert {"cls_token", "pos_embed", "norm.weight", "head.bias"} <= still
    assert {"head.weight", "patch_embed.proj.weight"}.isdisjoint(still)


def test_a_loss_that_is_no_number_is_named(tmp_path):
    net, inputs, labels = toy()
    with pytest.raises(FocusError, match=r"smaller --learn\.lr"):
        learn(net, inputs, labels, tmp_path / "x.pt", loss=lambda rows, _: net(inputs[rows]).sum() * math.inf)

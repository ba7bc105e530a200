"""On a GPU alone: what is computed there in another way than on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from focusdd import ExtractSettings, extract, open_source
from focusdd.core.decoders import Fit, view_of
from focusdd.demo.run import WEIGHTS
from focusdd.extraction import loading, nvjpeg
from focusdd.extraction.nvjpeg import NVJPEG, gpu_decoder, has_nvjpeg
from focusdd.models import graphs
from focusdd.models.dense import DenseLogits, PooledLogits
from focusdd.models.device import pick_device
from focusdd.models.graphs import GraphedNet, graphed
from focusdd.models.load import load_model, new_net
from focusdd.settings import TrainSettings
from focusdd.settings.resolve import resolve
from focusdd.sources import DemoSource
from focusdd.sources.pixels import Pixels
from focusdd.training import losses
from focusdd.training.losses import online_loss

Draw, Encoded = Callable[..., Any], Callable[..., bytes]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


def test_without_a_gpu_nothing_is_recorded() -> None:
    net = PooledLogits(torch.nn.Linear(2, 2))
    assert graphed(net, torch.device("cpu")) is net


@gpu
@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("student", ["resnet18", "mobilenetv2_100", "vit_tiny_patch16_224"])
def test_recorded_steps_are_those_of_the_network_itself(
    monkeypatch: pytest.MonkeyPatch, student: str, weight: float
) -> None:
    """Three steps, the last with fewer images, which no record fits."""
    device = pick_device("cuda")
    if weight and student.startswith("vit"):
        pytest.skip("a ViT has no dense logits")
    torch.manual_seed(0)
    pixels = Pixels(torch.randint(0, 256, (20, 3, 96, 96), dtype=torch.uint8), torch.arange(20) % 10, ())
    teacher = load_model("resnet18", device, 64, pretrained=False, num_classes=10)
    settings = resolve(TrainSettings(student=student, size=64, dense_weight=weight)).settings
    net, _ = new_net(student, 10, 64, device, 0)
    net.train()

    def taught(recorded: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        mine = copy.deepcopy(net)
        if not recorded:
            for module in (losses, graphs):
                monkeypatch.setattr(module, "graphed", lambda net, device: net)
        loss = online_loss(mine, pixels, 2, teacher, torch.arange(10, device=device), settings, device)
        optimizer = torch.optim.SGD(mine.parameters(), 0.01)
        for step, rows in enumerate(torch.arange(20).split(8)):
            value = loss(rows, torch.Generator().manual_seed(step))
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
        return value.detach(), [tensor.float() for tensor in mine.state_dict().values()]

    (mine, weights), (theirs, expected) = taught(True), taught(False)
    assert mine.item() == pytest.approx(theirs.item(), rel=0.05)
    for one, other in zip(weights, expected, strict=True):
        assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99 or one.allclose(other)


class Waits(torch.nn.Module):
    """Waits for the GPU in its pass, which a record cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = images.mean((2, 3)).repeat(1, 8)[:, :8]
        return self.layer(pooled * (1.0 if pooled.sum().item() > 0 else 0.5))


class Drops(torch.nn.Module):
    """Draws random numbers in its pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(F.dropout(images.mean((2, 3)).repeat(1, 8)[:, :8], 0.5))


@gpu
def test_a_pass_that_cannot_be_recorded_is_taken_as_usual(capsys: pytest.CaptureFixture[str]) -> None:
    device = pick_device("cuda")
    net = Waits().to(device)
    images, stream = torch.randn(4, 3, 16, 16, device=device), torch.cuda.current_stream()
    recorded = GraphedNet(PooledLogits(net))
    for _ in range(2):
        answer, _ = recorded(images)
        assert torch.allclose(answer, net(images))
        answer.sum().backward()
    assert torch.cuda.current_stream() == stream
    assert capsys.readouterr().out.count("cannot be recorded") == 1


@gpu
@pytest.mark.parametrize("gradients", [True, False])
def test_a_recording_that_fails_leaves_random_numbers_and_earlier_records_alone(gradients: bool) -> None:
    device = pick_device("cuda")
    images = torch.randn(4, 3, 16, 16, device=device)
    with torch.set_grad_enabled(gradients):
        earlier = GraphedNet(PooledLogits(Drops().to(device)))
        earlier(images)
        torch.manual_seed(1)
        expected = torch.randn(5, device=device), earlier(images)[0].clone(), torch.randn(5, device=device)
        torch.manual_seed(1)
        drawn = [torch.randn(5, device=device)]
        assert GraphedNet(PooledLogits(Waits().to(device)))._recorded(images) is None
        drawn += [earlier(images)[0].clone(), torch.randn(5, device=device)]
    for mine, theirs in zip(drawn, expected, strict=True):
        assert torch.equal(mine, theirs)


@gpu
@pytest.mark.parametrize("gradients", [True, False])
def test_recording_changes_neither_statistics_nor_random_numbers(gradients: bool) -> None:
    """Twice: the second record finds what the first one left."""
    device = pick_device("cuda")
    net, _ = new_net("resnet18", 10, 64, device, 0)
    net.train()
    before = copy.deepcopy(net.state_dict())
    images = torch.randn(4, 3, 64, 64, device=device)
    torch.manual_seed(1)
    expected = torch.randn(5, device=device), torch.randn(5, device=device)
    for _ in range(2):
        torch.manual_seed(1)
        assert torch.equal(torch.randn(5, device=device), expected[0])
        with torch.set_grad_enabled(gradients):
            assert GraphedNet(DenseLogits(net))._recorded(images) is not None
        assert torch.equal(torch.randn(5, device=device), expected[1])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@gpu
def test_a_recorded_pass_draws_as_the_seed_says() -> None:
    """Also after another recording: a run that goes on takes the steps of one that was not interrupted."""
    device = pick_device("cuda")
    images = torch.ones(4, 3, 16, 16, device=device)
    recorded = GraphedNet(PooledLogits(Drops().to(device)))
    recorded(images)
    torch.manual_seed(3)
    expected = [recorded(images)[0].clone() for _ in range(2)]
    assert not torch.equal(*expected)
    GraphedNet(PooledLogits(Drops().to(device)))(images)
    torch.manual_seed(3)
    assert all(torch.equal(recorded(images)[0], one) for one in expected)


@gpu
@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_nvjpeg_shows_what_pillow_shows(draw: Draw, encoded: Encoded, fit: Fit) -> None:
    """Of all kinds that it takes, the same in any company and every time, a damaged file among them."""
    if not has_nvjpeg(pick_device("cuda")):
        pytest.skip("torchvision was built without nvJPEG")
    kinds: list[dict[str, Any]] = [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}]
    files = [encoded(draw(200 + 40 * n, 160), "JPEG", quality=95, **kind) for n, kind in enumerate(kinds)]
    files += [encoded(draw(150, 120).convert("L"), "JPEG", quality=95), encoded(draw(150, 120), "JPEG")]
    files += [encoded(draw(200, 160).convert("CMYK"), "JPEG"), encoded(draw(200, 160))]
    damaged = bytearray(files[0])
    damaged[len(damaged) // 2 : len(damaged) // 2 + 40] = b"\xff" * 40
    decode = gpu_decoder(160, fit, pick_device("cuda"))
    views = decode([*files, bytes(damaged)])
    assert [view.decoder for view in views[:8]] == [NVJPEG] * 6 + ["Pillow"] * 2
    for data, view in zip(files, views, strict=False):
        theirs = view_of(data, 160, fit)
        assert view[1:4] == theirs[1:4] and isinstance(theirs.pixels, np.ndarray)
        assert isinstance(view.pixels, torch.Tensor) and view.pixels.device.type == "cuda"
        assert np.abs(view.pixels.cpu().numpy().astype(float) - theirs.pixels).mean() < 1.5
        (alone,) = decode([data])
        assert isinstance(alone.pixels, torch.Tensor) and torch.equal(alone.pixels, view.pixels)


@gpu
def test_an_index_by_nvjpeg_is_the_same_every_time(
    draw: Draw, encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(90):
        path = tmp_path / "photos" / f"class {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(draw(100 + number % 7, 80, seed=number), "JPEG"))
    settings = ExtractSettings(extractor=str(WEIGHTS / "vit"), tile=32, device="cuda", anyway=True)
    source = open_source(str(tmp_path / "photos"))
    first, second = (extract(source, tmp_path / name, settings) for name in ("first", "second"))
    if not has_nvjpeg(pick_device("cuda")):
        pytest.skip("torchvision was built without nvJPEG")
    assert first.info["decoder"] == {"name": NVJPEG, "fallback": 0}
    assert [part.read_bytes() for part in first.parts()] == [part.read_bytes() for part in second.parts()]
    monkeypatch.setattr(nvjpeg, "has_nvjpeg", lambda device: False)
    other = extract(source, tmp_path / "other", settings)
    assert other.info["decoder"]["name"] == "Pillow"
    close = np.abs(first.features().astype(float) - other.features()).mean() / np.abs(other.features()).mean()
    assert close < 0.2


@gpu
def test_an_index_is_the_same_whether_threads_or_processes_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(few: int) -> list[bytes]:
        monkeypatch.setattr(loading, "FEW", few)
        settings = ExtractSettings(extractor=str(WEIGHTS / "vit"), tile=32, device="cuda")
        index = extract(DemoSource(60), tmp_path / str(few), settings)
        return [part.read_bytes() for part in sorted((index.folder / "parts").iterdir())]

    assert parts(1) == parts(1000)

"""SSDLite from torchvision: it learns from the same datasets, and needs nothing of Ultralytics."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_detect_training import Scenes, make_distilled, scene, settings

from focusdd.tasks.detect.detectors import family_of, load_detector
from focusdd.tasks.detect.distilled import Sample, open_detection
from focusdd.tasks.detect.ssdlite import SSDLITE
from focusdd.tasks.detect.train import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_distilled(tmp_path_factory.mktemp("data") / "tiny", 24)


def test_labels_follow_the_pixels(data: Path) -> None:
    """Under all augmentation, what a label calls a red square is mostly red, and a green disc green."""
    lessons = SSDLITE.lessons(open_detection(data).samples(64), 64, 0.0, True)
    images, targets = lessons.batch(range(24), 0, False)
    assert images.shape == (24, 3, 64, 64) and images.dtype == torch.uint8
    checked = 0
    for image, target in zip(images, targets, strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            assert (box >= 0).all() and (box <= 64).all()
            x, y = ((box[:2] + box[2:]) / 2).tolist()
            if min(box[2:] - box[:2]) < 10:
                continue
            middle = image[:, int(y - 2) : int(y + 2), int(x - 2) : int(x + 2)].float().mean((1, 2))
            checked += 1
            # colours are changed too, but red stays ahead of green in a square
            assert (middle[0] > middle[1]) == (label == 1)
    assert checked > 15


def test_batches_depend_on_the_seed_alone(data: Path) -> None:
    lessons = SSDLITE.lessons(open_detection(data).samples(64), 64, 0.0, True)
    state = torch.get_rng_state()
    first, again, other = (lessons.batch([0, 1], seed, True)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("share", "said"), [(0.05, True), (0.3, False)])
def test_objects_too_small_for_its_boxes_are_said(
    share: float, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = np.array([[0.5, 0.5, share, share]] * 3, dtype=np.float32)
    sample = Sample(np.zeros((320, 320, 3), np.uint8), boxes, np.zeros(3, np.int64))
    SSDLITE.lessons([sample], 320, 0.0, True)
    assert ("smallest default box has 64 px" in capsys.readouterr().out) == said


def test_it_trains_without_ultralytics(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    result = train(data, Scenes(6), tmp_path / "out", settings(detector="ssdlite", steps=2))
    assert result.detector == "ssdlite" and 0 <= result.map <= 1
    detector = load_detector(tmp_path / "out", "cpu")
    images = [scene(number)[0] for number in range(2)]
    for found in detector.find(images):
        assert len(found.boxes) <= 300
        assert ((found.boxes >= 0) & (found.boxes <= torch.tensor([80, 60, 80, 60]))).all()
        assert ((found.labels == 0) | (found.labels == 1)).all()
        assert (found.scores.diff() <= 0).all()


def test_loss_goes_down(data: Path) -> None:
    lessons = SSDLITE.lessons(open_detection(data).samples(64), 64, 0.0, False)
    net = SSDLITE.new_network("ssdlite", 2, CPU, 0)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    batch = lessons.batch(range(16), 0, False)
    losses = []
    for _ in range(12):
        loss = SSDLITE.loss(net.train(), batch, CPU)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_a_family_is_found_by_name() -> None:
    assert family_of("ssdlite") is SSDLITE
    assert family_of("yolo11s").package == "ultralytics"

"""What `fit` refuses before it loads anything, and what it says of a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from focusdd import FitSettings, FocusError, fit
from focusdd.cli.app import app
from focusdd.core.files import read_json
from focusdd.demo.run import WEIGHTS
from focusdd.models.names import unreachable
from focusdd.sources import DemoSource


def test_images_that_do_not_fit_into_memory_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusdd.sources.pixels.free_memory", lambda: 20 * 3 * 80**2)

    def loaded(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("focusdd.training.fit.load_model", loaded)
    monkeypatch.setattr("focusdd.training.fit.start_of", loaded)
    settings = FitSettings(model="test_vit", size=64, teacher="anyone")
    with pytest.raises(FocusError, match=r"demo:2 at 80 px needs .* GiB of memory"):
        fit(DemoSource(2), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_the_output_may_be_called_like_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        fit(DemoSource(2), "test_vit", model="test_vit", size=32, epochs=1, pretrained=False)
    assert "complete already" in capsys.readouterr().out


def test_the_number_of_threads_is_recorded(tmp_path: Path) -> None:
    """The weights depend on it, and no setting has it."""
    fit(DemoSource(2), tmp_path / "out", model="test_vit", size=32, epochs=1, pretrained=False)
    assert read_json(tmp_path / "out" / "run.json")["threads"] == torch.get_num_threads()


def test_a_finished_fit_asks_no_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the teacher was asked where nothing is to be done")

    own = {"model": "test_vit", "size": 32, "epochs": 1, "pretrained": False, "anyway": True}
    for _ in range(2):
        fit(DemoSource(2), tmp_path / "out", teacher=str(WEIGHTS / "teacher"), **own)
        monkeypatch.setattr("focusdd.training.fit.checked_outputs", asked)


def test_a_teacher_at_chance_is_not_recommended_and_a_finished_one_asks_no_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(name: str, *_: object) -> Path:
        raise unreachable(name, "the hub does not answer")

    monkeypatch.setattr("focusdd.models.names._from_hub", offline)
    said = []
    for _ in range(2):
        flags = f"--model test_vit --size 32 --epochs 1 --lr 1e-9 --val demo:20 --out {tmp_path / 'out'}"
        app(["fit", "demo:2", *flags.split()], result_action="return_value")
        said.append(" ".join(capsys.readouterr().out.split()))
    assert all("near chance" in one and "--epochs" in one and "as --teacher" not in one for one in said)
    assert ["cannot be loaded" in one for one in said] == [True, False]

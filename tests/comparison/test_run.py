"""`run`: the stages that single commands make, in one go."""

import shutil
from pathlib import Path

import pytest

from focusdd import FitSettings, FocusError, Source, TrainSettings, run, train
from focusdd.core.files import read_json
from focusdd.demo.run import WEIGHTS
from focusdd.sources import DemoSource

SMALL = {
    "ipc": 1, "student": "test_resnet", "extractor": str(WEIGHTS / "vit"), "size": 64, "epochs": 2,
}  # fmt: skip


def test_run_makes_what_the_single_commands_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(source: Source, out: Path, settings: FitSettings, **_: object) -> Path:
        """What hours of fitting would give."""
        assert settings.model == "test_resnet" and settings.size == 64 and settings.epochs == 12
        return Path(shutil.copytree(WEIGHTS / "teacher", out, dirs_exist_ok=True))

    monkeypatch.setattr("focusdd.comparison.run.fit", fitted)
    source, val = DemoSource(8), DemoSource(4, "val")
    out = tmp_path / "run"
    made = run(source, out, val=val, fit_epochs=12, control=True, **SMALL)
    assert made.teacher == out / "teacher" and (out / "index" / "done.json").exists()
    assert made.control is not None and made.control != made.student
    recipe = TrainSettings(student="test_resnet", teacher=str(made.teacher), size=64, epochs=2)
    alone = train(made.distilled, val, tmp_path / "student", recipe)
    assert alone == made.student
    assert read_json(out / "random" / "distilled.json")["method"] == "random"
    assert "plan" in capsys.readouterr().out
    again = run(source, out, val=val, fit_epochs=12, control=True, **SMALL)
    assert again == made and "done" in capsys.readouterr().out


def test_a_checkpoint_of_the_students_architecture_is_the_teacher_itself(tmp_path: Path) -> None:
    made = run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), teacher=str(WEIGHTS / "teacher"), **{
        **SMALL, "student": read_json(WEIGHTS / "teacher" / "config.json")["architecture"],
    })  # fmt: skip
    assert made.teacher == WEIGHTS / "teacher" and not (tmp_path / "teacher").exists()


def test_a_setting_that_run_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="no setting 'students': did you mean 'student'"):
        run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), students="resnet18")

"""`run`: the stages that single commands make, in one go."""

import math
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from focusdd import FitSettings, FocusError, Source, TrainSettings, run, status, train
from focusdd.cli.app import app
from focusdd.core.files import read_json, write_json
from focusdd.demo.run import WEIGHTS
from focusdd.models.load import load_model
from focusdd.settings import RunSettings
from focusdd.settings.resolve import resolve
from focusdd.sources import DemoSource

SMALL = {
    "ipc": 1, "student": "test_resnet", "extractor": str(WEIGHTS / "vit"), "size": 64, "epochs": 2,
}  # fmt: skip


def fitted(out: Path) -> Path:
    """What hours of fitting would give."""
    shutil.copytree(WEIGHTS / "teacher", out, dirs_exist_ok=True)
    write_json(out / "done.json", {"files": {}})
    write_json(out / "run.json", {"seconds_total": 7654.3})
    return out


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_run_makes_what_the_single_commands_make(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(source: Source, out: Path, settings: FitSettings, overwrite: bool = False, **_: object) -> Path:
        assert not overwrite
        assert (
            not settings.model_fields_set
            and settings.model == "test_resnet"
            and settings.size == 64
            and settings.epochs == 12
        )
        return fitted(out)

    monkeypatch.setattr("focusdd.comparison.run.fit", fit)
    monkeypatch.setattr("focusdd.comparison.plan.needs_download", lambda name: name == "test_resnet")
    source, val = DemoSource(8), DemoSource(4, "val")
    out = tmp_path / "run"
    made = run(source, out, val=val, fit_epochs=12, control=True, **SMALL)
    assert made.teacher == out / "teacher" and (out / "index" / "done.json").exists()
    assert made.control is not None and made.control != made.student
    recipe = TrainSettings(student="test_resnet", teacher=str(made.teacher), size=64, epochs=2)
    alone = train(made.distilled, val, tmp_path / "student", recipe)
    assert alone == made.student
    assert read_json(out / "random" / "distilled.json")["method"] == "random"
    said = capsys.readouterr().out
    assert "plan" in said and "to be downloaded: the weights of test_resnet\n" in said
    words = ("extract", "fit", "distill", "train", "random-student", "student of random images", "7,654")
    assert all(word in said for word in (*words, f"{made.student.top1:.1%}"))
    again = run(source, out, val=val, fit_epochs=12, control=True, **SMALL)
    said = capsys.readouterr().out
    assert again == made and "done" in said and "writes" not in said
    kept = (out / "index" / "done.json").stat().st_mtime_ns
    other = {**SMALL, "ipc": 2}
    with pytest.raises(FocusError, match=r"ipc was 1, now 2.*overwrite=True, which makes again only"):
        run(source, out, val=val, fit_epochs=12, **other)
    assert "plan" not in capsys.readouterr().out
    larger = run(source, out, val=val, fit_epochs=12, overwrite=True, **other)
    assert (out / "index" / "done.json").stat().st_mtime_ns == kept
    assert read_json(out / "distilled" / "distilled.json")["ipc"] == 2
    assert larger.student.distilled["ipc"] == 2 and larger.show(4).axes


def test_the_plan_makes_every_network_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    load = load_model

    def counted(name: str, *args: object, **options: object) -> object:
        made.append(name)
        return load(name, *args, **options)

    monkeypatch.setattr("focusdd.comparison.run.load_model", counted)
    monkeypatch.setattr("focusdd.comparison.plan.load_model", counted)
    monkeypatch.setattr("focusdd.comparison.run._made", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), **SMALL)
    assert sorted(made) == sorted([SMALL["extractor"], SMALL["student"]])


def test_a_checkpoint_of_the_students_architecture_is_the_teacher_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), teacher=str(WEIGHTS / "teacher"), **{
        **SMALL, "student": read_json(WEIGHTS / "teacher" / "config.json")["architecture"],
    })  # fmt: skip
    assert made.teacher == WEIGHTS / "teacher" and not (tmp_path / "teacher").exists()
    assert made.student.teacher is not None
    row = next(line for line in capsys.readouterr().out.splitlines() if "teacher, on a sample" in line)
    assert f"{made.student.teacher['sample_accuracy']:.1%}" in row


@pytest.mark.parametrize("labels", ["soft", "tiles"])
def test_the_next_command_works_when_it_is_pasted(labels: str, tmp_path: Path) -> None:
    teacher = str(WEIGHTS / "teacher")
    architecture = read_json(WEIGHTS / "teacher" / "config.json")["architecture"]
    settings = {**SMALL, "student": architecture, "teacher": teacher, "labels": labels}
    made = run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), **settings)
    if labels == "tiles":
        assert (made.distilled / "labels" / "tiles" / "done.json").exists()
        asked = {"student": architecture, "labels": "tiles", "epochs": 2, "seed": 0}
        assert train(made.distilled, DemoSource(4, "val"), tmp_path / "alone", **asked) == made.student
        assert run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), **settings) == made
    app(made.following, result_action="return_value")


def test_a_weak_teacher_is_named_with_anyway_and_the_rest_of_a_stopped_run_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weak(source: Source, out: Path, *_: object, **__: object) -> Path:
        config = read_json(fitted(out) / "config.json")
        write_json(out / "config.json", config | {"focusdd": {"val_balanced": 0.1, "val_top1": 0.1}})
        return out

    monkeypatch.setattr("focusdd.comparison.run.fit", weak)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("focusdd.comparison.run.train", stopped)
        run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), **SMALL)
    states = {line.path.name: line.state for line in status(tmp_path)}
    assert states["distilled"] == "done" and states["student"] == "not begun"
    made = run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), **SMALL)
    assert made.following[-1] == "--anyway"
    app(made.following, result_action="return_value")


def test_the_size_is_that_of_a_teacher_of_the_students_architecture(tmp_path: Path) -> None:
    config = read_json(WEIGHTS / "teacher" / "config.json")
    settings = {key: value for key, value in SMALL.items() if key != "size"} | {
        "student": config["architecture"]
    }
    made = run(
        DemoSource(8), tmp_path, val=DemoSource(4, "val"), teacher=str(WEIGHTS / "teacher"), **settings
    )
    size = config["pretrained_cfg"]["input_size"][-1]
    assert made.student.distilled["size"] == made.student.settings["size"] == size


def test_a_teacher_that_does_not_know_the_classes_is_refused_before_anything_is_made(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source, val = image_folder(), image_folder(per_class=1, root=tmp_path / "val")
    with pytest.raises(FocusError, match="does not know the classes"):
        run(source, tmp_path / "run", val=val, teacher=str(WEIGHTS / "teacher"), **SMALL)
    with pytest.raises(FocusError, match=r"'\?holdout=0.1' at the end of its name"):
        run(source, tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_weak_teacher_that_was_fitted_here_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def untrained(source: Source, out: Path, *_: object, **__: object) -> Path:
        fitted(out)
        weights = load_file(out / "model.safetensors")
        save_file({name: value * 0 for name, value in weights.items()}, out / "model.safetensors")
        return out

    monkeypatch.setattr("focusdd.comparison.run.fit", untrained)
    run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), control=True, **SMALL)
    said = capsys.readouterr().out
    assert said.count("warning: the teacher") == 1 and "learnt little" in said and "for more epochs" in said


def test_an_extractor_that_cannot_be_used_is_refused_before_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, val = DemoSource(8), DemoSource(4, "val")
    with pytest.raises(FocusError, match="no plain ViT"):
        run(source, tmp_path / "run", val=val, **SMALL | {"extractor": "resnet18"})
    without = {name: value for name, value in SMALL.items() if name != "extractor"}

    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("focusdd.models.names.needs_download", lambda name: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.getaddrinfo", offline)  # what the hub's client makes of it is its own
    with pytest.raises(FocusError, match="extractor=FOLDER"):
        run(source, tmp_path / "run", val=val, **without)
    assert "plan" not in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_a_setting_that_run_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="no setting 'students': did you mean 'student'"):
        run(DemoSource(8), tmp_path, val=DemoSource(4, "val"), students="resnet18")


@pytest.mark.parametrize(
    ("ipc", "classes", "epochs"),
    [(1, 10, 1500), (2, 10, 1500), (3, 10, 750), (10, 10, 300), (50, 10, 300), (1, 1000, 300), (1, 2, 1500)],
)
def test_a_student_of_few_images_passes_over_them_more_often(ipc: int, classes: int, epochs: int) -> None:
    settings = resolve(RunSettings(ipc=ipc), size=64, classes=classes).settings
    batches = math.ceil(ipc * classes / TrainSettings().batch_size)
    assert settings.epochs == epochs and settings.epochs * batches >= 1500
    asked = RunSettings(ipc=ipc, epochs=7)
    assert resolve(asked, size=64, classes=classes).settings.epochs == 7

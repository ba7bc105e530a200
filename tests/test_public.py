"""What README and the first steps promise runs as it stands: paths and keywords are enough."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import focusdd
from focusdd.demo.run import WEIGHTS

VIT, TEACHER = str(WEIGHTS / "vit"), str(WEIGHTS / "teacher")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("public")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> focusdd.Distilled:
    return focusdd.distill("demo:12", folder / "tiny", ipc=1, extractor=VIT, size=64)


def test_distill_takes_paths_and_keywords(tiny: focusdd.Distilled, folder: Path) -> None:
    assert len(tiny.files()) == 10
    again = focusdd.distill("demo:12", str(folder / "tiny"), ipc=1, extractor=VIT, size=64)
    assert again == tiny == focusdd.open_distilled(tiny) == focusdd.open_distilled(folder / "tiny")
    index = focusdd.open_index(folder / "tiny-index")
    settings = focusdd.DistillSettings(ipc=1, size=64)
    other = focusdd.distill(focusdd.open_source("demo:12"), folder / "other", settings, index=index, grid=1)
    assert other.info["grid"] == 1 and other.info["size"] == 64


def test_show_is_a_figure(tiny: focusdd.Distilled) -> None:
    figure = tiny.show()
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == list(tiny.class_names)
    assert len([axes for axes in tiny.show(3).axes if axes.images]) == 3
    for one in (figure, tiny):  # as a notebook shows them
        assert one._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("images", [0, -1, 1.5, "3"])
def test_show_takes_a_number_of_images(tiny: focusdd.Distilled, images: object) -> None:
    with pytest.raises(focusdd.FocusError, match=f"cannot draw {images!r} images: give a whole number"):
        tiny.show(images)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: focusdd.load_model(TEACHER, "cpu", -5), "cannot have -5 px: give a whole number"),
        (lambda: focusdd.load_model(TEACHER, "cpu", "64"), "cannot have '64' px: give a whole number"),
        (lambda: focusdd.load_model(TEACHER, "gpu"), "no device 'gpu': use auto, cpu, cuda or mps"),
        (lambda: focusdd.open_source(WEIGHTS, "test"), "there is no split 'test': use train or val"),
        (lambda: focusdd.detect.open_source("demo", "test"), "there is no split 'test': use train or val"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(call: Callable[[], object], words: str) -> None:
    with pytest.raises(focusdd.FocusError, match=words):
        call()


def test_train_gives_a_small_frozen_result(tiny: focusdd.Distilled, folder: Path) -> None:
    arguments = {"val": "demo:2", "teacher": TEACHER, "student": "test_resnet", "size": 32, "epochs": 1}
    student = focusdd.train(tiny, out=folder / "student", **arguments)
    assert isinstance(student, focusdd.TrainedStudent)
    assert 0 <= student.top1 <= student.top5 <= 1
    assert set(student.per_class) == set(tiny.classes)
    with pytest.raises(dataclasses.FrozenInstanceError):
        student.top1 = 1.0
    assert student.to_dict()["settings"]["student"] == "test_resnet"
    assert focusdd.train(tiny, out=folder / "student", **arguments) == student
    assert focusdd.load_model(str(folder / "student"), "cpu").classes == tiny.classes


def test_detection_has_the_same_face(folder: Path) -> None:
    boxes = focusdd.detect.distill("demo:12", folder / "boxes", ratio=0.1, extractor=VIT, size=128)
    assert len(boxes.files()) == 12
    assert focusdd.detect.open_distilled(folder / "boxes") == boxes
    figure = boxes.show(4)
    assert sum(len(axes.patches) for axes in figure.axes) > 0
    assert boxes._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda out: focusdd.distill("demo:2", out, icp=3), "no setting 'icp': did you mean 'ipc'?"),
        (
            lambda out: focusdd.distill("demo:2", out, ipc=0),
            "ipc: input should be greater than or equal to 1",
        ),
        (lambda out: focusdd.distill("demo:2", out, fit="squash"), "'fit' is called 'resize' now"),
        (lambda out: focusdd.distill("demo:2"), "distill needs out"),
        (lambda out: focusdd.label(out), "teacher: field required"),
        (lambda out: focusdd.detect.distill("demo:2", out, epochs=1), "there is no setting 'epochs'"),
        (lambda out: focusdd.train(out, "demo:2", out), "is not a distilled dataset"),
    ],
)
def test_a_mistake_is_a_sentence(call: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    with pytest.raises(focusdd.FocusError) as caught:
        call(tmp_path / "out")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_has_no_effect_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    focusdd.distill("demo:3", tmp_path / "a", method="random", ipc=1, size=32, keep=0.5, extractor=VIT)
    said = capsys.readouterr().out
    assert "keep= has no effect with method random" in said
    assert "extractor= has no effect with method random" in said


def test_a_comparison_says_what_has_no_effect_in_any_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = {"labels": ["hard"], "students": ["test_resnet"], "ipc": [1], "seeds": 1, "workers": 2}
    own = {"train": {"size": 32, "epochs": 1, "temperature": 4}, "distill": {"keep": 0.5, "size": 32}}
    table = focusdd.compare(
        "demo:3", "demo:3", tmp_path / "out", methods=["random"], teacher=TEACHER, **arguments, **own
    )
    assert len(table) == 1
    said = capsys.readouterr().out
    for name in ("train={'temperature': ...}", "distill={'keep': ...}", "teacher=", "workers="):
        assert said.count(f"{name} has no effect with") == 1, name
    assert "epochs" not in said


def test_help_lists_the_keywords() -> None:
    names = inspect.signature(focusdd.distill).parameters
    assert {"source", "out", "ipc", "extractor", "layers", "workers"} <= names.keys()


def test_no_module_hides_a_public_function() -> None:
    """Importing every module leaves every public name what it was."""
    for module in pkgutil.walk_packages(focusdd.__path__, "focusdd."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for face, modules in ((focusdd, {"detect"}), (focusdd.detect, set())):
        for name in set(face.__all__) - {"__version__"} - modules:
            assert callable(getattr(face, name)), name


def test_everything_public_is_in_all() -> None:
    assert {"open_source", "open_index", "open_distilled", "load_model", "detect"} <= set(focusdd.__all__)
    assert set(dir(focusdd)) <= set(focusdd.__all__)


def test_pictures_with_boxes_are_drawn_at_their_place(tmp_path: Path) -> None:
    from focusdd.composition.dataset import Picture, figure_of

    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    figure = figure_of([Picture(tmp_path / "a.png", "$a$", [(0.5, 0.5, 0.5, 1.0)])])
    (box,) = figure.axes[0].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((10.0, 0.0), 20.0, 20.0)

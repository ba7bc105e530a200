"""Learning rates and weight decays by the family of the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
from timm.models import model_entrypoint

from focusdd import FocusError, TrainSettings, distill, label, train
from focusdd.core.console import warn_once
from focusdd.demo.run import WEIGHTS
from focusdd.models.families import other_family, other_sizes, recipe
from focusdd.settings.recipes import DEFAULT, FAMILIES, Recipe
from focusdd.settings.resolve import resolve
from focusdd.sources import DemoSource
from focusdd.training.result import TrainedStudent

RESNET, MOBILE, VIT = Recipe(2e-3, 0.01), Recipe(5e-3, 0.01), Recipe(5e-4, 0.05)
STUDENTS = {
    **dict.fromkeys(("resnet18", "seresnet50", "resnext50_32x4d", "resnetv2_50", "regnetx_002"), RESNET),
    **dict.fromkeys(("legacy_senet154", "timm/resnet50.a1_in1k", "wide_resnet50_2"), RESNET),
    **dict.fromkeys(("mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv4_conv_small"), MOBILE),
    **dict.fromkeys(("efficientnet_b0", "tf_efficientnet_b0", "tf_mobilenetv3_small_100"), MOBILE),
    **dict.fromkeys(("vit_small_patch16_224", "deit_tiny_patch16_224", "beit_base_patch16_224"), VIT),
    **dict.fromkeys(("eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224", "convnext_tiny"), VIT),
    **dict.fromkeys(("convnet5", "vgg11", "efficientvit_b0"), DEFAULT),
}


@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_has_the_recipe_of_its_family(student: str) -> None:
    assert recipe(student) == STUDENTS[student]
    settings = TrainSettings(student=student, lr=0.1)
    settings = resolve(settings, **recipe(student)._asdict()).settings
    assert (settings.lr, settings.weight_decay) == (0.1, STUDENTS[student].weight_decay)


def test_every_family_is_one_of_timm() -> None:
    there = {model_entrypoint(name).__module__.rpartition(".")[2] for name in timm.list_models()}
    for modules, _ in FAMILIES.values():
        assert set(modules) & there  # not all of them: versions of timm differ


def test_the_help_names_what_a_student_gets() -> None:
    fields = TrainSettings.model_fields
    assert "0.002 for ResNets" in str(fields["lr"].description)
    assert "0.001 for all others" in str(fields["lr"].description)
    assert "0.05 for ViTs, Swins and ConvNeXts" in str(fields["weight_decay"].description)


def test_an_unknown_student_is_named() -> None:
    with pytest.raises(FocusError, match="whatever"):
        recipe("whatever")


def test_a_teacher_of_another_family_is_named_with_the_command_for_one_of_the_students() -> None:
    assert other_family("resnet50", "resnet18") == other_family("tf_efficientnet_b0", "mobilenetv2_100") == ""
    words = other_family("tf_efficientnet_lite2", "resnet18")
    assert "a tf_efficientnet_lite2, is of another family than the student, a resnet18" in words
    assert "focusdd fit SOURCE --model resnet18" in words


def test_labels_say_which_students_they_are_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`label` knows no student and says nothing, `train` warns as with the teacher at hand."""
    made = distill(DemoSource(8), tmp_path / "tiny", method="random", ipc=1, size=64)
    label(made, teacher=str(WEIGHTS / "teacher"))
    assert "family" not in capsys.readouterr().out
    train(made, DemoSource(4, "val"), tmp_path / "vit", student="test_vit", labels="tiles", epochs=1)
    said = capsys.readouterr().out
    assert "warning: the teacher, a test_resnet, is of another family than the student, a test_vit" in said
    assert "makes one. The temperature is 4\n" in said
    assert TrainedStudent.read(tmp_path / "vit").settings["temperature"] == 4
    train(made, DemoSource(4, "val"), tmp_path / "resnet", student="test_resnet", labels="tiles", epochs=1)
    assert "family" not in capsys.readouterr().out
    assert TrainedStudent.read(tmp_path / "resnet").settings["temperature"] == 20


@pytest.mark.parametrize(
    ("given", "loss", "said"), [(7.0, "kl", ". The temperature is 7\n"), (None, "mse", "makes one\n")]
)
def test_a_temperature_that_is_given_stays_for_a_teacher_of_another_family(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: float | None, loss: Any, said: str
) -> None:
    warn_once.cache_clear()
    made = distill(DemoSource(8), tmp_path / "tiny", method="random", ipc=1, size=32)
    own = {"student": "test_vit", "teacher": str(WEIGHTS / "teacher"), "epochs": 1, "size": 32}
    found = train(made, DemoSource(12, "val"), tmp_path / "vit", temperature=given, loss=loss, **own)
    assert said in capsys.readouterr().out
    assert given is None or found.settings["temperature"] == given


def test_labels_of_some_classes_are_learnt_at_their_own_temperature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = distill(DemoSource(8), tmp_path / "tiny", method="random", ipc=1, size=64)
    label(made, teacher=str(WEIGHTS / "teacher"), top=3, temperature=10)
    recipe = {"student": "test_vit", "labels": "tiles", "epochs": 1}
    found = train(made, DemoSource(4, "val"), tmp_path / "vit", **recipe)
    assert found.settings["temperature"] == 10
    assert "the labels keep" not in capsys.readouterr().out
    train(made, DemoSource(4, "val"), tmp_path / "other", temperature=4, **recipe)
    assert "at temperature 10, not 4" in capsys.readouterr().out


def test_sizes_are_named_where_a_teacher_or_images_are_too_small() -> None:
    assert other_sizes(64, 64, 64) == other_sizes(224, 128, 128) == ""
    assert "the teacher was fitted at 224 px, and teacher and student see 128 px" in other_sizes(
        128, 224, 128
    )
    assert "distilled images have 64 px" in other_sizes(64, 128, 128)

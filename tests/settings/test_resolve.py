"""Settings are resolved once: derived defaults, what has no effect, and what makes up a key."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from focusdd import settings as every
from focusdd.settings import (
    CompareSettings,
    DetectDistillSettings,
    DistillSettings,
    EngineSettings,
    ExtractorSettings,
    ExtractSettings,
    FitSettings,
    LabelSettings,
    SelectSettings,
    Settings,
    TrainSettings,
)
from focusdd.settings.base import Derived, Only
from focusdd.settings.resolve import idle_in_all, not_given, record, resolve, resolve_and_warn

ALL = [one for _, one in inspect.getmembers(every, inspect.isclass) if issubclass(one, Settings)]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_finite_number_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        TrainSettings(temperature=value)


@pytest.mark.parametrize(
    ("given", "facts", "name", "value"),
    [
        (DistillSettings(), {}, "views", 4),
        (DistillSettings(grid=3), {}, "views", 9),
        (DistillSettings(view_source="same"), {}, "views", 2),
        (DistillSettings(views=0), {}, "views", 0),
        (TrainSettings(), {"lr": 0.002}, "lr", 0.002),
        (TrainSettings(lr=0.1), {"lr": 0.002}, "lr", 0.1),
        (TrainSettings(lr=None), {"lr": 0.002}, "lr", 0.002),
        (TrainSettings(), {}, "tile_crops", 1.0),
        (TrainSettings(), {"taught": "dense labels"}, "tile_crops", 0.5),
        (TrainSettings(), {}, "temperature", 20.0),
        (TrainSettings(), {"other_family": "words"}, "temperature", 4.0),
        (TrainSettings(temperature=7), {"other_family": "words"}, "temperature", 7.0),
        (LabelSettings(teacher="x", kind="views", dense=2), {}, "tile_crops", 0.5),
        (DetectDistillSettings(), {}, "ipc", 10),
        (DetectDistillSettings(ratio=0.1), {}, "ipc", None),
        (ExtractSettings(), {"input_size": 96}, "input_size", 96),
    ],
)
def test_what_the_user_did_not_say(given: Settings, facts: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(resolve(given, **facts).settings, name) == value


@pytest.mark.parametrize(
    ("given", "facts", "said"),
    [
        (DistillSettings(method="view", keep=0.5), {}, ["--keep has no effect with method view"]),
        (DistillSettings(method="view", share=0.5), {}, ["--share has no effect with method view"]),
        (DistillSettings(clusters=True, keep=0), {}, ["--clusters has no effect with keep 0"]),
        (DistillSettings(keep=0, seed=3), {}, ["--seed has no effect with keep 0"]),
        (DistillSettings(method="random", seed=3), {}, []),
        (DistillSettings(method="herding", seed=3), {}, ["--seed has no effect with method herding"]),
        (DistillSettings(method="rded", keep=1, teacher="x", rded_crops=2), {},
         ["--keep has no effect with method rded"]),
        (DistillSettings(format="png", quality=80), {}, ["--quality has no effect with format png"]),
        (DistillSettings(quality=80), {}, []),
        (ExtractorSettings(extractor="vit"), {"reader": "--index"},
         ["--extractor has no effect with --index"]),
        (ExtractorSettings(extractor="vit", layers=3), {"reader": "extractor"}, []),
        (ExtractSettings(attention="last", layers=3), {}, ["--layers has no effect with attention last"]),
        (ExtractSettings(confidence="head"), {"task": "object detection"},
         ["--confidence has no effect with object detection"]),
        (TrainSettings(loss="mse", temperature=4), {}, ["--temperature has no effect with loss mse"]),
        (LabelSettings(teacher="x", num_crops=5), {}, ["--num-crops has no effect with kind tiles"]),
        (LabelSettings(teacher="x", num_crops=5, kind="both"), {}, []),
        (TrainSettings(labels="hard", teacher="x"), {}, ["--teacher has no effect with labels hard"]),
        (TrainSettings(augment=False, flip=False), {}, ["--no-flip has no effect with --no-augment"]),
        (FitSettings(init="net", pretrained=False), {}, ["--no-pretrained has no effect with init net"]),
        (FitSettings(model="vit", anyway=True), {}, ["--anyway has no effect without --teacher"]),
        (EngineSettings(workers=2), {}, ["--workers has no effect with engine local"]),
        (DetectDistillSettings(method="full", ratio=0.1), {}, ["--ratio has no effect with method full"]),
        (DistillSettings(confidence_power=0), {},
         ["--confidence-power has no effect with keep 1 and skip 0"]),
        (DistillSettings(mass_power=2, skip=0.1), {}, []),
        (DistillSettings(area_power=2, keep=0.5), {}, []),
        (DistillSettings(area_power=2, method="view"), {}, ["--area-power has no effect with method view"]),
        (DetectDistillSettings(size_power=1, mass_power=0), {},
         ["--mass-power has no effect with keep 1", "--size-power has no effect with keep 1"]),
        (DetectDistillSettings(whole_power=0, keep=0.5), {}, []),
        (DetectDistillSettings(whole_power=0, method="selection"), {}, []),
        (DetectDistillSettings(whole_power=0, method="paste"), {},
         ["--whole-power has no effect with method paste"]),
        (CompareSettings(full_epochs=3), {}, ["--full-epochs has no effect with methods focus random"]),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_said(given: Settings, facts: dict[str, Any], said: list[str]) -> None:
    assert resolve(given, **facts).remarks == said


def test_only_what_the_user_gave_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    resolved = resolve_and_warn(DistillSettings(method="view"))
    assert resolved.idle["keep"] == "method view"
    assert capsys.readouterr().out == ""
    assert resolve_and_warn(resolved.settings).remarks == []
    resolve_and_warn(DistillSettings(method="view", keep=0.3))
    assert "warning: --keep has no effect with method view" in capsys.readouterr().out
    assert resolve(not_given(DistillSettings(method="view", keep=0.3))).remarks == []


def test_a_key_holds_what_the_result_depends_on() -> None:
    random = resolve(DistillSettings(method="random", keep=0.5, teacher="x")).key
    assert random == {
        "ipc": 10, "method": "random", "seed": 0, "size": 224, "format": "jpg", "quality": 95,
    }  # fmt: skip
    focus = resolve(DistillSettings()).key
    assert focus["views"] == 4 and focus["keep"] == 1.0 and "teacher" not in focus
    assert focus["mass_power"] == 1.0  # it orders what is drawn from
    one, other = (resolve(ExtractSettings(device=device, extractor=device)).key for device in ("cpu", "auto"))
    assert one == other
    assert "device" not in record(DistillSettings()) and record(DistillSettings(ipc=3))["ipc"] == 3


def test_several_runs_are_remarked_on_together() -> None:
    given = SelectSettings(keep=0.5, skip=0.1, grid=3)
    runs = [resolve(given.model_copy(update={"method": method})) for method in ("random", "herding")]
    assert idle_in_all(given, runs, "distill.") == [
        "--distill.grid has no effect with method random",
        "--distill.keep has no effect with method random",
        "--distill.skip has no effect with method random",
    ]
    assert idle_in_all(given, [*runs, resolve(given)], "distill.") == []


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_conditions_name_settings_or_known_facts(kind: type[Settings]) -> None:
    known = {*kind.model_fields, "reader", "task", "taught", "stored", "labels_from"}
    known |= {"method", "kind", "augment", "patches"}  # of trees that inherit the field
    for field in kind.model_fields.values():
        for mark in field.metadata:
            assert not isinstance(mark, Only) or mark.where.keys() <= known
            assert not isinstance(mark, Derived) or field.default is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DistillSettings(icp=3), "there is no setting 'icp': did you mean 'ipc'?"),
        (lambda: ExtractSettings(fit="squash"), "the setting 'fit' is called 'resize' now"),
        (lambda: LabelSettings(teacher="x", labels="tiles"), "the setting 'labels' is called 'kind' now"),
        (lambda: CompareSettings(train={"epoch": 3}), "did you mean 'epochs'?"),
        (lambda: CompareSettings(views={"layers": 3}), "the setting 'views' is called 'extract' now"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_an_error_with_the_nearest(make: Any, words: str) -> None:
    with pytest.raises(ValidationError, match="setting") as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize("settings", [one for one in ALL if "seed" in one.model_fields])
def test_a_seed_that_generators_do_not_take_is_refused(settings: type[Settings]) -> None:
    given = {"teacher": "x"} if settings is LabelSettings else {}
    assert settings(**given, seed=2**63 - 1).seed == 2**63 - 1  # type: ignore[attr-defined]
    with pytest.raises(ValidationError, match="seed"):
        settings(**given, seed=2**63)

"""Settings as keywords of a function."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from focusdd.core.errors import FocusError
from focusdd.settings import (
    CompareSettings,
    DetectCompareSettings,
    DetectTrainSettings,
    DistillSettings,
    EngineSettings,
    ExtractorSettings,
    RunSettings,
    Settings,
    TrainSettings,
)
from focusdd.settings.keywords import with_keywords


@with_keywords(settings=DistillSettings, extract=ExtractorSettings, engine=EngineSettings)
def function(
    source: str,
    out: str,
    settings: DistillSettings | None = None,
    *,
    extract: ExtractorSettings | None = None,
    engine: EngineSettings | None = None,
) -> tuple[Any, ...]:
    return source, out, settings, extract, engine


def test_keywords_go_to_the_settings_that_have_them() -> None:
    source, out, settings, extract, engine = function("a", out="b", ipc=3, layers=4, workers=2)
    assert (source, out) == ("a", "b")
    assert settings == DistillSettings(ipc=3) and settings.model_fields_set == {"ipc"}
    assert extract == ExtractorSettings(layers=4)
    assert engine == EngineSettings(workers=2)


def test_what_nobody_asks_for_is_not_there() -> None:
    assert function("a", "b") == ("a", "b", DistillSettings(), None, None)


def test_keywords_change_settings_objects() -> None:
    given = DistillSettings(ipc=3, grid=3)
    settings = function("a", "b", given, grid=1)[2]
    assert settings == DistillSettings(ipc=3, grid=1) and given.grid == 3
    assert settings.model_fields_set == {"ipc", "grid"}


def test_a_parameter_may_be_called_like_a_field_of_its_settings() -> None:
    assert function("a", "b", engine="ray", workers=3)[4] == EngineSettings(engine="ray", workers=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"icp": 3}, "there is no setting 'icp': did you mean 'ipc'?"),
        ({"sorce": 3}, "did you mean 'source'?"),
        ({"fit": "squash"}, "the setting 'fit' is called 'resize' now"),
        ({"ipc": 0}, "ipc: input should be greater than or equal to 1, got 0"),
        ({"engine": "cloud"}, "engine: input should be 'local' or 'ray', got 'cloud'"),
        ({"settings": None, "out": None, "source": 1, "method": "best"}, "method: input should be 'focus'"),
    ],
)
def test_mistakes_are_sentences(given: dict[str, Any], said: str) -> None:
    with pytest.raises(FocusError) as caught:
        function(**{"source": "a", "out": "b"} | given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("give one of --ipc, --grid and --seed", "give one of ipc=, grid= and seed="),
        ("use --ipc 3 or --engine ray", "use ipc=3 or engine='ray'"),
        ("add --anyway, or --no-clusters", "add anyway=True, or clusters=False"),
        ("give --teacher FOLDER or --max-iou 0.5", "give teacher=FOLDER or max_iou=0.5"),
        ("--ipc: too few", "ipc: too few"),
        ("torchrun's --nproc-per-node 3", "torchrun's --nproc-per-node 3"),
        ("leave --extract.layers away, as in `focusdd distill --layers 2`",
         "leave layers= away, as in `focusdd distill --layers 2`"),
    ],
)  # fmt: skip
def test_messages_name_keywords(written: str, read: str) -> None:
    @with_keywords(settings=DistillSettings, extract=ExtractorSettings, engine=EngineSettings)
    def refuses(settings: DistillSettings) -> None:
        raise FocusError(written)

    with pytest.raises(FocusError) as caught:
        refuses()
    assert str(caught.value) == read


def test_messages_name_settings_in_groups() -> None:
    @with_keywords(settings=CompareSettings)
    def refuses(settings: CompareSettings) -> None:
        raise FocusError("use a smaller --grid, --train.anyway, --labels hard, or another --teacher")

    wanted = (
        "use a smaller distill={'grid': ...}, train={'anyway': True}, labels=['hard'], or another teacher="
    )
    with pytest.raises(FocusError) as caught:
        refuses()
    assert str(caught.value) == wanted


def test_missing_arguments_are_named() -> None:
    with pytest.raises(FocusError, match="function needs source and out"):
        function(ipc=3)
    with pytest.raises(FocusError, match="too many positional"):
        function(1, 2, 3, 4)


def test_the_signature_lists_all_keywords() -> None:
    assert {"ipc", "layers", "workers", "source"} <= inspect.signature(function).parameters.keys()


@pytest.mark.parametrize(
    ("tree", "message", "said"),
    [
        (TrainSettings, "use a smaller --train.lr", "use a smaller lr="),
        (CompareSettings, "use a smaller --train.lr", "use a smaller train={'lr': ...}"),
        (RunSettings, "use a smaller --train.lr", "use a smaller lr of focusdd.train"),
        (DetectTrainSettings, "use --detector ssdlite", "use detector='ssdlite'"),
        (DetectCompareSettings, "use --detector ssdlite", "use detectors=['ssdlite']"),
        (TrainSettings, "there is no --x.lr in 'my --lr'", "there is no --x.lr in 'my --lr'"),
    ],
)
def test_a_message_names_what_the_function_takes(tree: type[Settings], message: str, said: str) -> None:
    @with_keywords(settings=tree)
    def refused(settings: Settings) -> None:
        raise FocusError(message)

    with pytest.raises(FocusError) as caught:
        refused()
    assert str(caught.value) == said

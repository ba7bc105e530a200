"""How messages name settings."""

from __future__ import annotations

import pickle

import pytest

from focusdd.core.console import warn
from focusdd.core.errors import FocusError
from focusdd.core.spelling import place, spelled, spelling


def test_the_outer_block_decides_and_commands_stay(capsys: pytest.CaptureFixture[str]) -> None:
    text = "give --val, or run `focusdd fit --val x` with --size 32"
    assert spelled(text) == text
    with spelling(lambda name, after: f"<{name}{after}>"), spelling(lambda *_: "never"):
        assert spelled(text) == "give <val>, or run `focusdd fit --val x` with <size 32>"
        assert str(FocusError("leave --index away")) == "leave <index away>"
        warn("--index is --")
    assert capsys.readouterr().out == "warning: <index is> --\n"
    assert spelled(text) == text


@pytest.mark.parametrize(
    "name",
    ["photos/--size", "--size/a.jpg", "--size.d/a.jpg", "photos--size", "'--size 3'", "'my --size'",
     '"the teacher\'s --size"', "`--size`"],
)  # fmt: skip
def test_names_of_files_and_what_is_quoted_stay(name: str) -> None:
    with spelling(lambda name, after: f"<{name}{after}>"):
        found = spelled(f"the students' photos are in {name}: give --val (or --size) for the teacher's")
    assert found == f"the students' photos are in {name}: give <val> (or <size>) for the teacher's"


def test_an_error_says_the_same_elsewhere() -> None:
    with spelling(lambda name, after: name + after):
        error = FocusError("give --val")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "give val"


@pytest.mark.parametrize(
    ("name", "found"),
    [("size", "size"), ("grid", "distill.grid"), ("train.anyway", "train.anyway"),
     ("extract.size", "size"), ("anyway", "extract.anyway"), ("views", None), ("seed", "seeds")],
)  # fmt: skip
def test_a_setting_is_looked_for_in_groups_and_outside(name: str, found: str | None) -> None:
    known = ["extract.anyway", "train.anyway", "distill.size", "size", "distill.grid", "seeds"]
    assert place(name, known) == found

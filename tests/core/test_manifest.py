"""Readers of a finished stage notice what is wrong with it, and say what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json, write_whole
from focusdd.core.manifest import (
    damaged,
    manifest_of,
    remedy_for,
    require_finished,
    require_whole,
    update_manifest,
)
from focusdd.core.stage import Stage, Workspace, run_stage


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    def make(work: Workspace) -> dict[str, Any]:
        work.declare(["a.bin", "README.md"])
        write_whole(work.out / "a.bin", "made")
        write_whole(work.out / "README.md", "card")
        return {}

    return run_stage(Stage("distill", 1, {}, {}), tmp_path / "out", make)


def check(folder: Path) -> None:
    require_finished(folder, ("distill",), "a distilled dataset", "focusdd distill SOURCE")


def test_a_whole_output_passes(finished: Path) -> None:
    (finished / "README.md").write_text("a better card")
    (finished / "notes.txt").write_text("mine")
    check(finished)
    require_whole(finished, hashes=True)


@pytest.mark.parametrize(("text", "state"), [(None, "missing"), ("ma", "changed or cut short")])
def test_a_damaged_file_is_named(finished: Path, text: str | None, state: str) -> None:
    (finished / "a.bin").unlink()
    if text is not None:
        (finished / "a.bin").write_text(text)
    with pytest.raises(FocusError, match=rf"a\.bin is {state}: run the command that made it again"):
        check(finished)


def test_hashes_tell_files_of_one_size_apart(finished: Path) -> None:
    (finished / "a.bin").write_text("MADE")
    check(finished)
    with pytest.raises(FocusError, match=r"a\.bin is changed or cut short"):
        require_whole(finished, hashes=True)


def test_a_deleted_card_is_noticed(finished: Path) -> None:
    (finished / "README.md").unlink()
    with pytest.raises(FocusError, match=r"README\.md is missing"):
        check(finished)


def test_the_very_command_is_said_where_it_is_known(finished: Path) -> None:
    """With the folder as it is now: it may have been moved."""
    write_json(finished / "run.json", {"command": "focusdd distill 'my photos' --out x"})
    assert remedy_for(finished) == f"run `focusdd distill 'my photos' --out {finished}` again"


def test_what_is_no_finished_output(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FocusError, match="is not a distilled dataset: make one with `focusdd distill SOURCE`"
    ):
        check(tmp_path / "missing")
    with pytest.raises(
        FocusError, match="is made by `focusdd distill` and is not an index: make one with `x`"
    ):
        require_finished(finished, ("extract",), "an index", "x")
    (finished / "done.json").unlink()
    with pytest.raises(FocusError, match="is unfinished: run the command that made it again"):
        check(finished)


def test_an_output_of_before_manifests_passes(finished: Path) -> None:
    done = read_json(finished / "done.json")
    del done["files"]
    write_json(finished / "done.json", done)
    (finished / "a.bin").write_text("whatever")
    require_whole(finished, hashes=True)


def test_a_file_that_was_changed_on_purpose_is_noted(finished: Path) -> None:
    (finished / "a.bin").write_text("published")
    update_manifest(finished, "a.bin")
    update_manifest(finished, "of nobody")
    require_whole(finished, hashes=True)
    manifest = read_json(finished / "done.json")["files"]
    assert manifest == manifest_of(finished, ["README.md", "a.bin"])
    (finished / "a.bin").unlink()
    assert damaged(finished, manifest) == ["a.bin"]


@pytest.mark.parametrize(
    ("stage", "command", "place", "wanted"),
    [
        ("distill", "distill x --out runs/tiny --ipc 2", "b/tiny", "distill x --out {0}/b/tiny --ipc 2"),
        ("distill", "distill x --out=runs/tiny", "b/tiny", "distill x --out={0}/b/tiny"),
        ("detect distill", "detect distill x --out runs/tiny", "b/tiny", "detect distill x --out {0}/b/tiny"),
        ("extract", "run x --out runs/st", "b/st/index", "run x --out {0}/b/st"),
        ("label", "label runs/tiny --teacher t", "b/tiny/labels/tiles", "label {0}/b/tiny --teacher t"),
        ("label", "run x --out runs/st", "b/st/distilled/labels/tiles", "run x --out {0}/b/st"),
        ("extract", "run x --out {0}/b", "b/index", "run x --out {0}/b"),
        ("train", "demo", "b/student", "demo"),
    ],
)
def test_the_remedy_names_the_place_where_a_folder_is_now(
    tmp_path: Path, stage: str, command: str, place: str, wanted: str
) -> None:
    out = tmp_path / place
    out.mkdir(parents=True)
    write_json(out / "stage.json", {"stage": stage})
    write_json(out / "run.json", {"command": f"focusdd {command.format(tmp_path)}"})
    assert remedy_for(out) == f"run `focusdd {wanted.format(tmp_path)}` again"


def test_the_remedy_for_an_output_of_python_names_the_function(finished: Path) -> None:
    assert remedy_for(finished).endswith(f"again: focusdd.distill(..., out='{finished}')")

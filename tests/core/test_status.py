"""How far the stages in a folder are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from focusdd.core.errors import FocusError
from focusdd.core.expected import STAGES, expected, expecting
from focusdd.core.files import write_whole
from focusdd.core.manifest import remedy_for
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.core.status import status


def make(work: Workspace) -> dict[str, Any]:
    work.declare(["a", "b"])
    for name in ("a", "b"):
        write_whole(work.out / name, "made")
    return {"images": 3, "top1": 1 / 3, "val_top1": None}


def test_it_lists_stages_below(tmp_path: Path) -> None:
    run_stage(Stage("distill", 1, {}, {}), tmp_path / "a" / "distilled", make)
    run_stage(Stage("distill", 1, {}, {}), tmp_path / "cut", make)
    (tmp_path / "cut" / "b").write_text("ma")

    def interrupted(work: Workspace) -> dict[str, Any]:
        make(work)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(Stage("extract", 1, {}, {}), tmp_path / "index", interrupted)
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "stage.json").write_text('{"scene": 4}')
    found = {line.path.name: (line.stage, line.state, line.detail) for line in status(tmp_path)}
    assert found == {
        "distilled": ("distill", "done", "images 3, top-1 33.3%"),
        "cut": ("distill", "damaged", "1 file missing or cut short, the first b"),
        "index": ("extract", "unfinished", "3 files so far"),
    }
    assert [line.stage for line in status(tmp_path / "index")] == ["extract"]


def test_stages_that_a_command_had_not_begun_are_listed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/focusdd", "run", "my photos", "--out", str(tmp_path / "all")])
    run_stage(Stage("extract", 1, {}, {}), tmp_path / "all" / "index", make)
    stages = {"index": "extract", "student": "train", "distilled/labels/tiles": "label"}
    with pytest.raises(KeyboardInterrupt), expecting(tmp_path / "all", stages):
        (tmp_path / "all" / "student").mkdir()
        raise KeyboardInterrupt
    (tmp_path / "theatre").mkdir()
    (tmp_path / "theatre" / "stages.json").write_text('["left", "right"]')
    lines = status(tmp_path)
    assert [(line.path.name, line.stage, line.state) for line in lines] == [
        ("tiles", "label", "not begun"),
        ("index", "extract", "done"),
        ("student", "train", "not begun"),
    ]
    again = f"run `focusdd run 'my photos' --out {tmp_path / 'all'}` again"
    assert {remedy_for(line.path) for line in lines if line.state != "done"} == {again}
    assert remedy_for(tmp_path / "theatre" / "left") == "run the command that made it again"


def test_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="no output of focusdd"):
        status(tmp_path)
    with pytest.raises(FocusError, match="there is no folder"):
        status(tmp_path / "missing")


def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / STAGES).write_text('{"stages": "mine"}')
    with expecting(tmp_path, {"teacher": "fit"}):
        pass
    assert (tmp_path / STAGES).read_text() == '{"stages": "mine"}'
    assert expected(tmp_path) == {}
    (tmp_path / STAGES).unlink()
    with expecting(tmp_path, {"teacher": "fit"}):
        assert expected(tmp_path)["stages"] == {"teacher": "fit"}
    assert expected(tmp_path)["stages"] == {"teacher": "fit"}


def test_what_fails_before_its_first_stage_leaves_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), expecting(tmp_path / "new" / "all", {"teacher": "fit"}):
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()
    with expecting(tmp_path / "all", {"teacher": "fit"}):
        pass
    with pytest.raises(KeyboardInterrupt), expecting(tmp_path / "all", {"index": "extract"}):
        raise KeyboardInterrupt
    assert expected(tmp_path / "all")["stages"] == {"teacher": "fit"}


def test_several_stages_are_not_put_into_the_folder_of_one(tmp_path: Path) -> None:
    run_stage(Stage("extract", 1, {}, {}), tmp_path / "index", make)
    remedy = "index holds the output of `focusdd extract`: use another --out"
    with pytest.raises(FocusError, match=remedy), expecting(tmp_path / "index", {"teacher": "fit"}):
        pass


def test_a_stage_whose_end_cannot_be_read_is_damaged_and_made_again(tmp_path: Path) -> None:
    stage, out = Stage("distill", 1, {}, {}), tmp_path / "distilled"
    run_stage(stage, out, make)
    whole = (out / "done.json").read_text()
    (out / "done.json").write_text(whole[:-9])
    (out / "run.json").write_text("{")
    [line] = status(tmp_path)
    assert (line.state, line.detail) == ("damaged", "done.json cannot be read")
    assert remedy_for(out).startswith("run the command that made it again")
    run_stage(stage, out, make)
    assert (out / "done.json").read_text() == whole

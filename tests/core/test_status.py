"""How far the stages in a folder are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from focusdd.core.errors import FocusError
from focusdd.core.files import write_whole
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.core.status import status


def make(work: Workspace) -> dict[str, Any]:
    work.declare(["a", "b"])
    for name in ("a", "b"):
        write_whole(work.out / name, "made")
    return {"images": 3, "top1": 1 / 3}


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
        "distilled": ("distill", "done", "images 3, top1 33.3%"),
        "cut": ("distill", "damaged", "1 files missing or cut short, the first b"),
        "index": ("extract", "unfinished", "3 files so far"),
    }
    assert [line.stage for line in status(tmp_path / "index")] == ["extract"]


def test_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="no output of focusdd"):
        status(tmp_path)
    with pytest.raises(FocusError, match="there is no folder"):
        status(tmp_path / "missing")

"""`status`, `report` and `compare` on folders that are not what they should be: no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
HARD = ("--labels", "hard")


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def put(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def without_manifest(folder: Path) -> None:
    """As a version wrote it that kept none."""
    done = json.loads((folder / "done.json").read_text())
    (folder / "done.json").write_text(json.dumps({"stage": done["stage"], "key": done["key"]}))


def linked(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def alone(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of the folder."""

    def instead(folder: Path) -> None:
        shutil.rmtree(folder)
        make(folder)

    return instead


# how a finished index is spoilt; the state that `status` shows, or its error; the error of `report`
ODD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "whole": (lambda _: None, "done", ""),
    "link": (linked, "done", ""),
    "empty": (alone(Path.mkdir), "holds no output of focusdd", "holds no finished output"),
    "file": (alone(lambda path: path.write_text("x")), "there is no folder", "there is no folder"),
    "broken link": (alone(lambda path: path.symlink_to("gone")), "there is no folder", "there is no folder"),
    "cut stage.json": (cut("stage.json"), "holds no output of focusdd", ""),
    "cut done.json": (cut("done.json"), "damaged", "run the command that made it again"),
    "cut run.json": (cut("run.json"), "done", "run the command that made it again"),
    "cut index.json": (cut("index.json"), "done", "run the command that made it again"),
    "list in done.json": (put("done.json", "[]"), "damaged", "run the command that made it again"),
    "without manifest": (without_manifest, "done", "run the command that made it again"),
    "without done.json": (lambda path: (path / "done.json").unlink(), "unfinished", "`focusdd status"),
    "cut stages.json": (put("stages.json", "{"), "done", ""),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_folder_is_a_sentence(make_index: Run, focusdd: Run, tmp_path: Path, kind: str) -> None:
    spoil, state, refused = ODD[kind]
    folder = tmp_path / "index"
    make_index({"ant": 4, "bee": 4}, (40, 30), folder)
    spoil(folder)
    done = focusdd("status", folder)
    assert state in done.out + done.error
    assert done.code == (0 if done.out else 2) and done.error.count("\n") == bool(done.error)
    done = focusdd("report", folder)
    assert refused in done.error and done.code == (2 if refused else 0)
    assert done.error.count("\n") == bool(refused)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("whole", "holds the output of `focusdd extract`: use another --out"),
        ("file", "move away what is in its place, or use another folder"),
        ("broken link", "move away what is in its place, or use another folder"),
    ],
)
def test_a_comparison_is_not_put_anywhere(
    make_index: Run, focusdd: Run, tmp_path: Path, kind: str, said: str
) -> None:
    folder = tmp_path / "index"
    make_index({"ant": 4, "bee": 4}, (40, 30), folder)
    ODD[kind][0](folder)
    before = sorted(tmp_path.rglob("*"))
    done = focusdd("compare", "demo:3", "--methods", "random", "--ipc", "1", "--out", folder, *HARD)
    assert done.code == 2 and said in done.error and done.error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before

"""run.json: what a run cost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from focusdd.core import run_record
from focusdd.core.files import read_json
from focusdd.core.run_record import RunRecord


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/bin/focusdd", "focusdd train 'my photos'"),
        (str(Path(run_record.__file__).parents[1] / "__main__.py"), "focusdd train 'my photos'"),
        ("/envs/focusdd/lib/ray/_private/workers/default_worker.py", None),
        ("/home/me/focusdd/sweep.py", None),
    ],
)
def test_the_command_is_what_was_typed(
    program: str, command: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train", "my photos"])
    RunRecord().write(tmp_path)
    assert read_json(tmp_path / "run.json")["command"] == command


def test_it_says_what_a_run_cost(tmp_path: Path) -> None:
    record = RunRecord()
    for _ in range(2):
        with record.measure("select"):
            pass
    with pytest.raises(KeyError), record.measure("failed"):
        raise KeyError
    record.note(images=5, device="cpu")
    record.note(images=7)
    record.write(tmp_path)
    written = read_json(tmp_path / "run.json")
    assert (written["images"], written["device"]) == (7, "cpu")
    assert set(written["seconds"]) == {"select", "failed"}
    assert written["versions"]["numpy"] != "missing"
    assert 10 < written["peak_memory_mb"] < 1_000_000

"""One process at a time in a folder, whatever becomes of it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from focusdd.core.errors import FocusError, InUse
from focusdd.core.lock import LOCK, locked
from folders import everything

HOLD = """
import sys
from pathlib import Path
from focusdd.core.lock import locked
with locked(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.readline()
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    """Another process that is in a folder until it is told to go."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    return holder


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    holder = holding(tmp_path)
    try:
        before = everything(tmp_path)
        said = "in use by another focusdd process: wait for it to end"
        with pytest.raises(InUse, match=said) as caught, locked(tmp_path):
            pytest.fail("both are in")
        assert str(tmp_path) in str(caught.value)
        assert everything(tmp_path) == before
    finally:
        holder.communicate("\n", timeout=60)
    with locked(tmp_path):
        assert set(everything(tmp_path)) == {LOCK}
    assert everything(tmp_path) == {}


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    holder = holding(tmp_path)
    holder.kill()
    holder.communicate(timeout=60)
    assert set(everything(tmp_path)) == {LOCK}
    with locked(tmp_path):
        pass
    assert everything(tmp_path) == {}


def test_a_lock_that_was_removed_meanwhile_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened while another run still held it, locked after that run had ended and removed it."""
    real, removed = fcntl.flock, list[int]()

    def late(file: Any, how: int) -> None:
        if not removed:
            removed.append(1)
            (tmp_path / LOCK).unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        monkeypatch.undo()
        assert removed
        with pytest.raises(FocusError, match="in use"), locked(tmp_path):
            pytest.fail("both are in")


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path / "out"):
        assert (tmp_path / "out").is_dir()
    assert everything(tmp_path) == {}


def test_a_folder_that_was_made_goes_when_it_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a" / "b" / "c"):
        pass
    assert everything(tmp_path) == {"a": None}
    with locked(tmp_path / "a"):
        pass
    assert everything(tmp_path) == {"a": None}, "it was there before"
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "b" / "made").write_text("made")
        1 / 0  # noqa: B018
    assert everything(tmp_path) == {"a": None, "a/b": None, "a/b/made": b"made"}


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".result.txt.0123abcd.tmp").write_text("half")
    (tmp_path / ".mine.tmp").write_text("mine")
    (tmp_path / LOCK).write_text("")
    with locked(tmp_path):
        assert set(everything(tmp_path)) == {LOCK, ".mine.tmp"}
    assert set(everything(tmp_path)) == {".mine.tmp"}


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 400)):
        remedy = "" if "nn" in out.name else r".*: move away what is in its place, or use another folder$"
        with pytest.raises(FocusError, match=f"cannot be made{remedy}"), locked(out):
            pytest.fail("opened a file")


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(FocusError, match="cannot be written to"), locked(tmp_path / "out"):
        pytest.fail("opened without a lock")
    assert everything(tmp_path) == {}

"""Stage folders: whole files, resuming, naming what changed, and never touching what is not ours."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from focusdd.core import stage as run
from focusdd.core.errors import FocusError
from focusdd.core.run_record import Clock
from focusdd.core.stage import hash_of, open_stage, read_json, status, write_json, write_whole

SETTINGS = {"ipc": 10, "grid": 2}
INPUTS = {"source": "abc"}


def opened(out: Path, settings: dict[str, Any] = SETTINGS, *, overwrite: bool = False, **other: Any) -> Any:
    options = {"name": "distill", "version": 1, "inputs": INPUTS} | other
    return open_stage(out, options["name"], options["version"], settings, options["inputs"], overwrite)


def complete(out: Path, **other: Any) -> None:
    with opened(out, **other) as stage:
        write_whole(out / "result.txt", "made")
        stage.finish({"images": 3})


def everything(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


# whole files


def test_files_are_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "größe.json"
    write_whole(path, b"first")
    write_whole(path, "zweite Größe")
    assert path.read_text(encoding="utf-8") == "zweite Größe"
    write_json(path, {"name": "größe", "n": [1, 2]})
    assert read_json(path) == {"name": "größe", "n": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace", "write"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failure_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    if step == "write":
        real = Path.open

        class Full:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            write = fail

        monkeypatch.setattr(Path, "open", lambda self, *a, **k: Full(real(self, *a, **k)))
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(FocusError) as caught:
        write_whole(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert everything(tmp_path) == {"result.bin": b"old"}


def test_an_interruption_leaves_no_litter_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "result.bin", b"new")
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("name", ["missing/file.txt", "file/below.txt", "n" * 400])
def test_impossible_places_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(FocusError, match="cannot be written") as caught:
        write_whole(tmp_path / name, b"new")
    assert name in str(caught.value)
    assert everything(tmp_path) == {"file": b"a file"}


def test_reading_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"a": ')
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.json").mkdir()
    for name in ("broken", "bytes", "folder", "missing"):
        with pytest.raises(FocusError, match=rf"{name}\.json"):
            read_json(tmp_path / f"{name}.json")


def test_hash_of_depends_on_values_alone() -> None:
    assert hash_of({"a": 1, "b": [2]}) == hash_of({"b": [2], "a": 1})
    assert len({hash_of(value) for value in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, [1])}) == 5


# stages


def test_a_stage_is_made_resumed_and_closed(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with opened(out) as stage:
        assert not stage.complete
        write_whole(out / "part-0", "half")
        key = stage.key
    with opened(out) as stage:
        assert (stage.complete, stage.key) == (False, key)
        assert (out / "part-0").read_text() == "half"
        stage.finish({"images": 3})
    before = everything(out)
    with opened(out) as stage:
        assert (stage.complete, stage.key) == (True, key)
    assert everything(out) == before
    assert set(before) == {"stage.json", "done.json", "part-0"}, "and no lock is left"
    done = json.loads(before["done.json"] or b"")
    assert done["key"] == key
    assert done["settings"] == SETTINGS
    assert done["counts"] == {"images": 3}


def test_the_key_depends_on_everything_that_changes_the_result(tmp_path: Path) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"settings": {**SETTINGS, "ipc": 50}},
        {"inputs": {"source": "other"}},
        {"version": 2},
        {"name": "extract"},
    ]
    keys = []
    for number, variant in enumerate(variants):
        with opened(tmp_path / str(number), **variant) as stage:
            keys.append(stage.key)
    assert len(set(keys)) == len(variants)
    with opened(tmp_path / "again", {"grid": 2, "ipc": 10}) as stage:
        assert stage.key == keys[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"settings": {**SETTINGS, "ipc": 50}}, r"other settings \(ipc was 10, now 50\)"),
        ({"settings": {**SETTINGS, "keep": 0.5}}, r"keep was None, now 0\.5"),
        ({"inputs": {"source": "xyz"}}, r"other inputs \(source was 'abc', now 'xyz'\)"),
        ({"version": 2}, "version 1 of this stage, now 2"),
        ({"name": "extract"}, "output of another command, 'distill'"),
    ],
)
def test_what_changed_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    out = tmp_path / "out"
    complete(out)
    before = everything(out)
    with pytest.raises(FocusError, match=words) as caught, opened(out, **changed):
        pytest.fail("opened in spite of the change")
    assert "--overwrite" in str(caught.value)
    assert str(out) in str(caught.value)
    assert everything(out) == before


def test_overwrite_replaces_what_another_run_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    complete(out)
    (out / "train" / "cat").mkdir(parents=True)
    (out / "train" / "cat" / "0.png").write_bytes(b"old")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (out / "link").symlink_to(elsewhere)
    with opened(out, {**SETTINGS, "ipc": 50}, overwrite=True) as stage:
        assert not stage.complete
        assert set(everything(out)) == {"stage.json", run._LOCK}
        assert read_json(out / "stage.json")["settings"]["ipc"] == 50
    assert everything(elsewhere) == {"kept": b"kept"}


def test_overwrite_of_the_same_stage_keeps_it(tmp_path: Path) -> None:
    complete(tmp_path / "out")
    with opened(tmp_path / "out", overwrite=True) as stage:
        assert stage.complete


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"holiday.jpg": "picture"},
        {".hidden": "settings"},
        {".lock": "another program's"},
        {"stage.json": '{"scene": 4}', "film.mp4": "film"},
        {"stage.json": "[1, 2]"},
        {"done.json": "{}"},
    ],
)
def test_other_peoples_folders_are_refused_and_untouched(
    tmp_path: Path, files: dict[str, str], overwrite: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = everything(tmp_path)
    with (
        pytest.raises(FocusError, match="not made by focusdd") as caught,
        opened(tmp_path, overwrite=overwrite),
    ):
        pytest.fail("opened a foreign folder")
    assert str(tmp_path) in str(caught.value)
    assert everything(tmp_path) == before


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FocusError, match="cannot be made"), opened(out):
            pytest.fail("opened a file")


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FocusError, match="cannot be written to"), opened(tmp_path):
        pytest.fail("opened without a lock")


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / ".result.txt.0123abcd.tmp").write_text("half")
    (tmp_path / "train" / ".cat.png.89ef4567.tmp").write_text("half")
    (tmp_path / run._LOCK).write_text("")
    with opened(tmp_path) as stage:
        assert stage.complete
    assert set(everything(tmp_path)) == {"stage.json", "done.json", "result.txt", "train"}


def test_leftovers_of_a_worker_that_died_are_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as stage:
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / ".part-00007.parquet.c05f36a2.tmp").write_text("half")
        (tmp_path / "parts" / "part-00007.parquet").write_text("whole")
        stage.finish({"images": 3})
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["part-00007.parquet"]


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/bin/focusdd", "focusdd train 'my photos'"),
        (str(Path(run.__file__).parents[1] / "__main__.py"), "focusdd train 'my photos'"),
        ("/envs/focusdd/lib/ray/_private/workers/default_worker.py", None),
        ("/home/me/focusdd/sweep.py", None),
    ],
)
def test_the_command_is_what_was_typed(
    program: str, command: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "train", "my photos"])
    Clock().write(tmp_path)
    assert read_json(tmp_path / "run.json")["command"] == command


def test_a_run_that_was_killed_at_once_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / ".stage.json.0123abcd.tmp").write_text('{"sta')
    (tmp_path / run._LOCK).write_text("")
    with opened(tmp_path) as stage:
        assert not stage.complete
    assert set(everything(tmp_path)) == {"stage.json"}


def test_an_overwrite_that_was_killed_is_an_unfinished_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither complete with missing files nor somebody else's folder."""
    complete(tmp_path)
    real, calls = Path.unlink, []

    def killed(self: Path, missing_ok: bool = False) -> None:
        if self.name in ("done.json", "result.txt", "stage.json"):
            calls.append(self.name)
            if len(calls) > 1:
                raise KeyboardInterrupt
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, {**SETTINGS, "ipc": 50}, overwrite=True):
        pytest.fail("was not killed")
    monkeypatch.undo()
    with opened(tmp_path) as stage:
        assert not stage.complete


HOLD = """
import sys
from pathlib import Path
from focusdd.core.stage import open_stage
with open_stage(Path(sys.argv[1]), "distill", 1, {"ipc": 10, "grid": 2}, {"source": "abc"}, False):
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        before = everything(tmp_path)
        with pytest.raises(FocusError, match="in use by another focusdd process") as caught, opened(tmp_path):
            pytest.fail("both are in")
        assert str(tmp_path) in str(caught.value)
        assert everything(tmp_path) == before
    finally:
        holder.communicate("\n", timeout=60)
    with opened(tmp_path) as stage:
        assert not stage.complete


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    holder.kill()
    holder.communicate(timeout=60)
    with opened(tmp_path) as stage:
        assert not stage.complete


def test_a_lock_that_was_removed_meanwhile_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened while another run still held it, locked after that run had ended and removed it."""
    real, removed = run.fcntl.flock, []

    def late(file: Any, how: int) -> None:
        if not removed:
            removed.append(file)
            (tmp_path / run._LOCK).unlink()
        real(file, how)

    monkeypatch.setattr(run.fcntl, "flock", late)
    with opened(tmp_path):
        monkeypatch.undo()
        assert removed
        with pytest.raises(FocusError, match="in use"), opened(tmp_path):
            pytest.fail("both are in")


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(run.fcntl, "flock", unsupported)
    with opened(tmp_path) as stage:
        assert not stage.complete


# status and run.json


def test_status_lists_stages_below(tmp_path: Path) -> None:
    complete(tmp_path / "a" / "distilled")
    with opened(tmp_path / "index", name="extract"):
        (tmp_path / "index" / "parts").mkdir()
        for number in range(2):
            write_whole(tmp_path / "index" / "parts" / f"part-{number:05d}.parquet", b"x")
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "stage.json").write_text('{"scene": 4}')
    found = {line.path.name: (line.stage, line.state, line.detail) for line in status(tmp_path)}
    assert found == {
        "distilled": ("distill", "done", "images 3"),
        "index": ("extract", "unfinished", "3 files so far"),
    }
    assert [line.stage for line in status(tmp_path / "index")] == ["extract"]


def test_status_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="no output of focusdd"):
        status(tmp_path)
    with pytest.raises(FocusError, match="there is no folder"):
        status(tmp_path / "missing")


def test_the_clock_writes_what_a_run_cost(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(2):
        with clock.measure("select"):
            pass
    with pytest.raises(KeyError), clock.measure("failed"):
        raise KeyError
    clock.write(tmp_path, images=7)
    written = read_json(tmp_path / "run.json")
    assert written["images"] == 7
    assert set(written["seconds"]) == {"select", "failed"}
    assert written["versions"]["numpy"] != "missing"
    assert 10 < written["peak_memory_mb"] < 1_000_000

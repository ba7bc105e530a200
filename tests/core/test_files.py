"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of, read_json, remove, remove_empty, sweep, write_json, write_whole
from folders import everything


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


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    remove(tmp_path / "link")
    remove(tmp_path / "missing")
    assert everything(tmp_path) == {"elsewhere": None, "elsewhere/kept": b"kept"}
    remove(tmp_path / "elsewhere")
    assert everything(tmp_path) == {}


def test_empty_folders_are_removed_up_to_a_root(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "kept").write_text("kept")
    remove_empty(tmp_path / "a" / "b" / "c", tmp_path)
    assert everything(tmp_path) == {"a": None, "a/kept": b"kept"}
    (tmp_path / "a" / "kept").unlink()
    remove_empty(tmp_path / "a", tmp_path)
    assert tmp_path.exists() and everything(tmp_path) == {}


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".jpg", "ä" * 125 + ".jpg"):
        write_whole(tmp_path / name, b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"
    leftover = tmp_path / ".new\nline.jpg.01234567.tmp"
    leftover.touch()
    sweep(tmp_path)
    assert not leftover.exists()

"""What is said of work that goes on."""

from __future__ import annotations

from threading import Event

import pytest

from focusdd.core import console
from focusdd.core.console import progress


def test_work_that_has_begun_is_said_before_any_of_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, said = [], Event()

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    monkeypatch.setattr(console, "say", say)
    monkeypatch.setattr(console, "_FIRST_SECONDS", 0)
    with progress("extract", 9469, "images", 12):
        assert said.wait(60)
    said.clear()
    with progress("list photos", None, "images"):
        assert said.wait(60)
    assert lines == ["extract: 12/9469 images", "list photos: 0 images"]


def test_what_is_done_at_once_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_FIRST_SECONDS", 3600)
    with progress("copy", 2, "files") as advance:
        advance(2)
    with progress("nothing", 0, "files"):
        pass
    assert capsys.readouterr().out == ""

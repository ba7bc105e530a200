"""Running the command line in this process."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from focusdd.cli import app as cli


class Done(NamedTuple):
    code: int
    out: str
    error: str


@pytest.fixture
def focusdd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """focusdd(*words): exit code, output and errors of the command line, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["focusdd", *map(str, words)])
        code = 0
        with warnings.catch_warnings():  # main() reads sys.argv, which is what is meant
            warnings.filterwarnings("ignore", message="Cyclopts application invoked without tokens")
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run

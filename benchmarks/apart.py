"""Measurements in a process of their own, so that memory and threads are their own too."""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def apart(measure: Callable[..., dict[str, Any]], *words: Any) -> dict[str, Any]:
    """What `measure(folder, *words)` finds in a new process with an empty folder.

    The peak memory of that process in MB is added as "peak".
    """
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=_write, args=(measure, Path(folder), words)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{measure.__name__}{words} ended with code {process.exitcode}")
        return json.loads((Path(folder) / "found.json").read_text())


def _write(measure: Callable[..., dict[str, Any]], folder: Path, words: tuple[Any, ...]) -> None:
    found = measure(folder / "work", *words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / "found.json").write_text(json.dumps(found | {"peak": peak}))

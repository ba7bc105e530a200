"""Tables of measurements, printed and kept as CSV with what made them; processes of their own."""

from __future__ import annotations

import csv
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from focusdd.core.run_record import machine as processor
from focusdd.models.device import peak_device_memory_mb

RESULTS = Path(__file__).parents[1] / "results"


def publish(name: str, rows: list[dict[str, str]]) -> None:
    """Prints rows and writes them to results/<name>.csv, each with command, commit, machine and date.

    Rows that another machine measured stay.
    """
    table = Table(*rows[0], title=name)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    facts = {
        "command": command(sys.argv),
        "commit": commit(),
        "torch": torch.__version__,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
    }
    path, columns = RESULTS / f"{name}.csv", [*rows[0], *facts]
    others = [row for row in _rows(path) if list(row) == columns and row["machine"] != facts["machine"]]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*others, *(row | facts for row in rows)])


def done(path: Path, run: dict[str, object]) -> bool:
    """Whether a file of results has a row of this run."""
    return any(all(row[name] == str(value) for name, value in run.items()) for row in _rows(path))


def append(path: Path, row: dict[str, object], columns: list[str]) -> None:
    """Adds a row to a file of results as soon as it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow(row)


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text())


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
        return read(Path(folder) / "found.json")


def _write(measure: Callable[..., dict[str, Any]], folder: Path, words: tuple[Any, ...]) -> None:
    found = measure(folder / "work", *words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (folder / "found.json").write_text(json.dumps(found | {"peak": peak}))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def command(words: list[str]) -> str:
    """What to type, without the folders of the machine it was typed on: of a path outside, the name alone."""
    root = RESULTS.parent
    typed = ["python"]
    for word in words:
        path = Path(word)
        if path.is_absolute():
            word = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
        typed.append(word)
    return " ".join(typed)


def machine() -> str:
    """Processor, cores and the instructions PyTorch uses; the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {torch.backends.cpu.get_cpu_capability()}"


def ran_on(run: dict[str, str]) -> str:
    """What a command of focusdd computed on, from its run.json."""
    return run["machine"] if run["device"] == "cpu" else f"{run['device']}, {run['machine']}"


def device_memory(device: torch.device) -> dict[str, str]:
    """A column: most memory that tensors took on a GPU since this was asked last; none without one."""
    peak = peak_device_memory_mb(device)
    return {} if peak is None else {"peak device memory MB": str(peak)}


def commit() -> str:
    """The commit measured, marked when the tree held more than that, results and pages aside."""
    code = ["--", ":/", ":(top,exclude)results", ":(top,exclude)docs", ":(top,exclude)README.md"]
    name = _git("describe", "--always", "--exclude", "*")
    return f"{name}-dirty" if _git("status", "--porcelain", "--untracked-files=no", *code) else name


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

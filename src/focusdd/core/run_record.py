"""What a command cost and what it ran on: `run.json`, all that is not the same the next time."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from focusdd.core.files import write_json
from focusdd.core.version import __version__


class RunRecord:
    """Seconds per part, peak memory and other figures of a command, for `run.json`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._figures: dict[str, Any] = {}
        with contextlib.suppress(OSError):  # the next figure of the peak begins here, where Linux can do that
            Path("/proc/self/clear_refs").write_text("5")
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Adds the time of the block to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def note(self, **figures: Any) -> None:
        """Adds figures of any other kind."""
        self._figures |= figures

    def write(self, out: Path) -> None:
        """Writes `run.json`: everything about the run that is not the same next time."""
        from importlib.metadata import version

        versions = {name: version(name) for name in ("torch", "timm", "numpy", "pillow")}
        run = {
            "command": typed(),
            "focusdd": __version__,
            "commit": _commit(),
            "python": platform.python_version(),
            "versions": versions,
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d"),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "seconds_total": round(time.perf_counter() - self._start, 2),
            "peak_memory_mb": _peak_memory_mb(),
            **self._figures,
        }
        write_json(out / "run.json", run)


def typed() -> str | None:
    """What was typed; None where it was not the program `focusdd`."""
    program = Path(sys.argv[0])
    ours = program.stem == "focusdd" or program == Path(__file__).parents[1] / "__main__.py"
    return shlex.join(["focusdd", *sys.argv[1:]]) if ours else None


def machine() -> str:
    """Processor and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _peak_memory_mb() -> int | None:
    """Most memory this process has held since it was last forgotten; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    return round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    )


@cache
def _commit() -> str | None:
    """The commit of focusdd's own checkout, with "-dirty" after it when files differ; None without one."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not merely installed inside another one
        return git("describe", "--always", "--dirty", "--exclude", "*")
    except (OSError, subprocess.SubprocessError):
        return None

"""How many processors this process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = (
    "import os; os.sched_setaffinity(0, {cpus}); from focusdd.core.cores import cpu_count; print(cpu_count())"
)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are bound to processors on Linux")
@pytest.mark.parametrize(("limit", "expected"), [("", None), ("1", 1)])
def test_a_process_counts_the_processors_it_may_use(limit: str, expected: int | None) -> None:
    for cpus in (set(sorted(os.sched_getaffinity(0))[:1]), os.sched_getaffinity(0)):
        own = os.environ | ({"LOKY_MAX_CPU_COUNT": limit} if limit else {})
        code = CODE.format(cpus=cpus)
        said = subprocess.run(
            [sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True
        )
        assert 1 <= int(said.stdout) <= (expected or len(cpus))

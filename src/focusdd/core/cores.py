"""How many processors this process may use."""

from __future__ import annotations

from functools import cache


@cache
def cpu_count() -> int:
    """Processors that this process may use, at least 1: those it is bound to, within its container's quota.

    `os.cpu_count` counts those of the machine. The variable LOKY_MAX_CPU_COUNT lowers the number.
    """
    import joblib

    return int(joblib.cpu_count())

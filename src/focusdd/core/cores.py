"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path


@cache
def cpu_count() -> int:
    """Processors that this process may use, at least 1: those it is bound to, within its container's quota.

    `os.cpu_count` counts those of the machine.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(bound, quota())))


def quota(root: Path = Path("/sys/fs/cgroup"), group: Path = Path("/proc/self/cgroup")) -> float:
    """Processors' worth of time that Linux' control groups grant this process; infinite without a limit.

    Args:
        root: where the groups are mounted.
        group: lists the groups of the process.
    """
    try:
        paths = [line.rpartition(":")[2].strip("/") for line in group.read_text().splitlines()]
    except OSError:
        return math.inf
    limits = [math.inf]
    for path in {"", *paths}:
        # a limit of a group holds for all groups within it
        for folder in (root / path, *(root / path).parents):
            if folder == root.parent:
                break
            limits.append(_limit(folder / "cpu.max"))
        # version 1 of control groups
        limits.append(_limit(root / "cpu" / path / "cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return min(limits)


def _limit(path: Path, period: str = "") -> float:
    try:
        words = path.read_text().split()
        if period:
            words.append(path.with_name(period).read_text())
        granted, of = map(float, words)
    except (OSError, ValueError):  # "max", or no such file
        return math.inf
    return granted / of if granted > 0 else math.inf

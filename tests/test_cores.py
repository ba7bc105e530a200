"""How many processors this process may use."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from focusdd.core.cores import cpu_count, quota


def test_a_process_counts_the_processors_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("focusdd.core.cores.quota", lambda: 1.5)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert cpu_count.__wrapped__() == 2
    monkeypatch.setattr("focusdd.core.cores.quota", lambda: math.inf)
    assert cpu_count.__wrapped__() == 4
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cpu_count.__wrapped__() == 1


@pytest.mark.parametrize(
    ("files", "group", "expected"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),  # in a container the group is the root
        (
            {"cpu.max": "max 1000", "a/cpu.max": "4000 1000", "a/b/cpu.max": "max 1000"},
            "0::/a/b",
            4.0,
        ),
        ({"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, "0::/a/b", 0.5),
        ({"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/a", 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", math.inf),
        ({"cpu.max": "nonsense"}, "0::/", math.inf),
        ({}, None, math.inf),
    ],
)
def test_a_quota_is_read_from_control_groups(
    tmp_path: Path, files: dict[str, str], group: str | None, expected: float
) -> None:
    root = tmp_path / "cgroup"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    if group is not None:
        (tmp_path / "group").write_text(group + "\n")
    assert quota(root, tmp_path / "group") == expected

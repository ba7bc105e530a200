"""A finished folder to report on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from written import make, make_index, make_student

from focusdd.sources import open_source


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, two seeds, one student, on the demo source."""
    root = tmp_path_factory.mktemp("finished")
    source = open_source("demo:4")
    make_index(source, root / "index")
    for method, top1 in (("random", 0.3), ("focus", 0.45)):
        dataset = make(source, root, method)
        for seed in (0, 1):
            make_student(dataset, root / f"{method}-student-{seed}", top1 + 0.02 * seed, seed=seed)
    return root


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(finished, tmp_path / "work"))

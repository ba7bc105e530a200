"""Distilled images of the demo with and without stored labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from labelling import DENSE, SETTINGS

from focusdd import DistillSettings, distill, label
from focusdd.sources import DemoSource


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of four tiles, without labels."""
    out = tmp_path_factory.mktemp("labels") / "tiny"
    return distill(DemoSource(16), out, DistillSettings(method="view", ipc=2, grid=2, size=128)).folder


@pytest.fixture(scope="module")
def labelled(plain: Path) -> Path:
    """The same with both kinds of labels."""
    out = Path(shutil.copytree(plain, plain.with_name("labelled")))
    label(out, SETTINGS)
    return out


@pytest.fixture
def copy(labelled: Path, tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(labelled, tmp_path / "copy"))


@pytest.fixture(scope="module")
def dense(plain: Path) -> Path:
    """Views with a label for each of 2 x 2 locations."""
    out = Path(shutil.copytree(plain, plain.with_name("by-region")))
    label(out, DENSE)
    return out

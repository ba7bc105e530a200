"""What `fit` refuses before it loads anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from focusdd import FitSettings, FocusError, fit
from focusdd.sources import DemoSource


def test_images_that_do_not_fit_into_memory_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusdd.sources.pixels.free_memory", lambda: 20 * 3 * 80**2)

    def loaded(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("focusdd.training.fit.load_model", loaded)
    monkeypatch.setattr("focusdd.training.fit.start_of", loaded)
    settings = FitSettings(model="test_vit", size=64, teacher="anyone")
    with pytest.raises(FocusError, match=r"demo:2 at 80 px needs .* GiB of memory"):
        fit(DemoSource(2), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()

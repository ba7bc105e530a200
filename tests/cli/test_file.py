"""The settings file: what it sets, and every name in it that nothing has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., Any]


def test_settings_may_stand_in_a_file(tmp_path: Path, focusdd: Run) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGB", (40, 30), (40 * number, len(name), ord(name[0])))
            picture.save(tmp_path / "photos" / "train" / name / f"{number}.png")
    Path("focusdd.toml").write_text('[distill]\nmethod = "random"\nipc = 2\n\n[compare.train]\nepochs = 3\n')
    done = focusdd("distill", tmp_path / "photos", "--out", "tiny")
    assert done.code == 0, done.error
    assert len(list(Path("tiny/train").glob("*/*.jpg"))) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[distill]\nipcc = 2", "[distill]: there is no setting 'ipcc': did you mean 'ipc'?"),
        ("[distil]\nipc = 2", "there is no command 'distil': did you mean 'distill'?"),
        ("ipc = 2", "ipc is in no command's table"),
        (
            "[detect.distill]\nratoi = 2",
            "[detect.distill]: there is no setting 'ratoi': did you mean 'ratio'?",
        ),
        ("[detect.dstill]\nipc = 2", "[detect]: there is no command 'dstill': did you mean 'distill'?"),
        ("[compare.train]\nepoch = 3", "there is no setting 'train.epoch': did you mean 'train.epochs'?"),
        ("[train]\nepoch = 3", "[train]: there is no setting 'epoch': did you mean 'epochs'?"),
        ('[extract]\nfit = "squash"', "[extract]: the setting 'fit' is called 'resize' now"),
        ('[label]\nlabels = "views"', "[label]: the setting 'labels' is called 'kind' now"),
        ('[compare.extract]\nfit = "squash"', "the setting 'extract.fit' is called 'extract.resize' now"),
        ("[distill", "focusdd.toml is no TOML file"),
    ],
)
def test_a_stray_name_is_an_error_wherever_it_stands(text: str, said: str, focusdd: Run) -> None:
    Path("focusdd.toml").write_text(text)
    done = focusdd("status", ".")
    assert done.code == 2
    assert said in done.error
    assert done.error.count("\n") == 1


def test_names_with_hyphens_and_free_arguments_are_known(focusdd: Run) -> None:
    Path("focusdd.toml").write_text("[distill]\nmax-similarity = 0.9\n[fit.model_args]\ndepth = 3\n")
    done = focusdd("status", ".")
    assert "no setting" not in done.error + done.out

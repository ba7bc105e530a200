"""The command line as its users meet it: help, mistakes, and the flags that scripts rely on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

COMMANDS = ["extract", "distill", "label", "publish", "fit", "train", "compare", "report", "status", "demo"]


def focusdd(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "focusdd", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    done = focusdd(command, "--help")
    assert done.returncode == 0
    assert f"Example: focusdd {command}" in done.stdout


def test_flags_that_scripts_rely_on():
    flags = {
        "extract": [
            "--out",
            "--extractor",
            "--attention",
            "--layers",
            "--window",
            "--patches",
            "--confidence",
        ],
        "distill": ["--ipc", "--out", "--index", "--method", "--extractor", "--grid", "--views", "--quality"],
        "fit": ["--model", "--out", "--teacher", "--pretrained"],
        "train": ["--val", "--teacher", "--student", "--out", "--epochs", "--temperature", "--labels"],
        "compare": ["--methods", "--ipc", "--students", "--seeds", "--labels", "--train.epochs", "--out"],
    }
    for command, names in flags.items():
        text = focusdd(command, "--help").stdout
        assert [name for name in names if name not in text] == []


@pytest.fixture
def photos(tmp_path):
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / folder / "one.jpg")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["distill", "PHOTOS", "--out", "OUT", "--ipc", "0"],
            "ipc: input should be greater than or equal to 1",
        ),
        (["distill", "PHOTOS", "--out", "OUT", "--icp", "3"], "Did you mean --ipc"),
        (["distill", "nowhere", "--out", "OUT"], "there is no folder nowhere"),
        (["distill", "PHOTOS", "--out", "OUT"], "make a model with `focusdd fit`"),
        (["distill", "PHOTOS", "--out", "OUT", "--grid", "8", "--size", "32"], "tiles under 8 px"),
        (["distill", "PHOTOS", "--out", "OUT", "--method", "rded"], "give --teacher"),
        (["distill", "PHOTOS", "--out", "OUT", "--index", "nowhere"], "nowhere is not an index"),
        (["extract", "PHOTOS", "--out", "OUT", "--extractor", "test_resnett"], "timm knows no model"),
        (["extract", "demo:x", "--out", "OUT"], "number of images per class"),
        (["train", "nowhere", "--val", "PHOTOS", "--out", "OUT"], "nowhere is not a distilled dataset"),
        (["fit", "PHOTOS", "--out", "OUT"], "--model"),
        (["report", "PHOTOS"], "holds no finished output"),
        (["status", "nowhere"], "there is no folder nowhere"),
        (["fit", "PHOTOS", "--out", "PHOTOS", "--model", "test_vit"], "is not empty"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(photos, tmp_path, words, said):
    names = {"PHOTOS": photos, "OUT": tmp_path / "out"}
    done = focusdd(*[names.get(word, word) for word in words])
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_settings_may_stand_in_a_file(photos, tmp_path):
    (tmp_path / "focusdd.toml").write_text('[distill]\nmethod = "random"\nipc = 2\n')
    done = focusdd("distill", photos, "--out", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "tiny" / "train").glob("*/*.jpg"))) == 4
    assert "fewer images than tiles" in done.stdout
    (tmp_path / "focusdd.toml").write_text("[distill]\nipcc = 2\n")
    done = focusdd("distill", photos, "--out", "other", cwd=tmp_path)
    assert done.returncode == 2
    assert "ipcc" in done.stderr


def test_an_output_is_not_overwritten_unasked(photos, tmp_path):
    base = ["distill", photos, "--out", tmp_path / "tiny", "--method", "random"]
    assert focusdd(*base, "--ipc", "1").returncode == 0
    again = focusdd(*base, "--ipc", "1")
    assert again.returncode == 0
    assert "complete already" in again.stdout
    refused = focusdd(*base, "--ipc", "2")
    assert refused.returncode == 2
    assert "ipc was 1, now 2" in refused.stderr
    assert len(list((tmp_path / "tiny" / "train").glob("*/*.jpg"))) == 2
    assert focusdd(*base, "--ipc", "2", "--overwrite").returncode == 0
    assert len(list((tmp_path / "tiny" / "train").glob("*/*.jpg"))) == 4
    assert "distill" in focusdd("status", tmp_path).stdout

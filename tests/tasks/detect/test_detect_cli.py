"""`focusdd detect`: its commands as a user types them, and the comparison behind them."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from focusdd.cli import app as cli
from focusdd.comparison.compare import compare
from focusdd.core.errors import FocusError
from focusdd.demo.run import WEIGHTS, run_detect_demo
from focusdd.settings import DetectCompareSettings, DetectDistillSettings, DetectTrainSettings
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.task import DETECT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def focusdd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """focusdd(*words): exit code, output and errors of the command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["focusdd", *words])
        code = 0
        with warnings.catch_warnings():  # main() reads sys.argv, which is what is meant
            warnings.filterwarnings("ignore", message="Cyclopts application invoked without tokens")
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    run_detect_demo(out, quick=True)
    return out


def test_the_demo_leaves_a_table_and_a_page(demo: Path) -> None:
    with (demo / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["focus", "random"]
    assert {row["images"] for row in rows} == {"10"}
    assert int(rows[0]["objects"]) > int(rows[1]["objects"])
    page = (demo / "report.html").read_text()
    assert page.index("mAP50-95") < page.index("focus, 10 images")
    assert "focus is" in page and "(one seed, so noise is unknown)" in page


def test_a_finished_comparison_does_nothing_again(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("model.safetensors")}
    run_detect_demo(demo, quick=True)
    assert before == {path: path.stat().st_mtime_ns for path in demo.rglob("model.safetensors")}


def test_budgets_side_by_side(demo: Path, tmp_path: Path) -> None:
    settings = DetectCompareSettings(
        methods=("random", "full"),
        ratio=(0.2,),
        ipc=(1,),
        seeds=1,
        distill=DetectDistillSettings(size=64),
        train=DetectTrainSettings(size=64, steps=1, batch_size=2),
    )
    source, val = open_detection_source("demo:8"), open_detection_source("demo:4", "val")
    rows = compare(source, val, tmp_path, settings, task=DETECT).to_pylist()
    assert [(row["method"], row["budget"], row["images"]) for row in rows] == [
        ("random", "0.2 of all", 16),
        ("random", "ipc 1", 10),
        ("full", "all", 80),
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"distill": {"ipc": 3}}, "distill.ipc is what is compared: use --ipc"),
        ({"train": {"seed": 3}}, "train.seed is what is compared: use --seeds"),
        ({"ipc": (1,)}, "vit_small_patch14_reg4_dinov2.*give a checkpoint folder"),
    ],
)
def test_comparisons_that_make_no_sense(settings: dict, words: str, tmp_path: Path) -> None:
    demo, val = open_detection_source("demo:2"), open_detection_source("demo:1", "val")
    with pytest.raises(FocusError, match=words):
        compare(demo, val, tmp_path, DetectCompareSettings(**settings), task=DETECT)


def test_distill_and_what_is_wrong_with_it(focusdd: Run) -> None:
    vit = ("--extractor", str(WEIGHTS / "vit"))
    tiny = ("detect", "distill", "demo:4", *vit, "--size", "128")
    code, said, error = focusdd(*tiny, "--ipc", "1", "--out", "tiny")
    assert code == 0, error
    assert "wrote tiny: 10 images. Next: focusdd detect train tiny --val demo:4" in said
    _, said, _ = focusdd(*tiny, "--method", "random", "--ipc", "1", "--val", "demo:2", "--out", "random")
    assert "Next: focusdd detect train random --val demo:2" in said
    refused = [
        (("detect", "distill", "nowhere/", "--out", "a"), "nowhere"),
        (("detect", "distill", "demo:4", "--ipc", "1", "--out", "b"), "give a checkpoint folder"),
        ((*tiny, "--ipc", "2", "--out", "tiny"), "ipc was 1, now 2"),
        (("detect", "distill", "demo:4", *vit, "--size", "32", "--out", "c"), "tiles under 32 px"),
        ((*tiny, "--ipc", "4", "--out", "g"), "40 distilled images are no fewer than the 40 of demo:4"),
        (("detect", "train", "tiny", "--val", "demo:4", "--size", "100", "--out", "d"), "multiple of 32"),
        (("detect", "train", "tiny-index", "--val", "demo:4", "--out", "e"), "SOURCE --out ...`"),
        (("detect", "train", "nothing", "--val", "demo:4", "--out", "e"), "SOURCE --out nothing`"),
        (
            ("train", "tiny", "--val", "demo:4", "--labels", "hard", "--out", "f"),
            "use `focusdd detect train`",
        ),
    ]
    for words, sentence in refused:
        code, _, error = focusdd(*words)
        assert code == 2 and sentence in error, (words, error)


def test_status_names_the_stages_of_detection(demo: Path, focusdd: Run) -> None:
    code, said, _ = focusdd("status", str(demo))
    assert code == 0 and "detect extract" in said and "unfinished" not in said

"""What an error says about damaged or missing files is done, and the error is gone."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from interrupted import NET, TEACHER, VIEWS, recorded, small_shards

from focusdd.cli import app as cli
from focusdd.core.errors import FocusError
from focusdd.extraction.index import open_index
from focusdd.models.load import load_model
from focusdd.models.names import origin
from focusdd.sources import DemoSource
from focusdd.sources.disk import require_apart
from focusdd.tasks.detect.detectors import load_detector
from folders import everything

MADE = {
    "index": ("extract", "photos", *VIEWS, "--tile", "32"),
    "tiny": ("distill", "photos", "--index", "index", "--ipc", "2", "--size", "64"),
    "rded": ("distill", "photos", "--method", "rded", "--teacher", TEACHER, "--ipc", "1", "--size", "64"),
    "net": ("fit", "photos", "--model", "test_resnet", *NET),
    "student": ("train", "tiny", "--val", "demo:6", "--labels", "hard", "--student", "test_resnet", *NET),
    "boxes": ("detect", "distill", "demo:6", *VIEWS, "--ipc", "1", "--size", "128"),
    "detector": ("detect", "train", "boxes", "--val", "demo:4", "--size", "32", "--steps", "4",
                 "--batch-size", "2", "--mosaic", "0"),
}  # fmt: skip
LABEL = ("label", "tiny", "--teacher", TEACHER, "--kind", "both", "--size", "32", "--num-crops", "4")


def focusdd(*words: str) -> int | str:
    """The exit code of a command in this process, or what stands in its place."""
    with small_shards(), warnings.catch_warnings(), patch.object(sys, "argv", ["focusdd", *words]):
        warnings.filterwarnings("ignore", message="Cyclopts application invoked without tokens")
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0
    return 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished output of every command."""
    folder = tmp_path_factory.mktemp("bench")
    demo = DemoSource(6)
    for key, _ in demo.records:
        path = folder / "photos" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(demo.read(key))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for out, words in MADE.items():
            assert focusdd(*words, "--out", out) == 0, out
        assert focusdd(*LABEL) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench)


def reads(*words: str) -> Callable[[], str]:
    """A command that needs an output: the sentence with which it fails, nothing when it does not."""

    def run() -> str:
        with patch.object(cli, "_fail", sys.exit):
            said = focusdd(*words)
        shutil.rmtree("made", ignore_errors=True)
        return str(said or "")

    return run


def opens(open: Callable[[str], object], folder: str) -> Callable[[], str]:
    def run() -> str:
        try:
            open(folder)
        except FocusError as error:
            return str(error)
        return ""

    return run


def deleted(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


DISTIL = reads("distill", "photos", "--index", "index", "--ipc", "1", "--size", "64", "--out", "made")
TRAIN = ("--val", "demo:6", "--student", "test_resnet", "--size", "32", "--epochs", "1", "--out", "made")
LEARN = reads("train", "tiny", "--labels", "hard", *TRAIN)
LEARN_STORED = reads("train", "tiny", "--labels", "stored", *TRAIN[:-4], "--epochs", "4", *TRAIN[-2:])
PUBLISH = reads("publish", "tiny")
DETECT = reads("detect", "train", "boxes", "--val", "demo:4", "--size", "32", "--steps", "1",
               "--batch-size", "2", "--mosaic", "0", "--out", "made")  # fmt: skip


class Case(NamedTuple):
    damage: Callable[[Path], None]
    file: str
    reader: Callable[[], str]
    again: tuple[str, ...]
    """Patterns of the files that the remedy may write, beside the damaged one and the small ones."""


SMALL = ("stage.json", "done.json", "run.json")
CHECKPOINT = ("config.json", "model.safetensors", "result.json", "resume.pt")
PLAN = ("plan.parquet", "metadata.jsonl", "distilled.json", "annotations.json", "data.yaml")
LABELS = ("*.npy", "labels.json", "README.md")
CASES = [
    Case(deleted, "index/parts/part-00001.parquet", DISTIL, ("index.json",)),
    Case(cut, "index/parts/part-00001.parquet", DISTIL, ("index.json",)),
    Case(deleted, "index/parts", DISTIL, ("index.json", "*.parquet")),
    Case(deleted, "index/index.json", DISTIL, ()),
    Case(deleted, "index/done.json", DISTIL, ("index.json",)),
    Case(cut, "index/done.json", DISTIL, ("index.json",)),
    Case(deleted, "tiny/train/1-one/1-one_00001.jpg", LEARN, PLAN),
    Case(deleted, "tiny/train/1-one", LEARN, (*PLAN, "1-one_0000?.jpg")),
    Case(cut, "tiny/train/1-one/1-one_00001.jpg", LEARN, PLAN),
    Case(changed, "tiny/train/1-one/1-one_00001.jpg", PUBLISH, PLAN),
    Case(changed, "tiny/train/1-one/1-one_00001.jpg", LEARN_STORED, PLAN),
    Case(deleted, "tiny/train/metadata.jsonl", PUBLISH, PLAN),
    Case(deleted, "tiny/plan.parquet", LEARN, PLAN),
    Case(cut, "tiny/distilled.json", LEARN, PLAN),
    Case(deleted, "rded/README.md", reads("publish", "rded"), (*PLAN, "0*.json")),
    Case(deleted, "tiny/done.json", LEARN, PLAN),
    Case(cut, "tiny/done.json", LEARN, PLAN),
    Case(deleted, "rded/train/1-one/1-one_00000.jpg", reads("publish", "rded"), (*PLAN, "0*.json")),
    Case(cut, "tiny/labels/tiles/labels.npy", PUBLISH, LABELS),
    Case(changed, "tiny/labels/views/labels.npy", LEARN_STORED, LABELS),
    Case(deleted, "tiny/labels/views/views.npy", LEARN_STORED, LABELS),
    Case(cut, "tiny/labels/tiles/images.npy", PUBLISH, LABELS),
    Case(deleted, "tiny/labels/tiles/labels.json", PUBLISH, LABELS),
    Case(cut, "tiny/labels/tiles/labels.json", PUBLISH, LABELS),
    Case(deleted, "net/model.safetensors", opens(origin, "net"), CHECKPOINT),
    Case(cut, "net/model.safetensors", opens(origin, "net"), CHECKPOINT),
    Case(deleted, "net/config.json", opens(origin, "net"), CHECKPOINT),
    Case(deleted, "net/done.json", opens(origin, "net"), CHECKPOINT),
    Case(deleted, "student/model.safetensors", opens(origin, "student"), CHECKPOINT),
    Case(deleted, "student/result.json", opens(origin, "student"), CHECKPOINT),
    Case(deleted, "boxes/images/train/1-one_00000.jpg", DETECT, PLAN),
    Case(deleted, "boxes/labels/train/1-one_00000.txt", DETECT, PLAN),
    Case(cut, "boxes/labels/train/1-one_00000.txt", DETECT, PLAN),
    Case(deleted, "boxes/annotations.json", DETECT, PLAN),
    Case(cut, "detector/model.safetensors", opens(load_detector, "detector"), CHECKPOINT),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.damage.__name__} {case.file}")
def test_the_suggested_command_mends_what_is_damaged_and_only_that(bench: Path, case: Case) -> None:
    assert case.reader() == ""
    top = bench / case.file.partition("/")[0]
    before, path = everything(top), bench / case.file
    case.damage(path)
    said = case.reader()
    assert str(Path(case.file)) in said or path.name in SMALL or path.suffix == "", said
    assert "\n" not in said
    commands = re.findall(r"`focusdd ([^`]*)`", said)
    assert len(commands) == 1, said
    written: list[Path] = []
    with recorded(written):
        assert focusdd(*shlex.split(commands[0])) == 0, said
    assert case.reader() == ""
    after = everything(top)
    for found in (before, after):
        for name in [name for name in found if name.endswith("run.json")]:
            del found[name]
    assert after == before
    for one in written:
        assert one.name == path.name or any(one.match(name) for name in (*SMALL, *case.again)), one


def test_a_damaged_teacher_is_named_where_it_is_used(bench: Path) -> None:
    cut(bench / "net" / "model.safetensors")
    with pytest.raises(FocusError, match=r"net/model\.safetensors is changed or cut short"):
        load_model("net", "cpu")
    assert focusdd(*MADE["net"], "--out", "net") == 0


# what is asked for otherwise: the flags and commands that a sentence names


class Otherwise(NamedTuple):
    """A command that is refused as `wrong`, what the sentence names, and the same command as that says."""

    words: str
    wrong: str
    names: str
    right: str


DISTILLING = "distill photos --ipc 1 --size 64 --out made"
TRAINING = "train tiny --val demo:6 --student test_resnet --size 32 --out made"
FITTING = "fit photos --size 32 --epochs 1 --out made"
SUBSET = "subset demo:4 --method random --out made"
RDED = "--method rded --rded-images 6"
HARD = "--labels hard --epochs 1 --val demo:6 --student test_resnet --size 32 --out made"
STEP = "--val demo:4 --size 32 --steps 1 --batch-size 2 --mosaic 0 --out made"
COMPARING = (
    "compare demo:4 --methods random --ipc 1 --seeds 1 --students test_resnet --distill.size 32 "
    "--train.size 32 --train.epochs 1 --out made"
)
ASKED = [
    Otherwise("", f"train net {HARD}", "`focusdd distill SOURCE --out ...`", f"train tiny {HARD}"),
    Otherwise("", f"train boxes {HARD}", "`focusdd detect train`", f"detect train boxes {STEP}"),
    Otherwise("", f"detect train tiny {STEP}", "`focusdd train`", f"train tiny {HARD}"),
    Otherwise(DISTILLING, "--index net", "`focusdd extract SOURCE --out ...`", "--index index"),
    Otherwise(
        f"distill demo:2 --ipc 1 --size 64 --out made/tiny --extractor {VIEWS[1]}",
        *("--index index", "leave --index away", ""),
    ),
    Otherwise("extract demo:2 --out made", "--extractor student", "ViT", f"--extractor {VIEWS[1]}"),
    Otherwise(DISTILLING[:-5], "rded --method random", "use another --out", "made --method random"),
    Otherwise(DISTILLING, RDED, "give --teacher", f"{RDED} --teacher {TEACHER}"),
    Otherwise(
        "distill photos --ipc 1 --method view --size 32 --out made",
        *("--grid 8", "smaller --grid", "--grid 4"),
    ),
    Otherwise("distill photos --size 64 --method random --ipc 8 --out made", "", "--oversize", "--oversize"),
    Otherwise(f"{TRAINING} --epochs 1", "", "give --teacher", f"--teacher {TEACHER}"),
    Otherwise(f"{TRAINING} --epochs 4", "", "--labels stored or --labels hard", "--labels stored"),
    Otherwise(SUBSET, "--number 9 --ratio 0.5", "one of --number, --ratio", "--number 20"),
    Otherwise(f"{SUBSET} --number 20", "--form links", "--form copies", "--form copies"),
    Otherwise(FITTING, "", "give --model", "--model test_resnet --no-pretrained"),
    Otherwise(FITTING, "--init test_resnet", "--model test_resnet", "--model test_resnet"),
    Otherwise(FITTING, "--init net --model resnet18", "leave out --model", "--init net"),
    Otherwise(COMPARING, "", "--labels hard", "--labels hard"),
]


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.names)
def test_what_a_sentence_names_works_instead(bench: Path, case: Otherwise) -> None:
    said = reads(*f"{case.words} {case.wrong}".split())()
    assert case.names in said and "\n" not in said
    assert reads(*f"{case.words} {case.right}".split())() == ""


# what is not mended, but avoided


@pytest.mark.parametrize("out", ["photos", "photos/tiny", "photos/1-one/../deep/er", "."])
@pytest.mark.parametrize(
    "words",
    [
        ("extract", "photos", *VIEWS),
        ("distill", "photos", "--method", "random", "--ipc", "1", "--size", "64"),
        ("fit", "photos", "--model", "test_resnet", *NET),
        ("compare", "photos", "--methods", "random", "--labels", "hard", "--ipc", "1"),
    ],
    ids=lambda words: words[0],
)
def test_an_output_never_lies_in_its_source(bench: Path, words: tuple[str, ...], out: str) -> None:
    before = everything(bench)
    said = reads(*words, "--out", out)()
    assert ("source photos" in said and out in said and ": use a" in said) or "use one" in said
    assert everything(bench) == before


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "photos", "--extractor", VIEWS[1], "--input-size", "65"),
        ("extract", "photos", "--extractor", "net"),
        ("label", "tiny", "--teacher", "student", "--kind", "tiles", "--size", "32"),
        ("detect", "train", "boxes", "--val", "demo:4", "--size", "33"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_command_that_fails_at_once_leaves_nothing(bench: Path, words: tuple[str, ...]) -> None:
    before = everything(bench)
    out = () if words[0] == "label" else ("--out", "made")
    assert reads(*words, *out)() != ""
    assert everything(bench) == before


def test_an_index_goes_on_with_another_batch_size(bench: Path) -> None:
    """As after running out of memory; the results are the same up to rounding."""
    top = bench / "index"
    before, key = everything(top), open_index(top).key
    columns = ["key", "attention"]
    attention = open_index(top).attention(open_index(top).table(columns))
    deleted(top / "parts" / "part-00001.parquet")
    (top / "done.json").unlink()
    words = ["5" if word == "8" else word for word in MADE["index"]]
    written: list[Path] = []
    with recorded(written):
        assert focusdd(*words, "--out", "index") == 0
    assert [path.name for path in written if path.suffix == ".parquet"] == ["part-00001.parquet"]
    again = open_index(top)
    assert again.key == key
    np.testing.assert_allclose(again.attention(again.table(columns)), attention, atol=1e-3)
    assert focusdd(*MADE["index"], "--out", "index", "--overwrite") == 0
    assert set(everything(top)) == set(before)


def test_a_folder_called_demo_is_not_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo" / "index").mkdir(parents=True)
    require_apart(Path("demo/index"), DemoSource())

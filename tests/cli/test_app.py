"""The command line as its users meet it: help, mistakes, and the flags that scripts rely on."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from PIL import Image

from focusdd.cli import app as cli
from focusdd.cli import commands as commands_module
from focusdd.core.errors import FocusError
from focusdd.core.version import __version__
from focusdd.sources import FolderSource

Run = Callable[..., Any]
SNAPSHOT = Path(__file__).parent / "flags.txt"


def commands(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    for name in app:
        if not name.startswith("-"):
            inner = list(commands(app[name], (*above, name)))
            yield from inner or [(" ".join((*above, name)), app[name])]


COMMANDS = dict(commands(cli.app))


def flags() -> str:
    """Every command with its flags and their panels, a line each."""
    lines = []
    for command, app in COMMANDS.items():
        lines.append(f"focusdd {command}")
        for one in app.assemble_argument_collection(parse_docstring=False):
            if one.show:
                panels = " ".join(group.name for group in one.parameter.group or ()) or "-"
                lines.append(f"  {one.name}  [{panels}]")
    return "\n".join(lines) + "\n"


def test_flags_are_those_of_the_snapshot() -> None:
    """Scripts rely on names: a flag that goes stands in cli.renamed. After a change, write flags() anew."""
    assert flags() == SNAPSHOT.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_panels(command: str, focusdd: Run) -> None:
    done = focusdd(*command.split(), "--help")
    assert done.code == 0
    assert f"Example: focusdd {command} " in done.out
    texts = [one.parameter.help for one in COMMANDS[command].assemble_argument_collection() if one.show]
    assert all(texts), command
    for panel in {"distill": ["Selection", "Patches", "Extractor", "Engine", "Output"]}.get(command, []):
        assert f"─ {panel} ─" in done.out


def test_help_is_quick() -> None:
    """It imports neither the settings nor what is heavy."""
    code = (
        "import sys; from focusdd.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'pydantic', 'matplotlib', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Distil a large image dataset" in done.stdout and "distill" in done.stdout


def test_version(focusdd: Run) -> None:
    assert focusdd("--version").out.strip() == __version__


def test_every_command_is_a_function() -> None:
    """The table of commands names what is there."""
    assert set(cli.COMMANDS) == set(COMMANDS)
    for name in cli.COMMANDS:
        assert callable(getattr(commands_module, name.replace(" ", "_")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGB", (40, 30), (40 * number, len(folder) * 20, 9))
            picture.save(tmp_path / "photos" / folder / f"{number}.jpg")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("distill PHOTOS --out OUT --ipc 0", "error: --ipc: input should be greater than or equal to 1"),
        (
            "compare PHOTOS --labels hard --methods view --ipc 1 --distill.size 16 --out OUT "
            "--distill.grid 4",
            "use a smaller --distill.grid or a larger --distill.size",
        ),
        ("compare PHOTOS --out OUT --train.lr 0", "error: --train.lr: input should be greater than 0"),
        ("compare PHOTOS --out OUT --distill.ipc 3", "Unknown option"),
        ("subset PHOTOS --out OUT --ratio 2 --method random", "error: --ratio: input should be less"),
        ("distill PHOTOS --out OUT --icp 3", "Did you mean --ipc"),
        ("distill PHOTOS --out OUT --ipc 4", "8 distilled images are no fewer than the 8"),
        ("distill nowhere --out OUT", "there is no folder nowhere"),
        ("distill PHOTOS --out OUT --oversize", "make a model with `focusdd fit`"),
        ("distill PHOTOS --out OUT --oversize --grid 8 --size 32", "tiles under 8 px"),
        ("distill PHOTOS --out OUT --oversize --method rded", "give --teacher"),
        ("distill PHOTOS --out OUT --oversize --index nowhere", "nowhere is not an index"),
        ("extract PHOTOS --out OUT --extractor test_resnett", "timm knows no model"),
        ("extract demo:x --out OUT", "number of images per class"),
        ("train nowhere --val PHOTOS --out OUT", "nowhere is not a distilled dataset"),
        ("fit PHOTOS --out OUT", "--model"),
        ("distill PHOTOS", "--out FOLDER is missing"),
        ("publish PHOTOS --to x", "'x' is no name of a dataset on the Hub: give OWNER/NAME"),
        ("report PHOTOS", "holds no finished output"),
        ("status nowhere", "there is no folder nowhere"),
        ("fit PHOTOS --out PHOTOS --model test_vit", "PHOTOS"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    photos: Path, tmp_path: Path, focusdd: Run, words: str, said: str
) -> None:
    names = {"PHOTOS": str(photos), "OUT": str(tmp_path / "out")}
    done = focusdd(*[names.get(word, word) for word in words.split()])
    assert done.code == 2, done.error
    assert names.get(said, said) in done.error
    assert done.error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_is_not_overwritten_unasked(photos: Path, tmp_path: Path, focusdd: Run) -> None:
    base = ["distill", photos, "--out", tmp_path / "tiny", "--method", "random"]
    assert focusdd(*base, "--ipc", "1").code == 0
    again = focusdd(*base, "--ipc", "1")
    assert again.code == 0
    assert "complete already" in again.out
    refused = focusdd(*base, "--ipc", "2")
    assert refused.code == 2
    assert "ipc was 1, now 2" in refused.error
    assert len(list((tmp_path / "tiny" / "train").glob("*/*.jpg"))) == 2
    assert focusdd(*base, "--ipc", "2", "--overwrite").code == 0
    assert len(list((tmp_path / "tiny" / "train").glob("*/*.jpg"))) == 4
    assert "distill" in focusdd("status", tmp_path).out


def test_what_has_no_effect_is_said(photos: Path, focusdd: Run) -> None:
    done = focusdd("distill", photos, "--out", "tiny", "--method", "view", "--ipc", "1", "--grid", "1",
                   "--keep", "0.5", "--extractor", "vit", "--index", "nowhere")  # fmt: skip
    assert done.code == 0, done.error
    for flag in ("--keep", "--extractor", "--index"):
        assert f"{flag} has no effect with method view" in done.out


def test_a_source_is_read_by_its_flags(photos: Path, focusdd: Run) -> None:
    only = photos / "train"
    done = focusdd("distill", only, "--holdout", "0.5", "--out", "tiny", "--method", "random", "--ipc", "1")
    assert done.code == 0, done.error
    assert "holdout=0.5" in done.out


def test_every_command_names_its_sources_by_the_same_flags(
    monkeypatch: pytest.MonkeyPatch, focusdd: Run
) -> None:
    """--val and --other are read as the source is, but are not divided."""
    calls = []

    def called(*words: Any, **given: Any) -> None:
        calls.append((*words, *(given[name] for name in ("val", "other") if name in given)))
        raise FocusError("enough")

    for place in ("comparison.run.run", "comparison.public.compare", "training.fit.fit",
                  "training.train.train", "comparison.public.detect_compare"):  # fmt: skip
        monkeypatch.setattr(f"focusdd.{place}", called)
    more = ["--out", "o", "--holdout", "0.2", "--holdout-seed", "3"]
    whole, divided = "?classes=deep", "?holdout=0.2&holdout_seed=3"
    for words, wanted in {
        "run a": f"a{divided}&classes=deep a{divided}&classes=deep",
        "run a --val b": f"a{divided}&classes=deep b{whole}",
        "fit a --val b": f"a{divided}&classes=deep b{whole}",
        "compare a --other c": f"a{divided}&classes=deep a{divided}&classes=deep c{whole}",
        "train t --val a?holdout=0.5": f"a{divided}&classes=deep",
        "detect compare a": f"a{divided} a{divided}",
    }.items():
        own = [] if words.startswith("detect") else ["--classes", "deep"]
        done = focusdd(*words.split(), *more, *own)
        assert "enough" in done.error
        assert [one for one in calls.pop() if isinstance(one, str)] == wanted.split()


def test_a_seed_without_a_holdout_is_a_mistake(focusdd: Run) -> None:
    done = focusdd("distill", "photos", "--out", "tiny", "--holdout-seed", "3")
    assert done.code == 2
    assert "--holdout-seed has no effect without --holdout: give both, or neither" in done.error


def test_the_next_command_can_be_pasted(photos: Path, tmp_path: Path, focusdd: Run) -> None:
    """A folder with a blank in its name is one word of it."""
    base = ["--method", "random", "--ipc", "1", "--size", "32"]
    said = focusdd("distill", photos, "--out", "my tiny", *base).out
    following = shlex.split(said.partition("Next: ")[2])
    val = ["--val", str(photos), "--teacher", "...", "--out", "..."]
    assert following == ["focusdd", "train", "my tiny", *val]


def test_the_next_command_has_no_validation_images_that_are_not_there(photos: Path, focusdd: Run) -> None:
    base = ["--method", "random", "--ipc", "1", "--size", "32", "--out", "tiny"]
    said = focusdd("distill", photos / "train", *base).out
    assert f"{photos / 'train'} has no validation images: give others as --val" in said
    assert "train tiny --val ... --teacher" in said


def test_the_next_command_costs_no_second_listing(
    photos: Path, focusdd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    opens = FolderSource.__init__

    def counted(self: FolderSource, root: Path, split: str, settings: Any) -> None:
        opened.append(split)
        opens(self, root, split, settings)

    monkeypatch.setattr(FolderSource, "__init__", counted)
    base = ["--method", "random", "--ipc", "1", "--size", "32"]
    for source, val in ((photos, str(photos)), (photos / "train", "...")):
        said = focusdd("distill", source, "--out", f"of {source.name}", *base).out
        assert shlex.split(said.partition("Next: ")[2])[3:5] == ["--val", val]
    assert opened == ["train", "train"]


@pytest.mark.parametrize("form", ["list", "links"])
def test_a_subset_is_the_source_of_the_next_command(photos: Path, focusdd: Run, form: str) -> None:
    said = focusdd(
        "subset", photos, "--per-class", "2", "--method", "random", "--form", form, "--out", "some"
    ).out
    source = "some/subset.csv" if form == "list" else "some"
    assert f"Every command reads {source} as its SOURCE" in said
    following = shlex.split(said.partition("Next: ")[2])
    assert following == [
        "focusdd",
        "fit",
        source,
        "--model",
        "resnet18",
        "--val",
        str(photos),
        "--out",
        "...",
    ]
    done = focusdd("distill", source, "--method", "random", "--ipc", "1", "--size", "32", "--out", "tiny")
    assert done.code == 0, done.error
    assert "4 images, 2 classes: cat, dog; 2 images each" in done.out


def test_a_list_of_what_has_no_files_says_so(focusdd: Run) -> None:
    said = focusdd("subset", "demo:3", "--per-class", "1", "--method", "random", "--out", "some").out
    assert "wrote some/subset.csv. With --form copies other commands read the images" in said


def test_a_comparison_has_no_flags_for_what_it_compares() -> None:
    for command in ("compare", "detect compare"):
        names = {one.name for one in COMMANDS[command].assemble_argument_collection() if one.show}
        assert "--distill.size" in names and "--train.size" in names
        assert not names & {"--distill.ipc", "--distill.method", "--train.seed", "--extract.extractor"}


def test_names_are_shown_whatever_letters_the_terminal_knows(tmp_path: Path) -> None:
    for name in ("größe", "\U0001f600"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / name / "1.png")
    words = "distill photos --ipc 1 --size 32 --method random --oversize --out tiny"
    done = subprocess.run(
        [sys.executable, "-m", "focusdd", *words.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert r"gr\xf6\xdfe, \U0001f600" in done.stdout

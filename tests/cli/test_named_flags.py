"""Messages name flags that the commands which say them have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cyclopts import App

from focusdd.cli import app as cli
from focusdd.core.spelling import owner, place, spelled, spelling

TRAINING_COMMANDS = ("fit", "train", "compare")
DISTILLING_COMMANDS = ("distill", "compare")
SOURCES = ("run", "extract", "distill", "subset", "fit", "train", "compare")
DETECTING = ("detect distill", "detect compare")
BOXED = (*DETECTING, "detect subset", "detect train")
CHOOSING = ("distill", "subset", "compare", *DETECTING, "detect subset")
OUTPUTS = ("demo", "detect demo", *SOURCES, *BOXED)
ENGINES = ("extract", "label", *CHOOSING)
SAID_BY: dict[str, tuple[str, ...]] = {
    "comparison/compare.py": ("compare", "detect compare"),
    "comparison/plan.py": ("run",),
    "composition/images.py": ("run", *CHOOSING),
    "core/expected.py": ("run", "compare", "demo", "detect compare", "detect demo"),
    "core/stage.py": OUTPUTS,
    "core/stage.py --holdout": (*SOURCES, *BOXED),
    "execute/remote.py": ENGINES,
    "extraction/index.py": DISTILLING_COMMANDS,
    "extraction/inference.py": ("run", "extract", *CHOOSING),
    "extraction/loading.py": ("run", "extract", *CHOOSING),
    "labels/teacher.py": ("label",),
    "models/checks.py": ("run", "extract", "distill", "subset", "label", *TRAINING_COMMANDS),
    "models/device.py": ("label", *SOURCES, *BOXED),
    "models/names.py": ("run", "extract", *CHOOSING),
    "models/start.py": ("fit",),
    "selection/focus.py": DISTILLING_COMMANDS,
    "selection/subset.py": ("subset", "detect subset"),
    "sources/columns.py": SOURCES,
    "sources/disk.py": OUTPUTS,
    "sources/folder.py": SOURCES,
    "sources/holdout.py": (*SOURCES, *BOXED),
    "sources/identity.py": ("run", "fit", "train", "compare", *BOXED),
    "sources/listed.py": SOURCES,
    "sources/names.py": ("run", "fit", "train", "compare", *BOXED),
    "sources/pixels.py": ("run", *TRAINING_COMMANDS),
    "tasks/classify/publish.py": ("publish",),
    "tasks/classify/rows.py --distill.duplicates": ("run", "extract", "subset", *DISTILLING_COMMANDS),
    "tasks/classify/rows.py --confidence": ("extract", *DISTILLING_COMMANDS, "subset"),
    "tasks/classify/task.py": DISTILLING_COMMANDS,
    "tasks/classify/trials.py": ("compare",),
    "tasks/detect/compose.py": ("detect distill", "detect subset"),
    "tasks/detect/ssdlite.py": ("detect train", "detect compare"),
    "tasks/detect/task.py": DETECTING,
    "tasks/distill.py": CHOOSING,
    "tasks/distill.py --distill.oversize": ("run", *DISTILLING_COMMANDS, *DETECTING),
    "tasks/subset.py": ("subset", "detect subset"),
    "tasks/subset.py --val": ("detect subset",),
    "training/loop.py": TRAINING_COMMANDS,
    "training/loop.py --train.lr": ("run", *TRAINING_COMMANDS, "detect train", "detect compare"),
    "training/ranks.py": TRAINING_COMMANDS,
    "training/train.py": ("train", "compare"),
}
"""By module, or by module and flag: the commands that say what stands there."""
NOT_OURS = ("nproc-per-node", "error-unmatch", "always", "dirty", "exclude")
"""Flags of torchrun and git."""
FLAG = re.compile(r"(?<![\w`-])--([a-z][\w.-]*\w)")


def messages(path: Path) -> Iterator[str]:
    """The texts of a module, but for docstrings and whole commands; what is filled in is left out."""
    module = ast.parse(path.read_text())
    plain = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            plain |= {id(part) for part in node.values}
            parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
            yield re.sub("`[^`]*`", "", "".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in plain:
            yield re.sub("`[^`]*`", "", node.value)


def test_a_command_has_every_flag_that_it_names() -> None:
    """Whoever writes a message says here which commands print it."""
    source = Path(cli.__file__).parents[1]
    flags = {name: cli.flags_of(command(name)) for name in cli.COMMANDS}
    for path in sorted(source.rglob("*.py")):
        module = path.relative_to(source).as_posix()
        if module.startswith(("cli/", "settings/", "demo/")):
            continue
        for text in messages(path):
            for name in FLAG.findall(text.replace("--....", "--train.")):  # its own stage's
                if name in NOT_OURS or text.startswith(("focusdd ", "... --out", f"--{name}")):
                    continue  # a command, or a word of one
                commands = SAID_BY.get(f"{module} --{name}", SAID_BY.get(module))
                assert commands is not None, f"which commands say {text!r} of {module}?"
                for one in commands:
                    there = place(name, flags[one]) or owner(name)
                    assert there, f"focusdd {one} has no --{name}: {text!r} of {module}"


@pytest.mark.parametrize(
    ("words", "message", "said"),
    [
        ("train", "use a smaller --train.lr", "use a smaller --lr"),
        ("fit", "use a smaller --fit.lr", "use a smaller --lr"),
        ("compare", "use a smaller --train.lr", "use a smaller --train.lr"),
        ("detect compare", "use a smaller --train.lr", "use a smaller --train.lr"),
        ("run", "use a smaller --train.lr", "use a smaller --lr of `focusdd train`"),
        ("run", "or add --distill.oversize", "or add --oversize of `focusdd distill`"),
        ("extract", "--distill.duplicates drop leaves", "--duplicates drop of `focusdd distill` leaves"),
        ("detect train", "use --detector yolo11n", "use --detector yolo11n"),
        ("detect compare", "use --detector yolo11n", "use --detectors yolo11n"),
        ("run", "class --x.size, --no.such", "class --x.size, --no.such"),
    ],
)
def test_a_flag_is_named_as_the_command_has_it(words: str, message: str, said: str) -> None:
    with spelling(partial(cli._flag, words.split())):
        assert spelled(message) == said


def command(name: str) -> App:
    found = cli.app
    for word in name.split():
        found = found[word]
    return found

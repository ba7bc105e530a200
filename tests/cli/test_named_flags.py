"""Messages name flags that the commands which say them have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App

from focusdd.cli import app as cli
from focusdd.core.spelling import place

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
    "composition/images.py": CHOOSING,
    "core/expected.py": ("run", "compare", "demo", "detect compare", "detect demo"),
    "core/stage.py": OUTPUTS,
    "core/stage.py --holdout": (*SOURCES, *BOXED),
    "execute/remote.py": ENGINES,
    "extraction/index.py": DISTILLING_COMMANDS,
    "extraction/inference.py": ("run", "extract", *CHOOSING),
    "extraction/loading.py": ("extract", *CHOOSING),
    "labels/teacher.py": ("label",),
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
    "tasks/classify/rows.py": DISTILLING_COMMANDS,
    "tasks/classify/rows.py --confidence": ("extract", *DISTILLING_COMMANDS, "subset"),
    "tasks/classify/task.py": DISTILLING_COMMANDS,
    "tasks/classify/trials.py": ("compare",),
    "tasks/detect/compose.py": ("detect distill", "detect subset"),
    "tasks/detect/ssdlite.py": ("detect train",),
    "tasks/detect/task.py": DETECTING,
    "tasks/distill.py": CHOOSING,
    "tasks/distill.py --oversize": (*DISTILLING_COMMANDS, *DETECTING),
    "tasks/subset.py": ("subset", "detect subset"),
    "tasks/subset.py --val": ("detect subset",),
    "training/loop.py": TRAINING_COMMANDS,
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
            for name in FLAG.findall(text):
                if name in NOT_OURS or text.startswith(("focusdd ", "... --out", f"--{name}")):
                    continue  # a command, or a word of one
                commands = SAID_BY.get(f"{module} --{name}", SAID_BY.get(module))
                assert commands is not None, f"which commands say {text!r} of {module}?"
                for one in commands:
                    assert place(name, flags[one]), f"focusdd {one} has no --{name}: {text!r} of {module}"


def command(name: str) -> App:
    found = cli.app
    for word in name.split():
        found = found[word]
    return found

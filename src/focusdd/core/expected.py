"""The stages that `run` and `compare` will make, in `stages.json`: so those that are missing are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.core.files import known_in, make_folder, remove_empty, write_json
from focusdd.core.run_record import typed
from focusdd.core.version import __version__

STAGES = "stages.json"


@contextmanager
def expecting(out: Path, stages: Mapping[str, str]) -> Iterator[None]:
    """Notes the stages that a command makes in a folder while the block runs, by their folders below it.

    A file of another program that is called so is left as it is. A block that fails before any of the stages
    has begun leaves what was there.

    Raises:
        FocusError: the folder is that of a stage.
    """
    if stage := known_in(out / "stage.json").get("stage"):
        raise FocusError(f"{out} holds the output of `focusdd {stage}`: use another --out")
    existing, before = make_folder(out), expected(out)
    ours = bool(before) or not (out / STAGES).exists()
    if ours:
        write_json(out / STAGES, {"focusdd": __version__, "command": typed(), "stages": dict(stages)})
    try:
        yield
    except BaseException:
        if ours and not any((out / name / "stage.json").exists() for name in stages):
            if before:
                write_json(out / STAGES, before)
            else:
                (out / STAGES).unlink(missing_ok=True)
                remove_empty(out, existing)
        raise


def expected(out: Path) -> dict[str, Any]:
    """What `expecting` noted in a folder; empty without that, or when the file is another program's."""
    known = known_in(out / STAGES)
    return known if {"focusdd", "command", "stages"} <= known.keys() else {}


def command_of(out: Path) -> str | None:
    """The command that makes a stage as one of several, as it was typed; None where it is not known."""
    for folder in out.parents:
        known = expected(folder)
        if out.relative_to(folder).as_posix() in known.get("stages", {}):
            return known["command"]
    return None

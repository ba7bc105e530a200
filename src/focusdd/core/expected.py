"""The stages that `run` and `compare` will make, in `stages.json`: so those that are missing are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json
from focusdd.core.run_record import typed
from focusdd.core.version import __version__

STAGES = "stages.json"


def expect(out: Path, stages: Mapping[str, str]) -> None:
    """Notes the stages that a command makes in a folder, by their folders below it.

    A file of another program that is called so is left as it is.
    """
    if (out / STAGES).exists() and not expected(out):
        return
    write_json(out / STAGES, {"focusdd": __version__, "command": typed(), "stages": dict(stages)})


def expected(out: Path) -> dict[str, Any]:
    """What `expect` noted in a folder; empty without that, or when the file is another program's."""
    try:
        known = read_json(out / STAGES) if (out / STAGES).is_file() else None
    except FocusError:
        return {}
    return known if isinstance(known, dict) and {"focusdd", "command", "stages"} <= known.keys() else {}


def command_of(out: Path) -> str | None:
    """The command that makes a stage as one of several, as it was typed; None where it is not known."""
    for folder in out.parents:
        known = expected(folder)
        if out.relative_to(folder).as_posix() in known.get("stages", {}):
            return known["command"]
    return None

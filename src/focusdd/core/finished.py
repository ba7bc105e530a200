"""Finished outputs of stages, opened: a folder, and the JSON file that says what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from focusdd.core.files import read_json
from focusdd.core.manifest import require_finished


@dataclass(frozen=True)
class Finished:
    """A finished output on disk."""

    folder: Path
    info: dict[str, Any] = field(repr=False)
    """The content of its JSON file."""

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def key(self) -> str:
        return self.info["key"]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.info["classes"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.info["class_names"])


Kind = TypeVar("Kind", bound=Finished)


def open_finished(
    kind: type[Kind], folder: Path | str | Kind, file: str, stages: tuple[str, ...], what: str, make: str
) -> Kind:
    """Opens the output of a stage; one that is open stays as it is.

    Args:
        file: its JSON file.
        stages, what: as for `require_finished`.
        make: the words before --out of the command that makes one.

    Raises:
        FocusError: there is none, or it is unfinished or damaged.
    """
    if isinstance(folder, kind):
        return folder
    folder = Path(folder)  # type: ignore[arg-type]  # no Kind any more
    place = "..." if folder.exists() else folder  # something else may be there
    require_finished(folder, stages, what, f"{make} --out {place}")
    return kind(folder, read_json(folder / file))

"""How far the stages in a folder are, read from files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focusdd.core.errors import FocusError
from focusdd.core.expected import STAGES, expected
from focusdd.core.files import known_in
from focusdd.core.manifest import damaged
from focusdd.core.spelling import number_of
from focusdd.core.stage import stage_in

_WORDS = {"top1": "top-1", "top5": "top-5", "val_top1": "top-1"}  # where words differ from names of counts


@dataclass(frozen=True)
class StageStatus:
    """One line of `focusdd status`."""

    path: Path
    stage: str
    state: str
    detail: str


def status(folder: Path | str) -> list[StageStatus]:
    """The stages in a folder and below it, and how far each is. Raises FocusError where there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FocusError(f"there is no folder {folder}")
    outs = [path.parent for path in sorted(folder.rglob("stage.json"))]
    found = [_status(out, known["stage"]) for out in outs if (known := stage_in(out)) is not None]
    for root in [file.parent for file in folder.rglob(STAGES)]:
        stages = {root / name: stage for name, stage in expected(root).get("stages", {}).items()}
        missing = [out for out in stages if stage_in(out) is None]
        found += [StageStatus(out, stages[out], "not begun", "") for out in missing]
    if not found:
        raise FocusError(f"{folder} holds no output of focusdd")
    return sorted(found, key=lambda line: line.path)


def _status(out: Path, stage: str) -> StageStatus:
    if not (out / "done.json").exists():
        files = len([path for path in out.rglob("*") if path.is_file() and path.name[0] != "."])
        return StageStatus(out, stage, "unfinished", f"{number_of(files, 'file')} so far")
    if not (done := known_in(out / "done.json")):
        return StageStatus(out, stage, "damaged", "done.json cannot be read")
    if odd := damaged(out, done.get("files", {})):
        return StageStatus(
            out, stage, "damaged", f"{number_of(len(odd), 'file')} missing or cut short, the first {odd[0]}"
        )
    known = (_shown(name, value) for name, value in done.get("counts", {}).items() if value is not None)
    return StageStatus(out, stage, "done", ", ".join(known))


def _shown(name: str, value: Any) -> str:
    """Of the counts of stages, those that are no whole numbers are fractions."""
    share = f"{value:.1%}" if isinstance(value, float) and 0 <= value <= 1 else str(value)
    return f"{_WORDS.get(name, name)} {share}"

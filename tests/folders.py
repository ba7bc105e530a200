"""Looking at folders."""

from __future__ import annotations

from pathlib import Path


def everything(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }

"""Files beside what a plan draws: originals, labels and texts, written where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from focusdd.core.console import progress
from focusdd.core.cores import cpu_count
from focusdd.core.files import make_folder, write_whole
from focusdd.sources.understood import understood_validation

Content = Callable[[], str | bytes | Path]
"""What a file holds; a path is what it links to."""


def validation_key(source: Any, val: Any) -> str:
    """What a stage's key holds of validation images that are copied beside those of a source.

    Raises:
        FocusError: they have other classes, or are those of the source.
    """
    understood_validation(val, source)
    return val.fingerprint


def write_missing(out: Path, contents: Mapping[str, Content], what: str) -> None:
    """Writes the files that are not there yet, by their names below `out`.

    Args:
        what: is done, in a word.
    """

    def write(name: str) -> None:
        path = out / name
        if path.is_symlink() or path.exists():
            return
        content = contents[name]()
        if isinstance(content, Path):
            path.symlink_to(content.absolute())
        else:
            write_whole(path, content)

    for folder in {(out / name).parent for name in contents}:
        make_folder(folder)
    # half of the threads wait for the disk to sync
    with progress(what, len(contents), "files") as advance, ThreadPoolExecutor(2 * cpu_count()) as pool:
        for _ in pool.map(write, contents):
            advance(1, "")

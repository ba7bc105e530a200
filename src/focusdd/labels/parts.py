"""An array that is made part by part, in this process or in others, and joined in one file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from focusdd.core.console import Advance, progress
from focusdd.core.files import make_folder, write_whole
from focusdd.execute import Work, Worker, run_shards
from focusdd.execute.remote import require_there
from focusdd.settings import EngineSettings

Make = Callable[[int], np.ndarray]


def write_parts(
    folder: Path,
    parts: int,
    make: Make,
    what: str,
    worker: Worker | None = None,
    engine: EngineSettings | None = None,
    device: str = "cpu",
) -> None:
    """Writes labels.npy: what `make` gives for each part in turn, joined along the first axis.

    Each part is a file until all are there; those of an interrupted run are kept.
    """
    make_folder(folder / "parts")
    paths = [_part(folder, number) for number in range(parts)]
    pending = [number for number, path in enumerate(paths) if not path.exists()]
    with progress(what, parts, "parts", parts - len(pending)) as advance:
        work = parts_work(folder, make)
        run_shards(pending, work, worker or (lambda: work), advance, engine, device)
    require_there(paths)
    # part by part: all labels together may be larger than memory
    write_whole(folder / "labels.npy", _joined([np.load(path, mmap_mode="r") for path in paths]))


def parts_work(folder: Path, make: Make) -> Work:
    """Makes parts by their numbers, each a file."""
    return partial(_work, folder, make)


def _work(folder: Path, make: Make, numbers: Sequence[int], advance: Advance) -> None:
    for number in numbers:
        path = _part(folder, number)
        if not path.exists():
            write_array(path, make(number))
        advance(1, "")


def _part(folder: Path, number: int) -> Path:
    return folder / "parts" / f"part-{number:05d}.npy"


def _joined(parts: list[np.ndarray]) -> Iterator[bytes]:
    """The .npy file of arrays joined along the first axis, piece by piece."""
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(parts[0].dtype),
        "fortran_order": False,
        "shape": (sum(len(part) for part in parts), *parts[0].shape[1:]),
    }
    np.lib.format.write_array_header_1_0(header, described)
    yield header.getvalue()
    for part in parts:
        yield part.tobytes()


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file whole."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())

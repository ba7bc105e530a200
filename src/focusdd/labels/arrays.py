"""Arrays in .npy files that are there in full or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from focusdd.core.files import write_whole


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file whole."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())


def write_joined(path: Path, parts: Sequence[Path]) -> None:
    """Writes the arrays of several files joined along the first axis, which may be more than memory holds."""
    arrays = [np.load(part, mmap_mode="r") for part in parts]

    def pieces() -> Iterator[bytes]:
        shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        described = {
            "descr": np.lib.format.dtype_to_descr(arrays[0].dtype),
            "fortran_order": False,
            "shape": shape,
        }
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, described)
        yield header.getvalue()
        for array in arrays:
            yield array.tobytes()

    write_whole(path, pieces())

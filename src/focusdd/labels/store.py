"""Stored labels on disk: `labels/tiles` and `labels/views` in a distilled dataset, plain files for anyone.

labels.json says what they are, labels.npy holds them (`packed`), views.npy the views they are for, and
images.npy the first 8 bytes of the SHA-256 of every image, in sorted order of the files.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from focusdd.composition.dataset import Distilled
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_whole
from focusdd.core.manifest import remedy_for, require_finished, require_whole
from focusdd.labels.packed import unpack

Kind = Literal["tiles", "views"]


@dataclass(frozen=True)
class Store:
    """Labels of one kind, memory-mapped."""

    folder: Path
    info: dict[str, Any]
    """The content of labels.json."""
    records: np.ndarray
    """tiles: (images, labels of `tile_boxes`); views: (views, images), and dense
    (views, images, 1 + dense^2), the whole view first and then its locations row by row."""
    views: np.ndarray | None
    """Records of the views (views,), of kind "views" alone."""

    @property
    def kind(self) -> Kind:
        return self.info["kind"]

    @property
    def dense(self) -> int:
        """Locations per side of a view that have labels of their own."""
        return int(self.info.get("dense", self.info.get("places", 0)))  # its name in older files

    @property
    def key(self) -> str:
        """What the labels depend on, in 16 hex digits."""
        return str(self.info["key"])

    @property
    def bytes(self) -> int:
        """Size of all files of the labels."""
        return sum((self.folder / name).stat().st_size for name in ("labels.json", *self.info["files"]))

    def logits(self, *index: Any) -> np.ndarray:
        """Logits (..., C), float32, up to a constant each, of the records at a numpy index."""
        info = self.info
        return unpack(self.records[index], len(info["classes"]), info["top"], info["bits"])


def folder_of(distilled: Distilled, kind: Kind) -> Path:
    """Where the labels of a kind are."""
    return distilled.folder / "labels" / kind


def stored_kinds(distilled: Distilled) -> list[Kind]:
    """The kinds of labels that are there, finished; views first."""
    kinds: tuple[Kind, ...] = ("views", "tiles")
    return [kind for kind in kinds if (folder_of(distilled, kind) / "done.json").exists()]


def open_store(distilled: Distilled, kind: Kind) -> Store:
    """Opens labels and checks that they are whole and belong to these images and classes.

    Raises:
        FocusError: they are missing, unfinished, damaged, or of other images or classes.
    """
    folder = folder_of(distilled, kind)
    make = f"focusdd label {distilled.folder} --kind {kind} --teacher ..."
    require_finished(folder, ("label",), "a folder of stored labels", make)
    require_whole(folder, hashes=True)
    info, anew = read_json(folder / "labels.json"), f"run `{make} --overwrite`"
    if info["distilled"] != distilled.info["key"]:
        raise FocusError(f"the labels {folder} are of another distilled dataset: {anew}")
    if info["classes"] != list(distilled.classes):
        raise FocusError(f"the labels {folder} are for other classes, or for these in another order: {anew}")
    images = [path for path, _ in distilled.files()]
    for path, known in zip(images, np.load(folder / "images.npy"), strict=True):
        if (image_digests([path]) != known).any():
            raise FocusError(f"{path} has changed since it was labelled: {remedy_for(distilled.folder)}")
    views = np.load(folder / "views.npy") if kind == "views" else None
    return Store(folder, info, np.load(folder / "labels.npy", mmap_mode="r"), views)


def image_digests(paths: list[Path]) -> np.ndarray:
    """The first 8 bytes of the SHA-256 of every file: uint8 (n, 8)."""
    digests = (hashlib.sha256(path.read_bytes()).digest()[:8] for path in paths)
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(paths), 8)


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file whole."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())


def write_joined(path: Path, parts: Sequence[Path], length: int) -> None:
    """Writes the arrays of several files joined along the first axis, which is so long then.

    They may be more than memory holds, and more files than a process may open at once.
    """

    def pieces() -> Iterator[bytes]:
        for number, part in enumerate(parts):
            array = np.load(part, mmap_mode="r")
            if not number:
                described = {
                    "descr": np.lib.format.dtype_to_descr(array.dtype),
                    "fortran_order": False,
                    "shape": (length, *array.shape[1:]),
                }
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(header, described)
                yield header.getvalue()
            yield array.tobytes()

    write_whole(path, pieces())

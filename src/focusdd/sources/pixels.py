"""Images in memory: decoded once to uint8, used by every epoch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from focusdd.core.console import progress, warn
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.core.manifest import again
from focusdd.sources.base import Record, Source
from focusdd.sources.identity import content_hash

_RESIDENT = 4 * 2**30  # bytes of images that are kept on the device that trains

_Job = tuple[str, int, Source | None]
"""Key and label of an image, and the source that has it; a path where there is none."""


@dataclass(frozen=True)
class Pixels:
    """Decoded images with labels."""

    images: torch.Tensor
    """uint8 (n, 3, side, side)."""
    labels: torch.Tensor
    """int64 (n,)."""
    skipped: tuple[tuple[str, str], ...]
    """What could not be read: (key, reason)."""
    hashes: tuple[str, ...] = ()
    """Of the encoded files, in order."""

    def __len__(self) -> int:
        return len(self.labels)

    def resident(self, device: torch.device) -> torch.Tensor:
        """The images on a device, or where they are when they would take up too much of it."""
        return self.images.to(device) if self.images.nbytes < _RESIDENT else self.images


def load_source(source: Source, side: int, what: str, copies: int = 1) -> Pixels:
    """Decodes a whole source, squashed to side x side; unreadable images are skipped, counted and listed.

    Args:
        copies: processes on this machine that do the same: all of it has to fit into memory that many times.

    Raises:
        FocusError: it does not fit into memory, or nothing can be read.
    """
    if isinstance(source, DecodedOnce):
        return source.pixels(side, what)
    jobs: list[_Job] = [(record.key, record.label, source) for record in source.records]
    return _load(jobs, side, what, source.name, copies)


def require_memory(source: Source, side: int, copies: int = 1) -> None:
    """Raises FocusError unless a whole source fits into memory, as `load_source` holds it."""
    _require_memory(len(source.records), side, source.name, copies)


def _require_memory(images: int, side: int, name: str, copies: int) -> None:
    need = images * 3 * side**2 * copies
    if need > (free := free_memory()) * 0.8:
        raise FocusError(
            f"{name} at {side} px needs {need / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free: "
            "use a smaller --size, or fewer images"
        )


class DecodedOnce:
    """A source whose pixels stay in memory, so that uses of one size decode it once; one size at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._side = 0
        self._pixels: Pixels | None = None
        self.name, self.split = source.name, source.split
        self.place = getattr(source, "place", source.name)
        self.skipped = source.skipped
        self.classes, self.class_names = source.classes, source.class_names
        self.records: tuple[Record, ...] = source.records

    @property
    def fingerprint(self) -> str:
        return self._source.fingerprint

    def read(self, key: str) -> bytes:
        return self._source.read(key)

    def pixels(self, side: int, what: str) -> Pixels:
        """What `load_source` returns."""
        if self._pixels is None or self._side != side:
            self._pixels = None  # makes room
            self._side, self._pixels = side, load_source(self._source, side, what)
        return self._pixels


def load_files(files: Sequence[tuple[Path, int]], side: int, copies: int = 1) -> Pixels:
    """Decodes image files that must all be readable.

    Args:
        copies: as for `load_source`.

    Raises:
        FocusError: one is not.
    """
    jobs: list[_Job] = [(str(path), label, None) for path, label in files]
    pixels = _load(jobs, side, "read", "the distilled dataset", copies)
    if pixels.skipped:
        name, reason = pixels.skipped[0]
        folder = Path(name).parents[2]  # <distilled>/train/<class>/<image>
        raise FocusError(f"{name} {reason}: the distilled dataset is damaged, {again(folder)}")
    return pixels


def _load(jobs: list[_Job], side: int, what: str, name: str, copies: int) -> Pixels:
    _require_memory(len(jobs), side, name, copies)
    images = torch.empty((len(jobs), 3, side, side), dtype=torch.uint8)

    hashes = [""] * len(jobs)

    def load(job: tuple[int, _Job]) -> str:
        row, (key, _, source) = job
        try:
            data = source.read(key) if source is not None else Path(key).read_bytes()
            hashes[row] = content_hash(data)
            image = decode(data, least_side=side)[0]
        except UnreadableImage as error:
            return str(error)
        images[row] = torch.from_numpy(square(image, side).transpose(2, 0, 1))
        return ""

    problems = []
    with progress(what, len(jobs), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for problem in pool.map(load, enumerate(jobs)):
            problems.append(problem)
            advance(1, "")
    good = np.flatnonzero([not problem for problem in problems])
    skipped = tuple((jobs[row][0], problem) for row, problem in enumerate(problems) if problem)
    if not len(good):
        raise FocusError(f"no image of {name} can be read; the first reason: {problems[0]}")
    if skipped:
        warn(f"{len(skipped)} images of {name} were skipped, the first: {skipped[0][0]} ({skipped[0][1]})")
        images = images[torch.from_numpy(good)]
    labels = torch.tensor([jobs[row][1] for row in good])
    return Pixels(images, labels, skipped, tuple(hashes[row] for row in good))


def free_memory() -> int:
    """Bytes of memory that are free or easily freed."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

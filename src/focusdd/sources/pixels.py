"""Images in memory: decoded once to uint8, used by every epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from focusdd.core.console import progress
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.core.manifest import remedy_for
from focusdd.sources.base import Record, Source, SourceProxy
from focusdd.sources.identity import content_hash
from focusdd.sources.understood import warn_of_skipped

_RESIDENT = 4 * 2**30  # bytes of images that are kept on the device that trains


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


class DecodedOnce(SourceProxy):
    """A source whose pixels stay in memory, so that uses of one size decode it once; one size at a time."""

    _pixels: Pixels | None = None
    _side = 0

    def pixels(self, side: int, what: str) -> Pixels:
        """What `load_source` returns."""
        if self._pixels is None or self._side != side:
            self._pixels = None  # makes room
            self._side, self._pixels = side, load_source(self._source, side, what)
        return self._pixels


def load_source(source: Source | DecodedOnce, side: int, what: str, copies: int = 1) -> Pixels:
    """Decodes a whole source, squashed to side x side; unreadable images are skipped, counted and listed.

    Raises FocusError where it does not fit into memory `copies` times (for processes on this machine that do
    the same), or nothing can be read.
    """
    if isinstance(source, DecodedOnce):
        return source.pixels(side, what)
    require_memory(len(source.records), side, source.name, copies)
    return _load(source.records, source.read, side, what, source.name)


def load_files(files: Sequence[tuple[Path, int]], side: int, copies: int = 1) -> Pixels:
    """Decodes the image files of a distilled dataset as `load_source` does; all must be readable."""
    name = "the distilled dataset"
    require_memory(len(files), side, name, copies)
    records = [Record(str(path), label) for path, label in files]
    pixels = _load(records, lambda key: Path(key).read_bytes(), side, "read", name)
    if pixels.skipped:
        key, reason = pixels.skipped[0]
        folder = Path(key).parents[2]  # <distilled>/train/<class>/<image>
        raise FocusError(f"{key} {reason}: the distilled dataset is damaged, {remedy_for(folder)}")
    return pixels


def _load(records: Sequence[Record], read: Callable[[str], bytes], side: int, what: str, name: str) -> Pixels:
    images = torch.empty((len(records), 3, side, side), dtype=torch.uint8)
    hashes = [""] * len(records)

    def load(row: int) -> str:
        try:
            data = read(records[row].key)
            hashes[row] = content_hash(data)
            image = decode(data, least_side=side)[0]
        except UnreadableImage as error:
            return str(error)
        images[row] = torch.from_numpy(square(image, side).transpose(2, 0, 1))
        return ""

    problems = []
    with progress(what, len(records), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for problem in pool.map(load, range(len(records))):
            problems.append(problem)
            advance(1, "")
    good = [row for row, problem in enumerate(problems) if not problem]
    skipped = tuple((records[row].key, problem) for row, problem in enumerate(problems) if problem)
    if not good:
        raise FocusError(f"no image of {name} can be read; the first reason: {problems[0]}")
    if skipped:
        warn_of_skipped(skipped, name)
        images = images[good]
    labels = torch.tensor([records[row].label for row in good])
    return Pixels(images, labels, skipped, tuple(hashes[row] for row in good))


def require_memory(images: int, side: int, name: object, copies: int = 1) -> None:
    """Raises FocusError unless so many images of side x side pixels fit into memory, and that many times."""
    need = images * 3 * side**2 * copies
    if need > (free := free_memory()) * 0.8:
        raise FocusError(
            f"{name} at {side} px needs {need / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free: "
            "use a smaller --size, or fewer images"
        )


def free_memory() -> int:
    """Bytes of memory that are free or easily freed."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

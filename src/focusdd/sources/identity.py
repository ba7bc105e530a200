"""What makes two sources, or two images, the same: names, sizes and bytes, never times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from focusdd.core.console import warn
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.sources.base import Source


def content_hash(data: bytes) -> str:
    """16 hex digits of SHA-256 of an encoded image."""
    return hashlib.sha256(data).hexdigest()[:16]


def content_hashes(source: Source, keys: Iterable[str]) -> dict[str, str]:
    """The hash of each of some images, which are read for it."""
    unique = list(dict.fromkeys(keys))
    with ThreadPoolExecutor(cpu_count()) as pool:
        return dict(zip(unique, pool.map(lambda key: content_hash(source.read(key)), unique), strict=True))


def listing_hash(files: Iterable[tuple[str, int]], facts: str = "") -> str:
    """16 hex digits of a listing of (name, size in bytes), in this order, and of other facts about it."""
    digest = hashlib.sha256(f"{facts}\n".encode())
    for name, size in files:
        digest.update(f"{name}\0{size}\n".encode())
    return digest.hexdigest()[:16]


def require_other(val: Source, fingerprint: str, name: str) -> None:
    """Raises FocusError when validation images are those of a source with this fingerprint and name."""
    if val.fingerprint == fingerprint:
        raise FocusError(
            f"the validation images of {val.name} are the training images of {name}: give other images as "
            "--val, or divide the source with --holdout 0.1 in every command"
        )


def num_shared(training: Iterable[str], validation: Sequence[str], val: str) -> int:
    """How many validation images have the hash of a training image; says so where there are any."""
    known = set(training)
    count = sum(one in known for one in validation)
    if count:
        are = "is a training image" if count == 1 else "are training images"
        warn(f"{count:,} of {len(validation):,} validation images of {val} {are} as well")
    return count

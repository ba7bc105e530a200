"""From files to views of images: who reads and decodes them, and how many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from focusdd.core.cores import cpu_count
from focusdd.core.decoders import Decode, decoders, most, view_of
from focusdd.core.errors import OtherOutput
from focusdd.core.images import LEAST_SIDE, UnreadableImage
from focusdd.extraction.inference import DecodedImage, Inference
from focusdd.extraction.nvjpeg import NVJPEG, gpu_decoder, has_nvjpeg
from focusdd.sources.base import Record
from focusdd.sources.identity import content_hash

FEW = 2048  # images; for fewer, processes that decode are not worth their start
MOST_THREADS = 8  # with more, Python's lock would hold them up
_AT_ONCE = 8  # images that a thread decodes before it says so: the others have to wait while it does
_AT_ONCE_ON_GPU = 64  # launches cost less for each


class Loaded(NamedTuple):
    """Some images, with the seconds that reading and decoding them took."""

    images: list[DecodedImage]
    reading: float
    decoding: float


class Loader(NamedTuple):
    """Reads and decodes images, in so many threads that take so many at once."""

    load: Callable[[Sequence[Record]], Loaded]
    threads: int
    at_once: int


def require_decoder(inference: Inference) -> None:
    """Raises FocusError where the decoder that an index was begun with is not."""
    if inference.decoder == NVJPEG and not has_nvjpeg(inference.device):
        raise OtherOutput(
            f"the index was begun with the decoder {NVJPEG}, which device {inference.device.type} does not "
            "have: go on where there is an NVIDIA GPU, or use --overwrite to begin again"
        )


@contextmanager
def loader(inference: Inference, images: int) -> Iterator[Loader]:
    """The fastest way to load so many images beside a model on a GPU."""
    side, fit, threads = inference.side, inference.settings.resize, min(cpu_count(), MOST_THREADS)
    if inference.decoder == NVJPEG:
        decode = gpu_decoder(side, fit, inference.device)
        yield Loader(partial(load, inference, decode), threads, _AT_ONCE_ON_GPU)
    elif (count := most()) and images >= FEW:
        with decoders(count, _AT_ONCE, side, fit) as decode:
            yield Loader(partial(load, inference, decode), count, _AT_ONCE)
    else:
        yield Loader(partial(load_here, inference), threads, _AT_ONCE)


def load_here(inference: Inference, records: Sequence[Record]) -> Loaded:
    """`load` with Pillow in the calling thread."""
    decode = partial(view_of, side=inference.side, fit=inference.settings.resize)
    return load(inference, lambda files: list(map(decode, files)), records)


def load(inference: Inference, decode: Decode, records: Sequence[Record]) -> Loaded:
    """Reads and decodes some images."""
    begin = time.perf_counter()
    read: list[bytes | UnreadableImage] = []
    for record in records:
        try:
            read.append(inference.source.read(record.key))
        except UnreadableImage as error:
            read.append(error)
    middle = time.perf_counter()
    views = iter(decode([data for data in read if isinstance(data, bytes)]))
    end = time.perf_counter()
    images = []
    for record, data in zip(records, read, strict=True):
        if isinstance(data, UnreadableImage):
            images.append(DecodedImage(record, None, 0, 0, str(data)))
            continue
        pixels, width, height, problem, decoder = next(views)
        notes = None
        if pixels is not None:
            try:
                if min(width, height) < LEAST_SIDE:
                    raise UnreadableImage(f"{width} x {height} pixels are too few to fill a tile")
                notes = inference.notes(record.key, width, height) if inference.notes else None
            except UnreadableImage as error:
                pixels, problem = None, str(error)
        images.append(
            DecodedImage(record, pixels, width, height, problem, content_hash(data), notes, decoder)
        )
    return Loaded(images, middle - begin, end - middle)

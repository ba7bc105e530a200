"""JPEGs decoded and resized on an NVIDIA GPU, some at once.

What an image looks like is defined in `core.images`: upright RGB, bilinear with antialiasing. Pixels differ
from Pillow's in the last bits, and by about a grey level where Pillow decodes at a reduced scale. On one kind
of GPU they are always the same.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, groupby
from queue import SimpleQueue
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image

from focusdd.core.console import say
from focusdd.core.decoders import PILLOW, Decode, Fit, View, view_of
from focusdd.core.images import ORIENTATION, UnreadableImage, encode, inscribed
from focusdd.sources.base import Source

NVJPEG = "nvJPEG"
_SAMPLE = 32  # files that show what a source is made of
_STREAMS = 2  # one decodes while another resizes; more would only take memory
_MOST_PIXELS = 2**25  # of images decoded at once, 0.6 GB on the way to their views
_TOO_LARGE = 2**24  # pixels; Pillow decodes larger ones at a reduced scale
_FLIPPED = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}  # axes, by EXIF orientation
_TRANSPOSED = (5, 6, 7, 8)


class _Header(NamedTuple):
    width: int
    """As stored, as the height."""
    height: int
    orientation: int


def decoder_for(source: Source, device: torch.device) -> str:
    """nvJPEG where the GPU has it and takes most of a sample of the files; else Pillow."""
    if not has_nvjpeg(device):
        if device.type == "cuda":
            say("this build of torchvision decodes no JPEGs on the GPU: the CPU does, at a lower rate")
        return PILLOW
    records = source.records
    sample = records[:: max(1, len(records) // _SAMPLE)][:_SAMPLE]
    taken = sum(_is_taken(source, record.key) for record in sample)
    return NVJPEG if 2 * taken > len(sample) else PILLOW


def _is_taken(source: Source, key: str) -> bool:
    try:
        return _header(source.read(key)) is not None
    except UnreadableImage:
        return False


@cache
def has_nvjpeg(device: torch.device) -> bool:
    """Whether JPEGs can be decoded on this device.

    A build of torchvision may lack nvJPEG, and since 0.29 its `decode_jpeg` is announced to go.
    """
    small = encode(Image.new("RGB", (16, 16)), "jpg")
    return device.type == "cuda" and _decoded([small], device)[0] is not None


def gpu_decoder(side: int, fit: Fit, device: torch.device) -> Decode:
    """`view_of` on a GPU, for any number of threads: the pixels of its views are tensors there.

    What nvJPEG does not take, or fails on, Pillow decodes here. The caller keeps the views until the GPU has
    read them: their memory goes back to the stream they were made on.
    """
    free: SimpleQueue[torch.cuda.Stream | None] = SimpleQueue()
    for _ in range(_STREAMS):
        free.put(torch.cuda.Stream(device) if device.type == "cuda" else None)

    def views(files: Sequence[bytes]) -> list[View]:
        headers = {number: header for number, data in enumerate(files) if (header := _header(data))}
        made: dict[int, View] = {}
        stream = free.get()
        try:
            with torch.cuda.stream(stream):
                for group in _groups(headers):
                    made |= _views({number: files[number] for number in group}, headers, side, fit, device)
            if stream is not None:
                stream.synchronize()  # whoever takes the views need not know of the stream
        finally:
            free.put(stream)
        return [made.get(number) or _by_pillow(data, side, fit, device) for number, data in enumerate(files)]

    return views


def _by_pillow(data: bytes, side: int, fit: Fit, device: torch.device) -> View:
    view = view_of(data, side, fit)
    return view._replace(pixels=None if view.pixels is None else torch.from_numpy(view.pixels).to(device))


def _groups(headers: dict[int, _Header]) -> list[list[int]]:
    """Numbers of images that are decoded at once, in order."""
    totals = accumulate(header.width * header.height for header in headers.values())
    several = groupby(zip(totals, headers, strict=True), lambda pair: pair[0] // _MOST_PIXELS)
    return [[number for _, number in group] for _, group in several]


def _views(
    files: dict[int, bytes], headers: dict[int, _Header], side: int, fit: Fit, device: torch.device
) -> dict[int, View]:
    """The views of those files that nvJPEG decodes; images of one size are resized together."""
    by_size: dict[torch.Size, dict[int, torch.Tensor]] = defaultdict(dict)
    for number, stored in zip(files, _decoded(list(files.values()), device), strict=True):
        if stored is not None:
            image = _upright(stored, headers[number].orientation)
            by_size[image.shape][number] = image
    views = {}
    for (_, height, width), images in by_size.items():
        pixels = _resized(torch.stack(list(images.values())), side, fit)
        for number, one in zip(images, pixels, strict=True):
            views[number] = View(one, width, height, "", NVJPEG)
    return views


def _decoded(files: list[bytes], device: torch.device) -> list[torch.Tensor | None]:
    """RGB uint8 (3, H, W) on the device, each as stored; None where the decoder fails."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
        return list(decode_jpeg(encoded, ImageReadMode.RGB, device=device))
    except (ImportError, AttributeError, RuntimeError):  # one that fails takes the others with it
        return [None] if len(files) == 1 else [one for data in files for one in _decoded([data], device)]


def _upright(image: torch.Tensor, orientation: int) -> torch.Tensor:
    turned = image.mT if orientation in _TRANSPOSED else image
    return turned.flip(_FLIPPED[orientation]) if orientation in _FLIPPED else turned


def _resized(images: torch.Tensor, side: int, fit: Fit) -> torch.Tensor:
    """As `core.images.square` and `letterbox`: uint8 (B, 3, H, W) -> (B, side, side, 3)."""
    height, width = images.shape[-2:]
    columns, rows = (side, side) if fit == "squash" else inscribed(width, height, side)
    small = F.interpolate(images.float(), (rows, columns), mode="bilinear", antialias=True).round_()
    left, top = (side - columns) // 2, (side - rows) // 2
    if fit == "letterbox":
        small = F.pad(small, (left, side - columns - left, top, side - rows - top), value=128)
    return small.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _header(data: bytes) -> _Header | None:
    """Of a JPEG that nvJPEG decodes as Pillow does; None for all other files.

    Pillow gets those whose colours are no YCbCr or grey, and those that may be cut short.
    """
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        return None
    at, size, tagged = 2, (0, 0), False
    while data[at] == 0xFF and (marker := data[at + 1]) != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : end]
        if marker in (0xC0, 0xC1, 0xC2):  # baseline, extended, progressive
            components = segment[6::3]
            if segment[:1] != b"\x08" or len(components) not in (1, 3) or components == b"RGB":
                return None
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big")
        tagged = tagged or marker == 0xE1  # EXIF or XMP
        if (marker == 0xEE and segment.startswith(b"Adobe") and segment[11:12] == b"\0") or end >= len(data):
            return None
        at = end
    if data[at] != 0xFF or not 0 < size[0] * size[1] <= _TOO_LARGE:
        return None
    try:
        orientation = Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1) if tagged else 1
    except Exception:  # of a damaged tag `decode` says what it makes of it
        return None
    return _Header(*size, orientation)

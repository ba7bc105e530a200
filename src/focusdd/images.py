"""Decoding, cutting and encoding of images: the only place where pixels meet files.

Every image is upright (EXIF orientation applied) 8-bit RGB. Boxes are (x0, y0, x1, y1), half-open, float,
in pixels of the original upright image.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from focusdd.errors import FocusError

Box = tuple[float, float, float, float]

# Bigger files are refused before they are decoded: a few kilobytes can unfold into gigabytes.
MAX_PIXELS = 178_956_970
_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height


class UnreadableImage(FocusError):
    """An image that cannot be decoded; the message is the reason."""


def decode(data: bytes, least_side: int | None = None) -> tuple[Image.Image, int, int]:
    """Decodes to an upright RGB image, with the width and height of the original.

    Args:
        data: the encoded file; of an animation the first frame is taken.
        least_side: the caller will shrink the image to this many pixels; a JPEG is then decoded at a reduced
            scale (a power of two) that leaves both sides at least this long.

    Raises:
        UnreadableImage: not an image, cut short, or more than MAX_PIXELS pixels.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableImage(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}")
        if image.getexif().get(0x0112) in _TURNED:
            width, height = height, width
        if least_side is not None:
            image.draft("RGB", (least_side, least_side))
        image = ImageOps.exif_transpose(image)
        return _to_rgb(image), width, height
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more pixels than the limit of {MAX_PIXELS:,}") from error
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise whatever their format makes them; all mean the same here
        raise UnreadableImage(f"cannot be decoded ({type(error).__name__}: {str(error)[:120]})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more: Pillow would clip, not scale
        pixels = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") and pixels.max(initial=0) > 255 else 255.0
        image = Image.fromarray(np.clip(pixels * (255.0 / top), 0, 255).astype(np.uint8))
    if image.mode in ("P", "LA", "RGBA", "PA") and ("transparency" in image.info or image.mode != "P"):
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, (255, 255, 255))
        image.paste(rgba, mask=rgba.getchannel("A"))
    image = image.convert("RGB")
    image.load()
    return image


def resize(image: Image.Image, width: int, height: int, box: Box | None = None) -> Image.Image:
    """Cuts `box` (default: all) and resizes it to width x height with an antialiased bicubic filter."""
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def square(image: Image.Image, side: int) -> np.ndarray:
    """The whole image squashed to a side x side uint8 array of shape (side, side, 3)."""
    return np.array(image.resize((side, side), Image.Resampling.BILINEAR))


def letterbox(image: Image.Image, side: int) -> np.ndarray:
    """The image scaled to fit and centred on grey: uint8 (side, side, 3)."""
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    canvas = Image.new("RGB", (side, side), (128, 128, 128))
    canvas.paste(
        image.resize((width, height), Image.Resampling.BILINEAR), ((side - width) // 2, (side - height) // 2)
    )
    return np.array(canvas)


def encode(image: Image.Image, format: Literal["jpg", "png"], quality: int = 95) -> bytes:
    """Encodes as JPEG (full chroma resolution) or PNG, without metadata."""
    buffer = io.BytesIO()
    if format == "jpg":
        image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()

"""Decoding, cutting and encoding of images: the only place where pixels meet files.

Every image is upright (EXIF orientation applied) 8-bit RGB. Boxes are (x0, y0, x1, y1), half-open, float,
in pixels of the original upright image.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from focusdd.core.errors import FocusError

Box = tuple[float, float, float, float]

# Bigger files are refused before they are decoded: a few kilobytes can unfold into gigabytes.
_PIXELS = os.environ.get("FOCUSDD_MAX_PIXELS") or "178956970"
if not _PIXELS.isdecimal():
    raise FocusError(f"FOCUSDD_MAX_PIXELS is {_PIXELS!r}: set it to a whole number of pixels")
MAX_PIXELS = int(_PIXELS)
LEAST_SIDE = 4
"""Pixels: an image with a shorter side would fill a tile with a smear."""
ORIENTATION = 0x0112  # EXIF
# not ImageOps.exif_transpose: it writes the rest of the EXIF again, which fails where that is damaged
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = {5, 6, 7, 8}  # those that swap width and height
_WHITE = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]

# What keeps an image from being decoded is the reason of UnreadableImage; what does not (damaged metadata, a
# large size) is nobody's business. Set once and for all: filters cannot be changed while threads decode.
warnings.filterwarnings("ignore", module=r"PIL\.")


_LIMIT = f"the limit of {MAX_PIXELS:,}: set FOCUSDD_MAX_PIXELS to a larger number to allow it"
Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, MAX_PIXELS // 2)  # Pillow refuses twice as many


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
            raise UnreadableImage(f"{width} x {height} pixels are more than {_LIMIT}")
        if least_side is not None:
            image.draft("RGB", (least_side, least_side))
        reduced = image.size != (width, height)
        image.load()
        if not reduced:
            width, height = image.size  # some formats turn themselves upright
        orientation = image.getexif().get(ORIENTATION)
        if orientation in _TURNED:
            width, height = height, width
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        return _to_rgb(image), width, height
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more pixels than {_LIMIT}") from error
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image in any format known to Pillow") from error
    except Exception as error:  # decoders raise whatever their format makes them; all mean the same here
        raise UnreadableImage(f"cannot be decoded ({type(error).__name__}: {str(error)[:120]})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more: Pillow would clip, not scale
        # no file says how many of its bits are used: white is that of the fewest bits that hold its maximum
        pixels = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)
        most = pixels.max(initial=0)
        white = next((white for white in _WHITE if most <= white), _WHITE[-1])
        if image.mode == "F" and most <= 1:
            white = 1
        image = Image.fromarray(np.rint(np.clip(pixels / white, 0, 1) * 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, (255, 255, 255))
        image.paste(rgba, mask=rgba.getchannel("A"))
    if image.mode != "RGB":
        image = image.convert("RGB")
    image.info.clear()  # so that comments and profiles are not written with the pixels later
    return image


def resize(image: Image.Image, width: int, height: int, box: Box | None = None) -> Image.Image:
    """Cuts `box` (default: all) and resizes it to width x height with an antialiased bicubic filter."""
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def square(image: Image.Image, side: int) -> np.ndarray:
    """The whole image squashed to a side x side uint8 array of shape (side, side, 3)."""
    return np.array(image.resize((side, side), Image.Resampling.BILINEAR))


def inscribed(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of the largest image of this shape in a square."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def letterbox(image: Image.Image, side: int) -> np.ndarray:
    """The image scaled to fit and centred on grey: uint8 (side, side, 3)."""
    width, height = inscribed(*image.size, side)
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

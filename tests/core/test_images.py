"""Decoding: whatever people's files hold becomes upright RGB, or a reason."""

from __future__ import annotations

import io
import math
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from focusdd.core.errors import FocusError
from focusdd.core.images import MAX_PIXELS, UnreadableImage, decode, encode, letterbox, resize, square

Draw = Callable[..., Image.Image]
Encoded = Callable[..., bytes]


def difference(a: Image.Image | np.ndarray, b: Image.Image | np.ndarray) -> float:
    """Mean absolute difference of two pictures of the same size, in grey levels."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert first.shape == second.shape
    return float(np.abs(first - second).mean())


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_becomes_upright(
    draw: Draw, encoded: Encoded, orientation: int, format: str
) -> None:
    options = {"quality": 95} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    picture = draw(48, 32)
    data = encoded(picture, format, exif=turned(orientation), **options)
    stored = Image.open(io.BytesIO(encoded(picture, format, **options))).convert("RGB")
    stored.getexif()[0x0112] = orientation
    wanted = ImageOps.exif_transpose(stored)
    image, width, height = decode(data)
    assert (width, height) == image.size == ((48, 32) if orientation < 5 else (32, 48))
    assert image.mode == "RGB"
    assert difference(image, wanted) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_decode_reports_the_size_of_the_original(
    draw: Draw, encoded: Encoded, orientation: int
) -> None:
    data = encoded(draw(480, 320), "JPEG", quality=95, exif=turned(orientation))
    full, *_ = decode(data)
    image, width, height = decode(data, least_side=70)
    assert (width, height) == full.size == ((480, 320) if orientation < 5 else (320, 480))
    assert image.size == (width // 4, height // 4)
    assert difference(image, full.reduce(4)) < 3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 700))
def test_a_reduced_decode_leaves_enough_pixels(encoded: Encoded, width: int, height: int, least: int) -> None:
    data = encoded(Image.new("RGB", (width, height), (10, 200, 30)), "JPEG")
    image, *original = decode(data, least_side=least)
    assert original == [width, height]
    assert min(image.size) >= min(least, width, height)
    if min(width, height) < 2 * least:
        assert image.size == (width, height)


# modes


def test_cmyk(draw: Draw, encoded: Encoded) -> None:
    picture = draw(40, 30)
    image, *_ = decode(encoded(picture.convert("CMYK"), "JPEG", quality=98))
    assert image.mode == "RGB"
    assert difference(image, picture) < 6


@pytest.mark.parametrize(
    ("top", "bits"), [(65535, 16), (20_000, 16), (16_000, 14), (4095, 12), (3000, 12), (900, 10), (3, 8)]
)
def test_16_bit_grey_is_scaled_by_the_bits_that_it_uses(encoded: Encoded, top: int, bits: int) -> None:
    values = np.linspace(0, top, 64, dtype=np.uint16).reshape(8, 8)
    image, *_ = decode(encoded(Image.fromarray(values)))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], np.rint(values / (2**bits - 1) * 255))
    assert (np.asarray(image) == np.asarray(image)[..., :1]).all()


def test_32_bit_grey_is_not_clipped_to_white(encoded: Encoded) -> None:
    values = np.linspace(0, 65535, 64, dtype=np.int32).reshape(8, 8)
    image, *_ = decode(encoded(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], np.rint(values / 257))


@pytest.mark.parametrize("white", [1.0, 255.0, 4095.0, 65535.0])
def test_grey_of_fractions_is_scaled(encoded: Encoded, white: float) -> None:
    """Floats from 0 to 1, to 255 or to 65535, as in TIFF files; a value that is no number is black."""
    values = np.linspace(0, white, 64, dtype=np.float32).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    image, *_ = decode(encoded(Image.fromarray(values), "TIFF"))
    expected = np.rint(np.where(np.isfinite(values), values, 0).astype(np.float64) * (255 / white))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], expected)


def test_one_bit(encoded: Encoded) -> None:
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    image, *_ = decode(encoded(Image.fromarray(bits)))
    np.testing.assert_array_equal(np.asarray(image), np.repeat(255 * bits[..., None], 3, axis=2))


def test_palette(draw: Draw, encoded: Encoded) -> None:
    picture = draw(40, 30).quantize(16)
    image, *_ = decode(encoded(picture))
    assert difference(image, picture.convert("RGB")) == 0


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_the_transparent_colour_becomes_white(encoded: Encoded, mode: str) -> None:
    picture = Image.new(mode, (4, 2), 0)
    colour = {"1": 1, "L": 77, "RGB": (10, 20, 30), "P": 1}[mode]
    if mode == "P":
        picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.paste(colour, (0, 0, 2, 2))
    key = {"P": b"\xff\x00"}.get(mode, colour)
    image, *_ = decode(encoded(picture, transparency=key))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((3, 1)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opacity_is_over_white(encoded: Encoded, mode: str) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (6, 5, len(mode)), dtype=np.uint8)
    image, *_ = decode(encoded(Image.fromarray(pixels, mode)))
    colour, opacity = pixels[..., :-1].astype(float), pixels[..., -1:] / 255
    wanted = np.broadcast_to(colour * opacity + 255 * (1 - opacity), (6, 5, 3))
    np.testing.assert_allclose(np.asarray(image), wanted, atol=1)


def test_the_first_frame_of_an_animation(encoded: Encoded) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image, *size = decode(data)
    assert size == [6, 4]
    assert image.getpixel((3, 3)) == (250, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 100), (100, 20_000)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_extreme_sizes(encoded: Encoded, size: tuple[int, int], format: str) -> None:
    data = encoded(Image.new("RGB", size, (200, 100, 50)), format)
    image, *found = decode(data, least_side=64)
    assert tuple(found) == size
    assert difference(square(image, 16), np.broadcast_to((200, 100, 50), (16, 16, 3))) < 3
    boxed = letterbox(image, 32)
    assert boxed.shape == (32, 32, 3)
    assert (np.abs(boxed.astype(int) - (200, 100, 50)).sum(2) < 9).any()


# what cannot be read


@pytest.mark.parametrize("least_side", [None, 40])
@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {})]
)
def test_a_file_cut_short_is_refused_unless_all_pixels_are_there(
    draw: Draw, encoded: Encoded, format: str, options: dict[str, bool], least_side: int | None
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    data = encoded(Image.blend(draw(200, 160), Image.fromarray(noise), 0.3), format, **options)
    whole, *_ = decode(data, least_side)
    cuts = [1, 2, 3, 8, 20, 40, *range(60, len(data) - 8, len(data) // 40), *range(len(data) - 8, len(data))]
    refused = 0
    for cut in cuts:
        try:
            image, *_ = decode(data[:cut], least_side)
        except UnreadableImage as error:
            refused += 1
            assert "Warning" not in str(error)
            assert " at 0x" not in str(error), "a reason is the same in every run"
        else:
            assert difference(image, whole) == 0
    assert refused >= len(cuts) - 8


def test_no_image_at_all() -> None:
    for data in (b"", b"hello, I am a text file called cat.jpg\n" * 20, bytes(1000), b"\xff\xd8\xff"):
        with pytest.raises(UnreadableImage) as caught:
            decode(data)
        assert "0x" not in str(caught.value), "a reason is the same in every run"
        assert isinstance(caught.value, FocusError)
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"")


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60),
    st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]),
    st.integers(0, 300),
)
def test_damaged_bytes_give_an_image_or_a_reason(
    draw: Draw, encoded: Encoded, damage: bytes, format: str, at: int
) -> None:
    data = bytearray(encoded(draw(12, 9), format))
    data[at : at + len(damage)] = damage
    try:
        image, width, height = decode(bytes(data))
    except UnreadableImage as error:
        assert str(error)
    else:
        assert (image.mode, image.size) == ("RGB", (width, height))


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.mark.parametrize("side", [60_000, 13_400])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    assert side**2 > MAX_PIXELS
    with pytest.raises(UnreadableImage, match="pixels"):
        decode(png_claiming(side, side))


def test_nothing_is_said_about_damaged_metadata_or_large_sizes(encoded: Encoded) -> None:
    """In a fresh process, with the warning filters that users have."""
    picture = Image.new("RGB", (20, 10))
    files = [
        encoded(picture, "JPEG", exif=turned(6).tobytes()[:-5]),
        encoded(picture, "JPEG", exif=b"Exif\0\0garbage!" * 3),
        encoded(Image.effect_noise((200, 200), 50), "TIFF", compression="tiff_lzw")[:9000],
        encoded(Image.effect_noise((200, 200), 50), "TIFF")[:9000],
        png_claiming(12_000, 10_000),
    ]
    code = (
        "import sys\nfrom focusdd.core.images import UnreadableImage, decode\n"
        "for text in sys.stdin:\n"
        "    try:\n        print(decode(bytes.fromhex(text))[1:])\n"
        "    except UnreadableImage:\n        print('unreadable')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(file.hex() for file in files),
        capture_output=True,
        text=True,
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["(20, 10)", "(20, 10)", *["unreadable"] * 3]


# encoding and resizing


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32))
def test_png_there_and_back_is_exact(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, *size = decode(encode(Image.fromarray(pixels), "png"))
    assert size == [width, height]
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_jpeg_keeps_colours_and_drops_metadata(draw: Draw, encoded: Encoded) -> None:
    picture, *_ = decode(encoded(draw(64, 48), "JPEG", exif=turned(3), comment="private"))
    data = encode(picture, "jpg", quality=95)
    assert b"Exif" not in data
    assert b"private" not in data
    assert difference(decode(data)[0], picture) < 2
    assert encode(picture, "jpg", quality=95) == data


def test_resize_cuts_the_box(draw: Draw) -> None:
    picture = draw(60, 40)
    assert difference(resize(picture, 20, 10, (5, 6, 25, 16)), picture.crop((5, 6, 25, 16))) == 0
    assert resize(picture, 7, 9).size == (7, 9)


def test_an_orientation_beside_damaged_exif_is_followed(draw: Draw, encoded: Encoded) -> None:
    """`ImageOps.exif_transpose` fails on this file: a whole number of the EXIF is not a number."""
    entries = [
        struct.pack(">HHI4s", 0x0112, 3, 1, b"\0\x06\0\0"),
        struct.pack(">HHIf", 0x0100, 11, 1, math.nan),
    ]
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + b"".join(entries) + bytes(4)
    _, *size = decode(encoded(draw(48, 32), "JPEG", exif=exif))
    assert size == [32, 48]


def test_the_limit_of_pixels_can_be_raised(encoded: Encoded) -> None:
    data = encoded(Image.new("1", (14_000, 15_000)))
    with pytest.raises(UnreadableImage, match=r"more pixels than the limit.*: set FOCUSDD_MAX_PIXELS"):
        decode(data)
    code = (
        "import sys; from focusdd.core.images import decode; "
        "print(decode(sys.stdin.buffer.read(), least_side=8)[1:])"
    )
    environment = {**os.environ, "FOCUSDD_MAX_PIXELS": "250000000"}
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, env=environment)
    assert done.stdout.decode().strip() == "(14000, 15000)", done.stderr.decode()


def test_a_limit_that_is_no_number_is_a_sentence() -> None:
    words = [sys.executable, "-m", "focusdd", "distill", "demo:2", "--method", "random", "--out", "never"]
    environment = {**os.environ, "FOCUSDD_MAX_PIXELS": "1e9"}
    done = subprocess.run(words, capture_output=True, env=environment, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: FOCUSDD_MAX_PIXELS is '1e9': set it to a whole number of pixels\n"

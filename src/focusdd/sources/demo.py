"""The demo source: handwritten digits set into photographs, generated from a seed.

Ten classes of real content without a download: scikit-learn's handwritten digits, coloured, turned and put
at random places and sizes into crops of its two sample photographs. The true box of every object is known,
so extraction can be checked and not only looked at.
"""

from __future__ import annotations

import colorsys
import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of
from focusdd.core.images import Box
from focusdd.sources.base import Objects, Record
from focusdd.sources.boxes import check_size

_VERSION = 1  # of the drawing: part of the fingerprint
_SPLITS = {"train": 0, "val": 1}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_RIM = ((20, 20, 20), (245, 245, 245))  # objects stand out in photographs


class DemoSource:
    """Generated images: `demo`, or `demo:<images per class>` for more or fewer than 200."""

    def __init__(self, per_class: int = 200, split: str = "train", seed: int = 0) -> None:
        self.name = "demo" if per_class == 200 else f"demo:{per_class}"
        self.split = split
        self.has_val = True
        self.place = "generated"
        self.seed = seed
        self.per_class = per_class if split == "train" else max(1, per_class // 4)
        self.classes = tuple(f"{digit}-{name}" for digit, name in enumerate(_DIGITS))
        self.class_names: tuple[str, ...] = _DIGITS
        self.class_counts = (self.per_class,) * len(_DIGITS)
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.problems: tuple[tuple[str, str], ...] = ()
        self.records = tuple(
            Record(f"{folder}/{number:05d}.jpg", label)
            for label, folder in enumerate(self.classes)
            for number in range(self.per_class)
        )

    @classmethod
    def parse(cls, name: str, split: str) -> DemoSource:
        """Opens "demo" or "demo:N"."""
        _, _, count = name.partition(":")
        if count and not (count.isdecimal() and 1 <= int(count) <= 99_999):
            raise FocusError(f"{name!r}: after demo: comes the number of images per class, 1 to 99999")
        return cls(int(count or 200), split)

    @property
    def fingerprint(self) -> str:
        return hash_of(["demo", _VERSION, self.per_class, self.split, self.seed])

    def read(self, key: str) -> bytes:
        buffer = io.BytesIO()
        self._draw(key)[0].save(buffer, "JPEG", quality=92)
        return buffer.getvalue()

    def box(self, key: str) -> Box:
        return self._draw(key)[1]

    def labels_of(self, key: str) -> np.ndarray:
        return np.array([self.classes.index(key.partition("/")[0])])

    def objects(self, key: str, width: int, height: int) -> Objects:
        image, box = self._draw(key)
        check_size(image.size, width, height)
        return Objects(
            np.array([box]), self.labels_of(key).astype(np.int32), np.zeros(1, bool), np.zeros(1, np.int64)
        )

    def _draw(self, key: str) -> tuple[Image.Image, Box]:
        folder, _, file = key.partition("/")
        label, number = self.classes.index(folder), int(file.removesuffix(".jpg"))
        rng = np.random.default_rng([_VERSION, self.seed, _SPLITS[self.split], label, number])
        background = _background(rng, self.split)
        mask = _glyph(rng, label, self.split, min(background.size))
        x = int(rng.integers(0, background.width - mask.width + 1))
        y = int(rng.integers(0, background.height - mask.height + 1))
        place = (x, y, x + mask.width, y + mask.height)
        background.paste(_RIM[int(rng.integers(2))], place, mask)
        background.paste(_ink(rng, label), place, mask.filter(ImageFilter.MinFilter(5)))
        return background, tuple(float(value) for value in place)  # type: ignore[return-value]


def _ink(rng: np.random.Generator, label: int) -> tuple[int, int, int]:
    """A bright colour whose hue leans to the class, as things of a kind look alike; it does not decide."""
    hue = (label / 10 + rng.uniform(-0.06, 0.06)) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, rng.uniform(0.6, 1), rng.uniform(0.7, 1))
    return round(red * 255), round(green * 255), round(blue * 255)


def _background(rng: np.random.Generator, split: str) -> Image.Image:
    """A pale crop of a sample photograph; train and val use different halves of the photographs."""
    photo = _photographs()[int(rng.integers(2))]
    half = photo.width // 2
    left, right = (0, half) if split == "train" else (half, photo.width)
    width, height = (int(value) for value in rng.integers(224, 321, 2))
    zoom = rng.uniform(0.45, 0.95)
    crop_width, crop_height = width * zoom, height * zoom
    x = left + rng.uniform(0, right - left - crop_width)
    y = rng.uniform(0, photo.height - crop_height)
    crop = photo.resize((width, height), box=(x, y, x + crop_width, y + crop_height))
    if rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ImageEnhance.Color(crop).enhance(0.25)


def _glyph(rng: np.random.Generator, label: int, split: str, side: int) -> Image.Image:
    """The opacity of a turned digit, cut to its ink: mode L, the longer side 25 to 42 % of `side`."""
    images = _handwriting(split)[label]
    digit = Image.fromarray(images[int(rng.integers(len(images)))])
    digit = digit.resize((128, 128), Image.Resampling.BICUBIC)
    digit = digit.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    digit = digit.point([min(255, max(0, (value - 70) * 3)) for value in range(256)])
    digit = digit.crop(digit.point([255 * (value > 80) for value in range(256)]).getbbox())
    scale = rng.uniform(0.25, 0.42) * side / max(digit.size)
    return digit.resize((max(1, round(digit.width * scale)), max(1, round(digit.height * scale))))


@cache
def _photographs() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


@cache
def _handwriting(split: str) -> list[Any]:
    """Per digit, uint8 images (n, 8, 8); train and val hold different writers' pages."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images * (255 / 16)).astype(np.uint8)
    cut = 1300
    rows = slice(0, cut) if split == "train" else slice(cut, None)
    return [images[rows][data.target[rows] == digit] for digit in range(10)]

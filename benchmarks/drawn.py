"""Sources whose images are drawn from a seed as they are read: any number of images, nothing on disk."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from focusdd.sources.base import Objects, Record

WIDTH, HEIGHT, CLASSES = 64, 48, 10
COLOURS = np.random.default_rng(0).integers(0, 256, (CLASSES, 3))


class DrawnSource:
    """Coloured boxes on grey, 64 x 48 pixels; nothing in memory but the keys.

    Annotated, an image holds one to eight boxes and has no label; else one box, whose colour is its class.
    """

    def __init__(self, images: int, annotated: bool) -> None:
        self.name, self.split = f"drawn:{images}", "train"
        self.fingerprint = f"{self.name}:{'boxes' if annotated else 'classes'}"
        self.classes = self.class_names = tuple(f"colour-{number}" for number in range(CLASSES))
        self.class_counts = (images,) * CLASSES  # roughly: what counts is that every class has some
        self.annotated = annotated
        labels = (-1 if annotated else number % CLASSES for number in range(images))
        self.records = tuple(Record(f"{number:06d}", label) for number, label in enumerate(labels))
        self.skipped = self.problems = ()

    def objects(self, key: str, width: int, height: int) -> Objects:
        rng = np.random.default_rng(int(key))
        count = int(rng.integers(1, 9)) if self.annotated else 1
        sides = rng.integers(5, 20, (count, 2))
        start = rng.integers(0, np.array([width, height]) - sides + 1)
        boxes = np.concatenate([start, start + sides], 1).astype(float)
        labels = rng.integers(0, CLASSES, count).astype(np.int32)
        if not self.annotated:
            labels[:] = int(key) % CLASSES
        return Objects(boxes, labels, np.zeros(count, bool), np.arange(count, dtype=np.int64))

    def read(self, key: str) -> bytes:
        boxes, labels, _, _ = self.objects(key, WIDTH, HEIGHT)
        pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        for (x0, y0, x1, y1), label in zip(boxes.astype(int), labels, strict=True):
            pixels[y0:y1, x0:x1] = COLOURS[label]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "BMP")
        return buffer.getvalue()


@dataclass(frozen=True)
class PhotoSource:
    """JPEGs as large as ImageNet's, 500 x 375 pixels, of noise at all scales; few, and kept in memory."""

    files: dict[str, bytes]
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    name: str = "photographs of noise"
    split: str = "train"
    fingerprint: str = "photographs"
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    @classmethod
    def of(cls, classes: int, per_class: int, width: int = 500, height: int = 375) -> PhotoSource:
        """Draws them."""
        names = tuple(f"noise-{number}" for number in range(classes))
        records = tuple(
            Record(f"{name}/{number}.jpg", label)
            for label, name in enumerate(names)
            for number in range(per_class)
        )
        files = {record.key: photograph(seed, width, height) for seed, record in enumerate(records)}
        return cls(files, records, names)

    def read(self, key: str) -> bytes:
        return self.files[key]


def photograph(seed: int, width: int, height: int) -> bytes:
    """A JPEG whose detail falls off towards fine scales as a photograph's does."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128, np.float32)
    for octave in range(2, 9):
        noise = rng.integers(0, 256, (2**octave, 2**octave, 3), np.uint8)
        wide = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(wide, np.float32) - 128) / 2 ** (octave / 2)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()

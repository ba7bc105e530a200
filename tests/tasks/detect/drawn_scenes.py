"""Drawn images with objects of known places, and indexes of them that no model made."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from focusdd.settings import DetectDistillSettings
from focusdd.settings.resolve import resolve
from focusdd.sources.base import Objects, Record
from focusdd.tasks.detect.rows import ObjectTable


class Drawn:
    """A source of drawn scenes: every object a rectangle of a colour that nothing else has."""

    def __init__(self, scenes: dict[str, tuple[tuple[int, int], Objects]], num_classes: int = 3) -> None:
        self.name, self.split, self.fingerprint = "drawn", "train", "f"
        self.classes = tuple(f"class{n}" for n in range(num_classes))
        self.class_names = tuple(f'name "{n}": ü' for n in range(num_classes))
        self.scenes = scenes
        labels = [objects.labels[~objects.ignored] for _, objects in scenes.values()]
        self.class_counts = tuple(np.bincount(np.concatenate(labels), minlength=num_classes).tolist())
        self.records = tuple(Record(key, -1) for key in scenes)
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.problems: tuple[tuple[str, str], ...] = ()

    def objects(self, key: str, width: int, height: int) -> Objects:
        assert self.scenes[key][0] == (width, height)
        return self.scenes[key][1]

    def labels_of(self, key: str) -> np.ndarray:
        objects = self.scenes[key][1]
        return objects.labels[~objects.ignored]

    def read(self, key: str) -> bytes:
        size, objects = self.scenes[key]
        image = Image.new("RGB", size, (255, 255, 255))
        pen = ImageDraw.Draw(image)
        for box, number in zip(objects.boxes, objects.ids, strict=True):
            x0, y0, x1, y1 = np.rint(box)
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour(int(number)))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()


def colour(number: int) -> tuple[int, int, int]:
    return (0, 40 + 10 * (number % 20), 0)


def make_objects(
    rng: np.random.Generator, size: tuple[int, int], count: int, ignored: float = 0.0
) -> Objects:
    """Random objects with whole-pixel boxes."""
    ends = np.array(size)
    sides = np.maximum(2, rng.uniform(0.05, 0.5, (count, 2)) * ends).astype(int)
    start = (rng.uniform(0, 1, (count, 2)) * (ends - sides)).astype(int)
    boxes = np.concatenate([start, start + sides], 1).astype(float)
    labels = rng.integers(0, 3, count).astype(np.int32)
    return Objects(boxes, labels, rng.random(count) < ignored, np.arange(count, dtype=np.int64))


def random_source(seed: int, images: int = 6, most: int = 5, ignored: float = 0.0) -> Drawn:
    rng = np.random.default_rng(seed)
    scenes = {}
    for number in range(images):
        size = (int(rng.integers(60, 300)), int(rng.integers(60, 300)))
        scenes[f"{number}.png"] = size, make_objects(rng, size, int(rng.integers(1, most + 1)), ignored)
    return Drawn(scenes)


def settings_of(**given: Any) -> DetectDistillSettings:
    """Resolved settings; no source says what their defaults are."""
    return resolve(DetectDistillSettings(**given)).settings


def table_of(source: Drawn, seed: int = 0) -> ObjectTable:
    """All objects of a source as an index holds them, with random attention and confidence."""
    rng = np.random.default_rng(seed)
    index: Any = SimpleNamespace(classes=source.classes)
    every = [objects for _, objects in source.scenes.values()]
    counts = [len(objects.boxes) for objects in every]
    return ObjectTable(
        index,
        list(source.scenes),
        np.array([size for size, _ in source.scenes.values()]),
        np.concatenate([[0], np.cumsum(counts)]),
        Objects(*(np.concatenate(column) for column in zip(*every, strict=True))),
        rng.random(sum(counts)),
        rng.random(sum(counts)),
        rng.integers(1, 256, (len(every), 7, 7)).astype(np.uint8),
    )

"""A distilled detection dataset on disk (Ultralytics' layout), read strictly."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from focusdd.composition.dataset import STAGES, Picture, Shown
from focusdd.core.console import progress
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.finished import open_finished
from focusdd.core.images import UnreadableImage, decode
from focusdd.core.manifest import remedy_for
from focusdd.core.spelling import number_of
from focusdd.sources.names import has_image_suffix
from focusdd.sources.pixels import require_memory


class Sample(NamedTuple):
    """One training image with its objects."""

    image: np.ndarray
    """uint8 (h, w, 3) RGB; the longer side is that of the detector's input."""
    boxes: np.ndarray
    """float32 (n, 4): centre x, centre y, width and height as fractions of the image."""
    labels: np.ndarray
    """int64 (n,)."""


class DistilledDetection(Shown):
    """A finished distilled detection dataset."""

    def pictures(self) -> list[Picture]:
        """The images with their boxes."""
        return [Picture(path, path.stem, self._boxes(path)[0].tolist()) for path in self.files()]

    def _boxes(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        return _labels(self.folder / "labels" / "train" / f"{path.stem}.txt", len(self.classes))

    def files(self) -> list[Path]:
        """The image files in order.

        Raises:
            FocusError: there are more or fewer than distilled.json says.
        """
        images = self.folder / "images" / "train"
        found = sorted(
            path for path in images.glob("*") if path.name[0] != "." and has_image_suffix(path.name)
        )
        if not found or len(found) != self.info["images"]:
            raise FocusError(
                f"{images} holds {number_of(len(found), 'image')} instead of {self.info['images']}: "
                f"remove those that were added, or {remedy_for(self.folder)}"
            )
        return found

    def samples(self, side: int) -> list[Sample]:
        """All images, their longer side resized to `side` pixels, with their objects.

        Raises:
            FocusError: an image or a label file is missing or damaged, no image has an object, or they do not
                fit into memory.
        """

        def load(path: Path) -> Sample:
            try:
                image, _, _ = decode(path.read_bytes())
            except UnreadableImage as error:
                raise FocusError(f"{path} {error}: {remedy_for(self.folder)}") from error
            return Sample(resized(image, side), *self._boxes(path))

        files = self.files()
        require_memory(len(files), side, self.folder)
        with progress("read", len(files), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
            samples = []
            for sample in pool.map(load, files):
                samples.append(sample)
                advance(1, "")
        if not any(len(sample.labels) for sample in samples):
            raise FocusError(f"no image of {self.folder} holds an object: {remedy_for(self.folder)}")
        return samples


def resized(image: Image.Image, side: int) -> np.ndarray:
    """The image with its longer side resized to `side` pixels: uint8 (h, w, 3)."""
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR))


def open_detection(folder: Path | str | DistilledDetection) -> DistilledDetection:
    """Opens a distilled detection dataset; one that is open stays as it is.

    Raises:
        FocusError: there is none, it is unfinished or damaged, or it holds images to classify.
    """
    make = "focusdd detect distill SOURCE"
    found = open_finished(
        DistilledDetection, folder, "distilled.json", STAGES, "a distilled detection dataset", make
    )
    if found.info.get("task") != "detect":
        raise FocusError(
            f"{found.folder} is a distilled dataset without boxes: train on it with `focusdd train`"
        )
    return found


def _labels(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and labels of one file of lines "class cx cy w h"."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FocusError(f"{path} cannot be read ({error}): {remedy_for(path.parents[2])}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.split()
        try:
            label, box = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            label, box = -1, []
        if not (0 <= label < num_classes and len(box) == 4 and all(map(math.isfinite, box))):
            raise FocusError(
                f"{path}:{number} {line.strip()[:60]!r} is not a class below {num_classes} and a box: "
                f"{remedy_for(path.parents[2])}"
            )
        rows.append((label, *box))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return table[:, 1:].astype(np.float32), table[:, 0].astype(np.int64)

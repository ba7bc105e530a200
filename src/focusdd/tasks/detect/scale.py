"""The size at which objects are shown.

Validation shows an image with its longer side L resized to the detector's input T, so an object of o source
pixels measures o T / L there. A window that is drawn at s canvas pixels per source pixel, on a canvas of side
C that training resizes to T, shows it at o s T / C. Both agree where s = C / L, for any T. The zoom s L / C
is how much larger than in validation an object is drawn; windows mix zooms around 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode
from focusdd.settings import ObjectSettings
from focusdd.sources.base import DetectionSource
from focusdd.tasks.detect.scenes import sides

_SAMPLE = 256  # images that are read for the sizes of their objects
_STEP = 32  # sizes of detector inputs are multiples of it
_SMALL = 0.1  # quantile of objects that the detector's input is chosen for
_LEAST_SEEN = 8  # pixels that a small object should have there: one cell of the finest grid of YOLO's
_FEWEST, _MOST = 320, 640  # pixels of a detector's input by default
_LEAST_CONTEXT, _MOST_CONTEXT = 0.1, 0.5  # by default, as shares of an object's longer side
_LARGEST_VIEW = 0.75  # of validation's scale, so that there is room for windows beside it
_SLACK = 1.05  # over the smallest labelled size: places are whole pixels


@dataclass(frozen=True)
class ObjectSizes:
    """How large the objects of a source are."""

    shares: np.ndarray
    """(n, 2) width and height of objects as shares of the longer side of their image."""
    longest: float
    """Median longer side of the images in pixels."""

    def median(self, side: int) -> tuple[float, float]:
        """Median width and height where the longer side of images has `side` pixels."""
        width, height = np.median(self.shares, axis=0) * side
        return float(width), float(height)


@lru_cache(maxsize=1)  # `distill` asks at its beginning and at its end
def object_sizes(source: DetectionSource) -> ObjectSizes:
    """The sizes of the objects in up to 256 images of a source, drawn evenly.

    Raises:
        FocusError: none of them can be read and holds an object that is not ignored.
    """
    count = len(source.records)
    shares, longest = [], []
    for row in np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).round().astype(int)):
        key = source.records[row].key
        try:
            _, width, height = decode(source.read(key), least_side=1)
            objects = source.objects(key, width, height)
        except UnreadableImage:
            continue
        boxes = objects.boxes[~objects.ignored]
        if len(boxes):
            shares.append(sides(boxes) / max(width, height))
            longest.append(max(width, height))
    if not longest:
        raise FocusError(
            f"{source.name} has no readable image with an object to learn: check that images and annotations "
            "belong together, and that not all objects are marked as crowd or difficult"
        )
    return ObjectSizes(np.concatenate(shares), float(np.median(longest)))


def default_size(sizes: ObjectSizes) -> int:
    """Side of the detector's input, and of a canvas: small objects have 8 pixels there.

    A multiple of 32 between 320 and 640, but not above the size of the images.
    """
    small = float(np.quantile(np.sqrt(sizes.shares.prod(1)), _SMALL))
    own = _up(sizes.longest)
    return min(max(_up(_LEAST_SEEN / small), min(_FEWEST, own)), min(_MOST, own))


def default_context(sizes: ObjectSizes, grid: int) -> float:
    """Surroundings of an object: as much as fits a tile with the median object at the scale of whole images.

    A large object gives up surroundings before it is drawn smaller than validation shows it. In twentieths,
    so that a few more images do not change it.
    """
    longer = float(np.median(sizes.shares.max(1)))
    room = (1 / (grid * longer) - 1) / 2
    return min(max(math.floor(20 * room) / 20, _LEAST_CONTEXT), _MOST_CONTEXT)


def _up(value: float) -> int:
    return math.ceil(value / _STEP) * _STEP


def draw_mixes(count: int, rng: np.random.Generator) -> list[float]:
    """Where an object's zoom is between its smallest, -1, and its largest, 1: uniform."""
    return rng.uniform(-1, 1, count).tolist()


def window_scales(
    mix: float, extent: np.ndarray, image: tuple[int, int], size: int, settings: ObjectSettings
) -> tuple[float, float]:
    """Canvas pixels per source pixel for a window around an object: what is wanted, and the least.

    Zooms are log-uniform and as far below 1 as above: an object that cannot be drawn larger than validation
    shows it, because a cell of the grid or its own pixels do not allow it, is not drawn smaller for variety
    either. One too large for a cell with its surroundings is drawn as large as a cell allows, and one too
    small for a label is drawn larger, as far as others are.

    Args:
        mix: from -1 to 1, see `draw_mixes`.
        extent: (2,) width and height of the object, source pixels.
        image: width and height of its image.
        size: side of the canvas.
    """
    whole, longer = size / max(image), float(extent.max())
    labelled = min(_SLACK * settings.min_size / float(extent.min()), settings.mix * whole, size / longer)
    most = min(
        size / settings.grid / (longer * (1 + 2 * settings.context)), max(settings.max_upsample, whole)
    )
    largest = min(max(most / whole, 1.0), settings.mix)
    wanted = max(min(largest**mix * whole, most), labelled)
    return wanted, min(max(whole / largest, labelled), wanted)


def view_scale(objects: np.ndarray, image: tuple[int, int], size: int, settings: ObjectSettings) -> float:
    """Canvas pixels per source pixel for a whole image.

    It fills a cell of the grid, and more where half of the objects (n, 4) would lose their label otherwise.
    """
    whole = size / max(image)
    if settings.grid == 1 or not len(objects):
        return whole / settings.grid
    short = float(np.median(sides(objects).min(1)))
    return max(whole / settings.grid, min(_SLACK * settings.min_size / short, _LARGEST_VIEW * whole))

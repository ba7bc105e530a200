"""YOLO11 from Ultralytics: architecture, loss, augmentation and non-maximum suppression.

The only module that imports Ultralytics, which is AGPL-3.0 and an extra. We use these parts and not its
trainer: that one validates after the last epoch whatever it is told, caches labels beside the data, steps its
schedule by epochs (so that a dataset of another size is trained otherwise), resumes from rounded weights with
other random numbers, asks the network for fonts and weights, and refuses bfloat16 and channels-last on a CPU,
where both save time.
"""

from __future__ import annotations

import atexit
import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from focusdd.core.errors import FocusError
from focusdd.models.device import autocast
from focusdd.tasks.detect.detectors import Family, Found
from focusdd.tasks.detect.distilled import Sample

_CLIP = 10.0  # largest gradient norm of the loss summed over a batch, as in Ultralytics' trainer
_CONFIDENCE, _IOU, _MOST = 0.001, 0.7, 300  # of Ultralytics' own validation
_CANDIDATES = (
    3000  # for suppression, the most confident; an untrained net offers every anchor for every class
)

# Ultralytics' defaults, spelled out: those of another version shall not change a result
_GAINS: dict[str, Any] = {"box": 7.5, "cls": 0.5, "dfl": 1.5}
_COLOURS: dict[str, Any] = {"hsv_h": 0.015, "hsv_s": 0.7, "hsv_v": 0.4}
_MOVES: dict[str, Any] = {"translate": 0.1, "scale": 0.5, "degrees": 0.0, "shear": 0.0, "perspective": 0.0}
_UNUSED: dict[str, Any] = {"flipud": 0.0, "mixup": 0.0, "cutmix": 0.0, "copy_paste": 0.0}


def ultralytics() -> ModuleType:
    """Ultralytics, imported so that it asks no network, reports nothing and leaves the home folder alone.

    Raises:
        FocusError: it is not installed, or cannot be imported.
    """
    first = "ultralytics" not in sys.modules
    try:
        with _quiet_import() if first else nullcontext():
            import ultralytics
    except ImportError as error:
        raise FocusError(
            f"detection training needs {error.name or 'ultralytics'} ({error}): pip install 'focusdd[detect]'"
        ) from error
    if first:
        ultralytics.settings.update({"sync": False})
    return ultralytics


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Sets variables that Ultralytics reads once, and undoes what its import does to other packages.

    Its `Image.open` would install a package when it meets a file that is no image.
    """
    config = tempfile.mkdtemp(prefix="focusdd-")
    atexit.register(shutil.rmtree, config, ignore_errors=True)
    own = {
        "YOLO_CONFIG_DIR": config,
        "YOLO_OFFLINE": "true",
        "YOLO_VERBOSE": "false",
        "YOLO_AUTOINSTALL": "false",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ |= own
    opening, saving, printing = Image.open, torch.save, np.get_printoptions()
    try:
        yield
    finally:
        Image.open, torch.save = opening, saving
        np.set_printoptions(**printing)
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {name: value} if value is not None else {}


def new_network(detector: str, num_classes: int, device: torch.device, seed: int = 0) -> nn.Module:
    """An untrained network, from the description in Ultralytics; `detector`: yolo11n to yolo11x."""
    package = ultralytics()
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import YAML, IterableSimpleNamespace

    family, scale = detector[:-1], detector[-1]
    described = YAML.load(Path(package.__path__[0]) / "cfg" / "models" / "11" / f"{family}.yaml")
    torch.manual_seed(seed)
    net: Any = DetectionModel(described | {"scale": scale, "nc": num_classes}, verbose=False)
    net.args = IterableSimpleNamespace(**_GAINS)
    return net.to(device=device, memory_format=torch.channels_last)


def detection_loss(net: nn.Module, batch: dict[str, torch.Tensor], device: torch.device) -> torch.Tensor:
    """The loss of a batch of `Lessons`, mean per image."""
    batch = {name: value.to(device) for name, value in batch.items()}
    images = batch["img"].float().div(255).contiguous(memory_format=torch.channels_last)
    with autocast(device):
        predicted = net(images)
    loss, _ = net.loss(batch, _float(predicted))  # type: ignore[operator]
    return loss.sum() / len(images)


def _float(value: Any) -> Any:
    """Boxes are decoded and compared in float32, whatever the precision of the convolutions."""
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {name: _float(item) for name, item in value.items()}
    return type(value)(_float(item) for item in value)


class Lessons:
    """Augmented batches of samples: colours, shift, zoom, mirror and mosaic as in Ultralytics' recipe."""

    # what Ultralytics' transforms ask a dataset for; "ram": mosaics take any image, not those read last
    cache = "ram"
    use_obb = use_keypoints = False

    def __init__(self, samples: Sequence[Sample], size: int, mosaic: float, flip: bool) -> None:
        ultralytics()
        self.samples = samples
        self.data: dict[str, Any] = {}
        self.buffer: list[int] = []
        self._transforms = [self._transform(size, share, 0.5 if flip else 0.0) for share in (0.0, mosaic)]

    def _transform(self, size: int, mosaic: float, flip: float) -> Any:
        from ultralytics.data.augment import Albumentations, Format, v8_transforms
        from ultralytics.utils import IterableSimpleNamespace

        shares = {"mosaic": mosaic, "fliplr": flip, "copy_paste_mode": "flip"}
        recipe = IterableSimpleNamespace(**_COLOURS, **_MOVES, **_UNUSED, **shares)
        chain = v8_transforms(self, size, recipe)
        # else it would depend on what is installed how images are augmented
        chain.transforms = [step for step in chain.transforms if not isinstance(step, Albumentations)]
        chain.append(Format(bbox_format="xywh", normalize=True, batch_idx=True))
        return chain

    def __len__(self) -> int:
        return len(self.samples)

    def get_image_and_label(self, row: int) -> dict[str, Any]:
        """One sample in Ultralytics' form."""
        from ultralytics.utils.instance import Instances

        sample = self.samples[row]
        shape = sample.image.shape[:2]
        return {
            "im_file": str(row),
            "img": np.ascontiguousarray(sample.image[..., ::-1]),  # BGR, and a copy: transforms write into it
            "ori_shape": shape,
            "resized_shape": shape,
            "ratio_pad": (1.0, 1.0),
            "cls": sample.labels[:, None].astype(np.float32),
            "instances": Instances(
                sample.boxes.copy(),
                np.zeros((0, 1000, 2), dtype=np.float32),
                bbox_format="xywh",
                normalized=True,
            ),
        }

    def batch(self, rows: Sequence[int], seed: int, mosaic: bool) -> dict[str, torch.Tensor]:
        """The samples of these rows, augmented; the same for the same seed."""
        with _seeded(seed):
            items = [self._transforms[mosaic](self.get_image_and_label(row)) for row in rows]
        return {
            "img": torch.stack([item["img"] for item in items]),
            "cls": torch.cat([item["cls"] for item in items]).float(),
            "bboxes": torch.cat([item["bboxes"] for item in items]).float(),
            "batch_idx": torch.cat(
                [torch.full((len(item["cls"]),), float(row)) for row, item in enumerate(items)]
            ),
        }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Ultralytics draws from the global generators: seeds them for the block, then puts them back."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _find(net: nn.Module, canvas: torch.Tensor) -> list[Found]:
    """The objects in a batch of inputs, by Ultralytics' own suppression."""
    ultralytics()
    from ultralytics.utils.nms import non_max_suppression

    pixels = canvas.float().div(255).contiguous(memory_format=torch.channels_last)
    kept = non_max_suppression(
        net(pixels),
        _CONFIDENCE,
        _IOU,
        multi_label=True,
        max_det=_MOST,
        max_nms=_CANDIDATES,
        max_time_img=math.inf,  # else a slow machine would find less
    )
    return [Found(rows[:, :4], rows[:, 4], rows[:, 5]) for rows in kept]


YOLO = Family("ultralytics", ultralytics, new_network, Lessons, detection_loss, _find, _CLIP)

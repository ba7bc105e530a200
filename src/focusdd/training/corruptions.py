"""Corrupted images, five strengths each, with the constants of ImageNet-C (Hendrycks and Dietterich, ICLR
2019, `create_c/make_imagenet_c.py`), applied at the size that the student sees.

Noise depends on (seed, number of the image) alone, not on how images are batched.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2.functional import gaussian_blur

STRENGTHS = (1, 2, 3, 4, 5)
_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, of the range 0 to 1
_BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)  # standard deviation in pixels
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # what is left of it
_JPEG = (25, 18, 15, 10, 7)  # quality
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the side


def corrupt(images: torch.Tensor, name: str, strength: int, seed: int = 0, first: int = 0) -> torch.Tensor:
    """Corrupts uint8 images (B, 3, H, W) and keeps their order, type and shape.

    Args:
        name: one of CORRUPTIONS.
        strength: 1 to 5.
        first: number of the first image in the whole set.
    """
    return CORRUPTIONS[name](images, strength - 1, seed, first)


def _noise(images: torch.Tensor, level: int, seed: int, first: int) -> torch.Tensor:
    noise = torch.empty(images.shape)
    for row in range(len(images)):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + first + row) * 5 + level)
        noise[row].normal_(0, 255 * _NOISE[level], generator=generator)
    return _bytes(images + noise.to(images.device))


def _blur(images: torch.Tensor, level: int, seed: int, first: int) -> torch.Tensor:
    sigma = _BLUR[level]
    # four deviations to each side, as far as the image can be mirrored
    radius = min(round(4 * sigma), min(images.shape[-2:]) - 1)
    return _bytes(gaussian_blur(images.float(), [2 * radius + 1] * 2, [sigma, sigma]))


def _contrast(images: torch.Tensor, level: int, seed: int, first: int) -> torch.Tensor:
    mean = images.float().mean((-2, -1), keepdim=True)
    return _bytes((images - mean) * _CONTRAST[level] + mean)


def _jpeg(images: torch.Tensor, level: int, seed: int, first: int) -> torch.Tensor:
    made = []
    for image in images.cpu().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=_JPEG[level])
        made.append(np.array(Image.open(file)))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).to(images.device)


def _pixelate(images: torch.Tensor, level: int, seed: int, first: int) -> torch.Tensor:
    down, across = (
        _cells(side, max(1, int(side * _PIXELATE[level]))).to(images.device) for side in images.shape[-2:]
    )
    return _bytes(down @ images.float() @ across)


def _cells(side: int, count: int) -> torch.Tensor:
    """(side, side): gives every pixel the mean of its cell, as Pillow's box filter does there and back."""
    cell = ((torch.arange(side) + 0.5) * count / side).long()
    same = (cell[:, None] == cell).float()
    return same / same.sum(1)


def _bytes(images: torch.Tensor) -> torch.Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


CORRUPTIONS: dict[str, Callable[[torch.Tensor, int, int, int], torch.Tensor]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "pixelate": _pixelate,
}

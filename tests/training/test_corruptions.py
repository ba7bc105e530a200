"""Corruptions: the same twice, worse with strength, and nothing else changed."""

import numpy as np
import pytest
import torch
from PIL import Image

from focusdd.training.corruptions import CORRUPTIONS, STRENGTHS, corrupt


@pytest.fixture(scope="module")
def images():
    """Four pictures of 48 x 64 px with large and small structure, and a mark of their own."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    waves = torch.stack([torch.sin(x / 5) + torch.cos(y / 7), torch.sin(x * y / 90), torch.cos(x / 2)])
    pictures = 110 + 40 * waves + 12 * torch.randn((4, 3, 48, 64), generator=generator)
    return (pictures + 15 * torch.arange(4)[:, None, None, None]).clamp(0, 255).to(torch.uint8)


def psnr(a, b):
    return float(-10 * torch.log10(((a.float() - b.float()) / 255).square().mean()))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_by_strength_less_is_left(name, images):
    quality = [psnr(images, corrupt(images, name, strength)) for strength in STRENGTHS]
    assert quality == sorted(quality, reverse=True)
    assert len(set(quality)) == len(STRENGTHS)
    assert 5 < quality[-1] < quality[0] < 45


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("strength", (1, 5))
def test_shape_type_and_order_stay(name, strength, images):
    before = images.clone()
    made = corrupt(images, name, strength)
    assert torch.equal(images, before)
    assert (made.shape, made.dtype) == (images.shape, torch.uint8)
    marks = made.float().mean((1, 2, 3))
    assert torch.equal(marks.argsort(), torch.arange(4))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_batches_make_no_difference(name, images):
    whole = corrupt(images, name, 3)
    parts = [corrupt(images[first : first + 2], name, 3, first=first) for first in (0, 2)]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(whole, corrupt(images, name, 3))


def test_noise_is_the_seeds_and_of_the_stated_strength():
    grey = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    one, other = corrupt(grey, "noise", 1), corrupt(grey, "noise", 1, seed=1)
    assert not torch.equal(one, other)
    assert float(one.float().std()) == pytest.approx(0.08 * 255, rel=0.02)
    assert not torch.equal(one[0], one[1])


def test_contrast_keeps_the_mean_and_scales_the_rest(images):
    made = corrupt(images, "contrast", 2).float()
    assert torch.allclose(made.mean((2, 3)), images.float().mean((2, 3)), atol=0.5)
    assert torch.allclose(made.std((2, 3)), 0.3 * images.float().std((2, 3)), rtol=0.05)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_pixelation_is_pillows(strength, images):
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[strength - 1]
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    small = picture.resize((int(64 * share), int(48 * share)), Image.Resampling.BOX)
    large = torch.from_numpy(np.array(small.resize((64, 48), Image.Resampling.BOX))).permute(2, 0, 1)
    assert (corrupt(images[:1], "pixelate", strength)[0].int() - large.int()).abs().max() <= 1


def test_blur_takes_images_smaller_than_its_kernel():
    small = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert corrupt(small, "blur", 5).shape == small.shape

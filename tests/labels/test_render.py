"""Pixels of views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from labelling import CPU
from painting import painted
from PIL import Image
from torchvision.transforms.functional import resize

from focusdd.labels.views import draw_views, plain_views, render, resized_crops
from focusdd.settings import AugmentSettings


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_pixels_are_those_of_the_record(grid: int) -> None:
    """Against Pillow, one image after another."""
    images = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    views = draw_views(6, 5, 48, grid, AugmentSettings(tile_crops=0.3), generator(grid))
    rows = torch.tensor([4, 0, 3, 3, 1, 2])
    shown = render(images, rows, views, 24, CPU)
    for row, view, pixels in zip(rows.tolist(), views.records(), shown, strict=True):
        own, other = (images[i].permute(1, 2, 0).numpy() for i in (row, (row + view["shift"]) % 5))
        crop = Image.fromarray(np.ascontiguousarray(painted(view, own, other, grid)))
        expected = np.asarray(crop.resize((24, 24), Image.Resampling.BILINEAR), dtype=float)
        assert np.abs(pixels.permute(1, 2, 0).numpy() - expected).max() < 1.5  # Pillow rounds twice


def test_mixup_blends_two_views_with_the_share_of_its_own() -> None:
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    rows = torch.tensor([4, 0, 2])
    views = draw_views(3, 5, 16, 2, AugmentSettings(tile_crops=1), generator(2), "mixup")
    assert (views.lam < 1).all() and not views.mix.any()
    alone = views._replace(lam=torch.ones(3))
    own, partner = (render(images, which % 5, alone, 8, CPU) for which in (rows, rows + views.shift))
    share = views.lam[:, None, None, None]
    torch.testing.assert_close(
        render(images, rows, views, 8, CPU), share * own + (1 - share) * partner, rtol=0, atol=1e-3
    )


def test_a_plain_view_is_the_image() -> None:
    whole = render(torch.full((1, 3, 50, 50), 7), torch.tensor([0]), plain_views(1, 50, 3), 20, CPU)
    assert (whole - 7).abs().max() < 1e-4
    image = torch.randint(0, 256, (2, 3, 12, 12), dtype=torch.uint8)
    same = render(image, torch.tensor([1]), plain_views(1, 12, 2), 12, CPU)
    torch.testing.assert_close(same[0], image[1].float())


def test_tiles_stay_whole_when_they_are_shuffled() -> None:
    images = torch.arange(4 * 3 * 12 * 12).view(4, 3, 12, 12)
    order = torch.rand((4, 9), generator=generator()).argsort(1)
    views = plain_views(4, 12, 3)._replace(order=order)
    shown = render(images, torch.arange(4), views, 12, CPU)
    for image, seen, cells in zip(images, shown, order, strict=True):
        for cell, tile in enumerate(cells.tolist()):
            (row, column), (y, x) = divmod(cell, 3), divmod(tile, 3)
            there = seen[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            torch.testing.assert_close(there, image[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].float())


@pytest.mark.parametrize("box", [(8, 16, 56, 64), (20, 4, 28, 12), (0, 0, 64, 64), (3, 5, 43, 64)])
def test_resized_crops_agree_with_an_antialiased_resize(box: tuple[int, int, int, int]) -> None:
    """The batched crop and torchvision's resize of the cut agree, shrinking and enlarging."""
    image = torch.rand(1, 3, 64, 64, generator=generator()) * 255
    x0, y0, x1, y1 = box
    ours = resized_crops(image, torch.tensor([box], dtype=torch.float32), 24)[0]
    reference = resize(image[0, :, y0:y1, x0:x1], [24, 24], antialias=True)
    assert (ours - reference).abs().max() < 0.01

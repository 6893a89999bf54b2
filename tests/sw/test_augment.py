"""Augmentation: size and limits of the changes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from residuum.sw.train.augment import Affine, Augmentation, CropAndFlip, random_affine

CHANGES = [
    Affine(max_rotation=9.0, max_zoom=0.1, max_shift=2.0),
    CropAndFlip(max_shift=2),
    CropAndFlip(max_shift=2, cutout=3),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def turned(images: Tensor, **limits: float) -> Tensor:
    values = {"max_rotation": 0.0, "max_zoom": 0.0, "max_shift": 0.0} | limits
    return random_affine(images, **values, generator=generator())


def test_affine_without_limits_changes_nothing() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert torch.allclose(turned(images), images, atol=1e-5)


def test_affine_shift_keeps_ink_and_stays_within_limits() -> None:
    """A dot in the middle moves by at most two pixels and keeps its sum."""
    images = torch.zeros(200, 1, 11, 11)
    images[:, :, 5, 5] = 1
    result = turned(images, max_shift=2.0)
    assert torch.allclose(result.sum(dim=(1, 2, 3)), torch.ones(200), atol=1e-4)
    centre = (result.sum(dim=(1, 2)) * torch.arange(11.0)).sum(dim=1) - 5
    assert 1.5 < centre.abs().max() <= 2.0 + 1e-4


def test_affine_rotation_stays_within_limits() -> None:
    """The angle of a dot right of the centre stays within the limit."""
    images = torch.zeros(200, 1, 21, 21)
    images[:, :, 10, 18] = 1
    result = turned(images, max_rotation=15.0).sum(dim=1)
    rows = (result.sum(dim=2) * torch.arange(21.0)).sum(dim=1) / result.sum(dim=(1, 2)) - 10
    columns = (result.sum(dim=1) * torch.arange(21.0)).sum(dim=1) / result.sum(dim=(1, 2)) - 10
    angles = torch.rad2deg(torch.atan2(rows, columns))
    assert 12 < angles.abs().max() < 15.5
    assert angles.min() < 0 < angles.max()


def test_affine_zoom_stays_within_limits() -> None:
    images = torch.zeros(200, 1, 21, 21)
    images[:, :, 10, 18] = 1
    result = turned(images, max_zoom=0.1).sum(dim=1)
    columns = (result.sum(dim=1) * torch.arange(21.0)).sum(dim=1) / result.sum(dim=(1, 2)) - 10
    assert 8 / 1.1 - 0.1 <= columns.min() < 7.7
    assert 8.3 < columns.max() <= 8 / 0.9 + 0.1


def test_affine_passes_its_limits_on() -> None:
    images = torch.rand(5, 1, 8, 8)
    change = Affine(max_rotation=8.0, max_zoom=0.05, max_shift=1.0)
    expected = turned(images, max_rotation=8.0, max_zoom=0.05, max_shift=1.0)
    assert torch.equal(change(images, generator()), expected)


def numbered(count: int, channels: int, height: int = 5, width: int = 6) -> Tensor:
    """Images whose pixels are numbered from 1 on, by channel, row, column."""
    image = torch.arange(1.0, channels * height * width + 1).reshape(1, channels, height, width)
    return image.expand(count, channels, height, width)


def moved(image: np.ndarray, down: int, right: int) -> bytes:
    """The (C, H, W) image shifted by whole pixels, computed pixel by pixel; 0 from outside."""
    _, height, width = image.shape
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[:, row, column] = image[:, row - down, column - right]
    return result.tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_moves_each_image_by_whole_pixels_within_the_limit(channels: int) -> None:
    """All shifts of up to two pixels occur, each with and without mirroring, and no others."""
    images = numbered(500, channels)
    changed = CropAndFlip(max_shift=2)(images, generator()).numpy()
    image = images[0].numpy()
    steps = range(-2, 3)
    expected = {
        moved(one, down, right)
        for one in (image, image[:, :, ::-1])
        for down in steps
        for right in steps
    }
    assert {one.tobytes() for one in changed} == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_without_shift_only_mirrors_about_half(channels: int) -> None:
    images = numbered(1000, channels)
    changed = CropAndFlip(max_shift=0)(images, generator())
    same = (changed == images).flatten(1).all(dim=1)
    mirrored = (changed == images.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(same, ~mirrored)
    assert 430 < int(mirrored.sum()) < 570


def test_crop_draws_each_shift_equally_often() -> None:
    images = torch.zeros(7000, 1, 7, 7)
    images[:, :, 3, 3] = 1
    changed = CropAndFlip(max_shift=3)(images, generator())
    rows, columns = changed.sum(dim=(0, 1, 3)), changed.sum(dim=(0, 1, 2))
    assert all(880 < count < 1120 for count in (*rows.tolist(), *columns.tolist()))


@pytest.mark.parametrize("cutout", [1, 4, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_clears_one_square_around_any_pixel(channels: int, cutout: int) -> None:
    """Every pixel can be the centre, all channels are cleared, and nothing else changes."""
    height, width = 5, 6
    image = torch.rand(1, channels, height, width) + 1
    image = image + image.flip(3)
    changed = CropAndFlip(max_shift=0, cutout=cutout)(
        image.expand(1000, channels, height, width), generator()
    )
    expected = set()
    for row in range(height):
        for column in range(width):
            top, left = row - cutout // 2, column - cutout // 2
            one = image[0].clone()
            one[:, max(top, 0) : top + cutout, max(left, 0) : left + cutout] = 0
            expected.add(one.numpy().tobytes())
    assert {one.numpy().tobytes() for one in changed} == expected


def test_crop_may_reach_beyond_the_image() -> None:
    images = torch.ones(50, 3, 2, 2)
    assert CropAndFlip(max_shift=4)(images, generator()).shape == images.shape


def test_crop_leaves_its_input_alone() -> None:
    images = torch.rand(8, 3, 8, 8)
    before = images.clone()
    CropAndFlip(max_shift=2)(images, generator())
    assert torch.equal(images, before)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_alone_decides(change: Augmentation, channels: int) -> None:
    images = torch.rand(16, channels, 8, 8)
    first = change(images, generator(1))
    assert torch.equal(change(images, generator(1)), first)
    assert not torch.equal(change(images, generator(2)), first)


@pytest.mark.parametrize("change", CHANGES)
def test_each_image_gets_its_own_change(change: Augmentation) -> None:
    images = numbered(16, 1)
    assert len(change(images, generator()).unique(dim=0)) > 8


@pytest.mark.parametrize("change", CHANGES)
def test_values_stay_within_those_of_images(change: Augmentation) -> None:
    images = torch.rand(32, 3, 8, 8)
    changed = change(images, generator())
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= float(images.max())

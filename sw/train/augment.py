"""Augmentation of a batch of training images: each image is changed at random, independently.

`Affine` suits drawings, such as digits. `CropAndFlip` suits photographs and objects that may be
mirrored; it can also apply AutoAugment and cutout (DeVries and Taylor, 2017, arXiv:1708.04552).

Images are uint8, 0..255, or float, 0..1, on any device. Random numbers come from a generator on the
CPU, so all devices draw the same ones.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.train.autoaugment import auto_augment


@dataclass(frozen=True)
class Affine:
    """Rotation, zoom and shift in one resampling; the fields are those of `random_affine`.

    The result is float, 0..1.
    """

    max_rotation: float
    max_zoom: float
    max_shift: float

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return random_affine(
            unit_range(images),
            max_rotation=self.max_rotation,
            max_zoom=self.max_zoom,
            max_shift=self.max_shift,
            generator=generator,
        )


@dataclass(frozen=True)
class CropAndFlip:
    """Shift by whole pixels, mirror with probability 1/2, and cut out a square.

    The result has the type of the images.

    Attributes
    ----------
    max_shift
        Largest shift along each axis, in pixels; drawn uniformly from -max_shift .. max_shift.
        Pixels shifted in from outside are 0.
    cutout
        Edge length in pixels of the square that is set to 0; 0 disables the cutout. The centre may
        be any pixel of the image, so the square may extend over the border.
    auto_augment
        Apply AutoAugment's policy for CIFAR-10 first; the images must be uint8, in colour.
    """

    max_shift: int
    cutout: int = 0
    auto_augment: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.auto_augment:
            images = auto_augment(images, generator)
        count, channels, height, width = images.shape
        limit, device = self.max_shift, images.device
        y, x = torch.randint(0, 2 * limit + 1, (2, count), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        padded = F.pad(images, [limit] * 4)
        rows = y[:, None] + torch.arange(height)
        columns = torch.arange(width).expand(count, width)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns) + x[:, None]
        rows, columns = rows.to(device), columns.to(device)
        image = torch.arange(count, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[None, :, None, None]
        moved = padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
        return self._cut(moved, generator) if self.cutout else moved

    def _cut(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape

        def inside(size: int) -> Tensor:
            first = torch.randint(0, size, (count, 1), generator=generator) - self.cutout // 2
            place = torch.arange(size)
            return ((place >= first) & (place < first + self.cutout)).to(images.device)

        square = inside(height)[:, None, :, None] & inside(width)[:, None, None, :]
        return images.masked_fill(square, 0)


Augmentation = Affine | CropAndFlip


def unit_range(images: Tensor) -> Tensor:
    """Float images in 0..1, from uint8 (0..255) or from float ones."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def random_affine(
    images: Tensor,
    *,
    max_rotation: float,
    max_zoom: float,
    max_shift: float,
    generator: torch.Generator,
) -> Tensor:
    """Rotate, zoom and shift each image by random amounts; pixels from outside are 0.

    Parameters
    ----------
    images
        float (N, C, H, W).
    max_rotation
        Largest rotation, in degrees; the rotation is drawn uniformly from -max .. max.
    max_zoom
        Largest relative change of size; drawn likewise.
    max_shift
        Largest shift along each axis, in pixels; drawn likewise.
    """
    count, _, height, width = images.shape

    def draw(limit: float) -> Tensor:
        return ((torch.rand(count, generator=generator) * 2 - 1) * limit).to(images.device)

    angle = draw(math.radians(max_rotation))
    scale = 1 + draw(max_zoom)
    # Affine grids have coordinates -1 .. 1: one pixel is 2/width.
    shift_x, shift_y = draw(max_shift * 2 / width), draw(max_shift * 2 / height)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack(
        [
            torch.stack([cosine, -sine, shift_x], dim=1),
            torch.stack([sine, cosine, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)

"""Light augmentation of a batch: a small rotation, zoom and shift per image, in one resampling."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def random_affine(
    images: Tensor,
    *,
    max_rotation: float,
    max_zoom: float,
    max_shift: float,
    generator: torch.Generator,
) -> Tensor:
    """Turn, zoom and shift each image by its own random amount; what is outside is 0.

    Parameters
    ----------
    images
        float (N, C, H, W).
    max_rotation
        Degrees, drawn uniformly from both sides of 0.
    max_zoom
        Relative change of size, drawn uniformly from both sides of 0.
    max_shift
        Pixels, in each direction, drawn uniformly from both sides of 0.
    """
    count, _, height, width = images.shape

    def draw(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle = draw(math.radians(max_rotation))
    scale = 1 + draw(max_zoom)
    # Affine grids count in half-widths: one pixel is 2/width.
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

"""AutoAugment's policy for CIFAR-10, on many images at once.

Source: Cubuk et al., "AutoAugment: learning augmentation policies from data", CVPR 2019
(arXiv:1805.09501), appendix: 25 sub-policies of two operations each. Each image draws a
sub-policy; each operation is applied with its probability. The operations on colours agree with
those of Pillow, which the paper uses, to one unit of a pixel.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

# Name, probability and magnitude (0..9) of the two operations of each sub-policy.
_POLICY = """
    Invert 0.1 0, Contrast 0.2 6
    Rotate 0.7 2, TranslateX 0.3 9
    Sharpness 0.8 1, Sharpness 0.9 3
    ShearY 0.5 8, TranslateY 0.7 9
    AutoContrast 0.5 0, Equalize 0.9 0
    ShearY 0.2 7, Posterize 0.3 7
    Color 0.4 3, Brightness 0.6 7
    Sharpness 0.3 9, Brightness 0.7 9
    Equalize 0.6 0, Equalize 0.5 0
    Contrast 0.6 7, Sharpness 0.6 5
    Color 0.7 7, TranslateX 0.5 8
    Equalize 0.3 0, AutoContrast 0.4 0
    TranslateY 0.4 3, Sharpness 0.2 6
    Brightness 0.9 6, Color 0.2 8
    Solarize 0.5 2, Invert 0.0 0
    Equalize 0.2 0, AutoContrast 0.6 0
    Equalize 0.2 0, Equalize 0.6 0
    Color 0.9 9, Equalize 0.6 0
    AutoContrast 0.8 0, Solarize 0.2 8
    Brightness 0.1 3, Color 0.7 0
    Solarize 0.4 5, AutoContrast 0.9 0
    TranslateY 0.9 9, TranslateY 0.7 9
    AutoContrast 0.9 0, Solarize 0.8 3
    Equalize 0.8 0, Invert 0.1 0
    TranslateY 0.7 9, AutoContrast 0.9 0
"""
# Value of the pixels from outside after a geometric operation.
_OUTSIDE = 128
# Red, green and blue in a grey value, as in ITU-R 601-2.
_GREY = (0.299, 0.587, 0.114)


def _parsed(text: str) -> list[list[tuple[str, float, int]]]:
    lines = [line.split(",") for line in text.strip().splitlines()]
    words = [[operation.split() for operation in line] for line in lines]
    return [[(name, float(p), int(m)) for name, p, m in line] for line in words]


POLICY = _parsed(_POLICY)


def auto_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images, uint8 (N, 3, H, W), each changed by a random sub-policy.

    ``generator`` is on the CPU; the images may be on any device.
    """
    count = len(images)
    chosen = torch.randint(0, len(POLICY), (count,), generator=generator)
    chances = torch.rand(2, count, generator=generator)
    signs = torch.randint(0, 2, (2, count), generator=generator) * 2.0 - 1
    result = images.clone()
    for place in (0, 1):
        used = [sub_policy[place] for sub_policy in POLICY]
        applied = chances[place] < torch.tensor([p for _, p, _ in used])[chosen]
        magnitudes = torch.tensor([m / 9 for _, _, m in used])[chosen]
        for name in sorted({name for name, _, _ in used}):
            named = torch.tensor([name == other for other, _, _ in used])[chosen]
            where = (applied & named).nonzero().flatten()
            if len(where):
                index = where.to(images.device)
                size, sign = (v[where].to(images.device) for v in (magnitudes, signs[place]))
                result[index] = OPERATIONS[name](result[index], size, sign)
    return result


# An operation takes images, uint8 (N, 3, H, W), magnitudes 0..1 (N,), and signs -1 or 1 (N,).
Operation = Callable[[Tensor, Tensor, Tensor], Tensor]


def rotate(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Up to 30 degrees around the centre."""
    angle = math.radians(30) * size * sign
    cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _resample(images, (cosine, -sine, zero), (sine, cosine, zero))


def shear_y(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Columns shifted by up to 0.3 of their distance from the centre."""
    zero, one = torch.zeros_like(size), torch.ones_like(size)
    return _resample(images, (one, zero, zero), (0.3 * size * sign, one, zero))


def translate_x(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Shifted by up to 150/331 of the width."""
    zero, one = torch.zeros_like(size), torch.ones_like(size)
    # In `affine_grid` the width is 2.
    return _resample(images, (one, zero, 2 * 150 / 331 * size * sign), (zero, one, zero))


def translate_y(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Shifted by up to 150/331 of the height."""
    zero, one = torch.zeros_like(size), torch.ones_like(size)
    return _resample(images, (one, zero, zero), (zero, one, 2 * 150 / 331 * size * sign))


def brightness(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Multiplied by 0.1 .. 1.9."""
    return _blend(torch.zeros_like(images, dtype=torch.float), images, size, sign)


def color(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Difference from grey multiplied by 0.1 .. 1.9."""
    return _blend(_grey(images), images, size, sign)


def contrast(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Difference from the mean grey multiplied by 0.1 .. 1.9."""
    mean = torch.floor(_grey(images).mean(dim=(1, 2, 3), keepdim=True) + 0.5)
    return _blend(mean, images, size, sign)


def sharpness(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Difference from the smoothed image multiplied by 0.1 .. 1.9; the border stays."""
    channels = images.shape[1]
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5
    kernel = (kernel / kernel.sum()).expand(channels, 1, 3, 3)
    smooth = images.float()
    inner = F.conv2d(smooth, kernel, groups=channels)
    smooth[:, :, 1:-1, 1:-1] = torch.floor(inner + 0.5)
    return _blend(smooth, images, size, sign)


def posterize(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Only the upper 8 .. 4 bits."""
    unit = _column(2 ** torch.round(4 * size)).to(images.dtype)
    return images // unit * unit


def solarize(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Values from a threshold of 255 .. 0 on are inverted."""
    return torch.where(images >= _column(255 * (1 - size)), 255 - images, images)


def invert(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """255 - u."""
    return 255 - images


def auto_contrast(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Each channel stretched to 0..255; a channel of one value stays."""
    low = images.amin(dim=(2, 3), keepdim=True).float()
    high = images.amax(dim=(2, 3), keepdim=True).float()
    stretched = ((images - low) * (255 / (high - low).clamp(min=1))).clamp(0, 255)
    return torch.where(high > low, stretched.to(images.dtype), images)


def equalize(images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """Each channel with a flat histogram, as far as a table of values can make it flat."""
    rows = images.flatten(2).flatten(0, 1).long()
    histogram = torch.zeros(len(rows), 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, rows, torch.ones_like(rows))
    largest = histogram.gather(1, rows.amax(dim=1, keepdim=True))
    step = (rows.shape[1] - largest) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    same = torch.arange(256, device=images.device)
    table = torch.where(step > 0, table, same)
    return table.gather(1, rows).reshape(images.shape).to(images.dtype)


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": auto_contrast,
    "Brightness": brightness,
    "Color": color,
    "Contrast": contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Posterize": posterize,
    "Rotate": rotate,
    "Sharpness": sharpness,
    "ShearY": shear_y,
    "Solarize": solarize,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
}


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    """Grey values (N, 1, H, W), whole numbers as float."""
    red, green, blue = images.float().split(1, dim=1)
    return torch.floor(_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue + 0.5)


def _blend(start: Tensor, images: Tensor, size: Tensor, sign: Tensor) -> Tensor:
    """``start + factor * (images - start)`` with a factor of 1 +- 0.9 * size."""
    factor = _column(1 + 0.9 * size * sign)
    return (start + factor * (images.float() - start)).clamp(0, 255).to(images.dtype)


def _resample(images: Tensor, x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> Tensor:
    """The nearest pixel of each place; ``x`` and ``y`` are the rows of the affine map."""
    matrix = torch.stack([torch.stack(x, dim=1), torch.stack(y, dim=1)], dim=1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    # Outside is 0 for `grid_sample`.
    centred = images.float() - _OUTSIDE
    moved = F.grid_sample(centred, grid, mode="nearest", align_corners=False)
    return (moved + _OUTSIDE).to(images.dtype)

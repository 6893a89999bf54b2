"""AutoAugment: every operation against Pillow, and what the policy draws."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from residuum.sw.train.augment import CropAndFlip
from residuum.sw.train.autoaugment import OPERATIONS, POLICY, auto_augment


def photographs(count: int) -> Tensor:
    """Smooth random images, some of them of few values."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(128, 70, (count, 3, 6, 6)).astype(np.float32))
    images = torch.nn.functional.interpolate(coarse, 32, mode="bicubic").clamp(0, 255).byte()
    images[0] = 7
    images[1] = images[1] // 64 * 64
    images[2, 0] = 255
    return images


def by_pillow(name: str, image: Image.Image, size: float, sign: float) -> Image.Image:
    """The operation as the paper's code applies it; outside of an image is grey."""
    factor = 1 + 0.9 * size * sign
    shift, outside = 32 * 150 / 331 * size * sign, (128, 128, 128)

    def affine(*matrix: float) -> Image.Image:
        return image.transform((32, 32), Image.Transform.AFFINE, matrix, fillcolor=outside)

    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        changed: Image.Image = getattr(ImageEnhance, name)(image).enhance(factor)
        return changed
    operations = {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        "Posterize": lambda: ImageOps.posterize(image, 8 - round(4 * size)),
        "Solarize": lambda: ImageOps.solarize(image, 255 * (1 - size)),
        "Rotate": lambda: image.rotate(30 * size * sign, fillcolor=outside),
        # Around the centre (16, 16).
        "ShearY": lambda: affine(1, 0, 0, 0.3 * size * sign, 1, -16 * 0.3 * size * sign),
        "TranslateX": lambda: affine(1, 0, shift, 0, 1, 0),
        "TranslateY": lambda: affine(1, 0, 0, 0, 1, shift),
    }
    return operations[name]()


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operation_equals_that_of_pillow(name: str) -> None:
    """To one unit; a geometric operation may take a neighbour at the border between two pixels."""
    images = photographs(60)
    size = torch.arange(60) % 10 / 9
    sign = torch.arange(60) // 10 % 2 * 2.0 - 1
    result = OPERATIONS[name](images, size, sign)
    expected = [
        np.asarray(by_pillow(name, Image.fromarray(image.permute(1, 2, 0).numpy()), m, s))
        for image, m, s in zip(images, size.tolist(), sign.tolist(), strict=True)
    ]
    difference = result.permute(0, 2, 3, 1).int() - torch.from_numpy(np.stack(expected)).int()
    assert result.dtype == torch.uint8
    if name in ("Rotate", "ShearY", "TranslateX", "TranslateY"):
        assert (difference != 0).double().mean() < 0.02
    else:
        assert difference.abs().max() <= 1


def test_policy_is_the_published_one() -> None:
    assert len(POLICY) == 25
    names = {name for sub_policy in POLICY for name, _, _ in sub_policy}
    assert names == set(OPERATIONS)


def test_policy_draws_by_the_generator_and_keeps_the_images() -> None:
    images = photographs(200)
    before = images.clone()
    one, two, again = (
        auto_augment(images, torch.Generator().manual_seed(seed)) for seed in (0, 1, 0)
    )
    assert torch.equal(images, before)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    changed = (one != images).flatten(1).any(dim=1).double().mean().item()
    assert 0.6 < changed < 0.9


def test_policy_is_part_of_the_augmentation() -> None:
    images = photographs(20)
    crop = CropAndFlip(max_shift=0, auto_augment=True)
    result = crop(images, torch.Generator().manual_seed(0))
    assert result.dtype == torch.uint8
    only = auto_augment(images, torch.Generator().manual_seed(0))
    for image, other in zip(result, only, strict=True):
        assert torch.equal(image, other) or torch.equal(image, other.flip(2))

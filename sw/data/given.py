"""The images that a Python program gives: arrays, tensors, pictures of Pillow, names of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from PIL import Image

from residuum.sw.data.pictures import Preparation, looked_at
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.integer_network import IntegerNetwork

# A picture, or the path of one.
GivenPicture: TypeAlias = Image.Image | str | os.PathLike[str]


def is_one(network: IntegerNetwork, images: Any) -> bool:
    """Whether this is one image for the network, or one set of spike trains; not several.

    Raises
    ------
    ResiduumError
        If it is neither.
    """
    if _is_picture(images):
        return True
    depth = _depth(images)
    if depth is not None:
        return depth != _dimensions(network) + 1
    if isinstance(images, Iterable) and not isinstance(images, bytes | dict):
        return False
    raise ResiduumError(
        "an image is an array or a tensor (C, H, W), a picture of Pillow, or the path of a "
        "picture; several are an array (N, C, H, W), or images in a list; not "
        f"{type(images).__name__}"
    )


def as_image(network: IntegerNetwork, image: Any) -> np.ndarray:
    """One image as the network reads it, uint8 (C, H, W), or spike trains as they are.

    Numbers must have the network's shape and order of channels, as `load_images` gives them; they
    are not scaled. A picture gets channels and size as the network's preprocessing says.

    Raises
    ------
    ResiduumError
        If it does not fit the network, or a file cannot be read.
    """
    if not _is_picture(image):
        return network.as_image(image) if network.input == IMAGE else image
    if network.input != IMAGE:
        raise ResiduumError(f"network {network.name!r} reads spike trains, not pictures")
    preparation = Preparation.of(network.input_shape, network.preprocessing)
    if isinstance(image, str | os.PathLike):
        return preparation.file(Path(image))
    return preparation.picture(looked_at(image, "the picture"))


def as_images(network: IntegerNetwork, images: Any) -> Iterator[np.ndarray]:
    """Several images, each as from `as_image`, when it is asked for."""
    if network.input == IMAGE and _depth(images) == _dimensions(network) + 1:
        yield from network.as_images(images)
        return
    for number, image in enumerate(images):
        try:
            yield as_image(network, image)
        except ResiduumError as error:
            where = "" if isinstance(image, str | os.PathLike) else f"image {number}: "
            raise ResiduumError(f"{where}{error}") from None


def _dimensions(network: IntegerNetwork) -> int:
    """Those of one input: (C, H, W), and the steps in front of spike trains."""
    return 3 if network.input == IMAGE else 4


def _is_picture(value: Any) -> TypeGuard[GivenPicture]:
    return isinstance(value, str | os.PathLike | Image.Image)


def _depth(value: Any) -> int | None:
    """Dimensions of an array, a tensor, or nested lists of numbers; None of anything else."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    depth = 0
    while isinstance(value, list | tuple):
        if not value:
            return None
        value, depth = value[0], depth + 1
    return depth if depth and isinstance(value, int | float | np.number) else None

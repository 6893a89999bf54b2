"""The descriptor of an image, with which a device packs raw pixels into feature rows."""

from __future__ import annotations

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.image import MAX_IMAGE_BYTES, OUTSIDE_CHANNELS, ImageDescriptor
from residuum.sw.compiler.maps import PackedMap, Plan
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.integer_network import IntegerNetwork


def image_descriptor(
    network: IntegerNetwork, config: EngineConfig, plan: Plan, *, logit_shift: int
) -> ImageDescriptor | None:
    """The descriptor of the images of a network whose input has the layout ``plan``.

    None if a device cannot pack them: the network reads spike trains, an image is larger than
    `MAX_IMAGE_BYTES`, the border has more than `OUTSIDE_CHANNELS` different values, the border and
    lines of zeros around it are needed both, or the engine has no room for the descriptor.
    """
    if network.input != IMAGE or not ImageDescriptor.fits(config):
        return None
    channels, height, width = network.input_shape
    if channels * height * width > MAX_IMAGE_BYTES:
        return None
    top, _, left, _ = network.pad.sides if network.pad else (0, 0, 0, 0)
    packed = isinstance(plan, PackedMap)
    bands, lines, step, padding = (
        (plan.bands, plan.lines, plan.step, plan.padding)
        if isinstance(plan, PackedMap)
        else (plan.shape[1], 1, 1, 0)
    )
    last_line = (bands - 1) * step - padding + lines - 1
    outside = _outside(network, zeros=padding > 0 or last_line >= plan.shape[1])
    if outside is None:
        return None
    last_channel = (channels - 1) * height * width
    last_of_position = last_channel + (lines - 1) * width
    last_of_band = last_of_position + plan.shape[2] - 1
    descriptor = ImageDescriptor(
        pixels=channels * height * width - 1,
        start=(-(padding + top) * width - left) % MAX_IMAGE_BYTES,
        channel_step=height * width % MAX_IMAGE_BYTES,
        line_step=(width - last_channel) % MAX_IMAGE_BYTES,
        position_step=(1 - last_of_position) % MAX_IMAGE_BYTES,
        band_step=(step * width - last_of_band) % MAX_IMAGE_BYTES,
        outside=outside,
        channels=channels - 1,
        lines=lines - 1,
        bands=bands - 1,
        step=step,
        width=width,
        height=height,
        left=-left,
        present=1,
        aligned=int(not packed),
        top=-(padding + top),
        right=plan.shape[2] - left - 1,
        layers=len(network.layers) - 1,
        logit_shift=logit_shift,
        row=plan.row,
        classes=network.classes - 1,
    )
    try:
        descriptor.words()
    except ValueError:
        return None
    return descriptor


def _outside(network: IntegerNetwork, *, zeros: bool) -> int | None:
    """The values outside the image, as in `ImageDescriptor.outside`; with ``zeros``, there are
    lines outside the border too, which are 0."""
    if network.pad is None or not any(network.pad.sides):
        return 0
    values = np.array(network.pad.pixel).astype(np.uint8).tolist()
    if len(set(values)) == 1:
        values = values[:1] * OUTSIDE_CHANNELS
    if len(values) > OUTSIDE_CHANNELS or (zeros and any(values)):
        return None
    return sum(value << 8 * channel for channel, value in enumerate(values))

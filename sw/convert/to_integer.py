"""From a float QCFS network to the integer network (docs/arithmetic.md gives the formulas)."""

from dataclasses import dataclass

import numpy as np
import torch

from residuum.sw.convert.quantize import quantize_weights, weight_scales
from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.integer_network import LARGEST_PIXEL, PIXELS, SPIKES, IntegerNetwork, Layer

SPIKE_FRACTION_BITS = 4
# A pixel adds 0..255 times the weight, so the current needs no fraction bits.
PIXEL_FRACTION_BITS = 0


@dataclass(frozen=True)
class FractionBits:
    """f of the layer with pixels as input, and of the layers with spikes as input."""

    pixels: int = PIXEL_FRACTION_BITS
    spikes: int = SPIKE_FRACTION_BITS


def to_integer(
    network: FloatNetwork,
    *,
    bits: int,
    fraction_bits: FractionBits | None = None,
    metadata: dict[str, str] | None = None,
) -> IntegerNetwork:
    """Round weights, biases and thresholds to integers.

    A is the amplitude of one input spike: 1/255 for the image, else theta of the layer before, both
    divided by the area of the pooling window. s_c is the weight scale.

        W  = round(w / s_c)
        B  = round(b / (A s_c) * 2**f)
        TH = round(theta / (A s_c) * 2**f), at least 1

    Parameters
    ----------
    bits
        Bits of the signed weights.
    fraction_bits
        f per kind of layer; None means 0 for pixels and 4 for spikes.
    metadata
        Added to the metadata of the conversion itself (the levels L).

    Raises
    ------
    ResiduumError
        If a threshold is not positive, or the result breaks a rule of ``IntegerNetwork``.
    """
    fractions = fraction_bits or FractionBits()
    layers = []
    amplitude = 1 / LARGEST_PIXEL
    for index, layer in enumerate(network.layers):
        coding, fraction = (PIXELS, fractions.pixels) if index == 0 else (SPIKES, fractions.spikes)
        layers.append(
            _convert_layer(layer, amplitude, bits=bits, coding=coding, fraction_bits=fraction)
        )
        amplitude = layer.threshold or 0.0
    return IntegerNetwork(
        name=network.name,
        input_shape=network.input_shape,
        layers=tuple(layers),
        weight_bits=bits,
        metadata={"levels": str(network.levels), **(metadata or {})},
    )


def _convert_layer(
    layer: FloatLayer, amplitude: float, *, bits: int, coding: str, fraction_bits: int
) -> Layer:
    output = layer.threshold is None
    if layer.threshold is not None and not layer.threshold > 0:
        raise ResiduumError(
            f"layer {layer.name!r} has the threshold {layer.threshold}; it must be positive"
        )
    weight = torch.from_numpy(layer.weight)
    scales = weight_scales(weight, bits, shared=output)
    integers = quantize_weights(weight, scales, bits).numpy().astype(np.int32)
    # Pooling sums; dividing the amplitude of a spike by the area replaces the mean.
    unit = amplitude / (layer.pool[0] * layer.pool[1]) * scales.numpy() / 2**fraction_bits
    threshold = None
    if layer.threshold is not None:
        threshold = np.maximum(np.rint(layer.threshold / unit), 1).astype(np.int64)
    return Layer(
        name=layer.name,
        weight=integers,
        bias=np.rint(layer.bias / unit).astype(np.int64),
        threshold=threshold,
        coding=coding,
        fraction_bits=fraction_bits,
        stride=layer.stride,
        padding=layer.padding,
        pool=layer.pool,
    )

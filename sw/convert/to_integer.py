"""From a float QCFS network to the integer network (docs/arithmetic.md gives the formulas)."""

from dataclasses import dataclass

import numpy as np
import torch

from residuum.sw.convert.quantize import quantize_weights, weight_scales
from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.integer_network import LARGEST_PIXEL, PIXELS, SPIKES, IntegerNetwork, Layer

SPIKE_FRACTION_BITS = 4
# A pixel adds up to 255 times the weight, so the current is fine enough without a fraction.
PIXEL_FRACTION_BITS = 0


@dataclass(frozen=True)
class FractionBits:
    """f of the layer that sees pixels and of the layers that see spikes."""

    pixels: int = PIXEL_FRACTION_BITS
    spikes: int = SPIKE_FRACTION_BITS


def to_integer(
    network: FloatNetwork,
    *,
    bits: int,
    fraction_bits: FractionBits | None = None,
    metadata: dict[str, str] | None = None,
) -> IntegerNetwork:
    """Round weights, biases and thresholds to the integers of the contract.

    With the amplitude A of one input spike (1/255 for the image, theta of the layer before else,
    both divided by the area of the pooling window) and the weight scale s_c:

        W  = round(w / s_c)
        B  = round(b / (A s_c) * 2**f)
        TH = round(theta / (A s_c) * 2**f), at least 1

    Parameters
    ----------
    bits
        Bits of the signed weights.
    fraction_bits
        f per kind of layer; 0 for pixels and 4 for spikes unless given.
    metadata
        Added to what the conversion itself knows (the levels L).

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
    # Pooling is summed, never divided: the division becomes a smaller spike.
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

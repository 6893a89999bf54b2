"""A network in the terms of one engine: the same map values, with the engine's f and h."""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Correction
from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import CARRY
from residuum.sw.network.graph import HALF, Source
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer

# Beyond the parameters of any engine, and within those of any layer.
_TOO_LARGE = 1 << 40


class Terms(Protocol):
    """What matters of an engine."""

    @property
    def fraction_bits(self) -> int: ...

    @property
    def shift_bits(self) -> int: ...

    @property
    def weight_bits(self) -> int: ...


class _Terms(NamedTuple):
    fraction_bits: int
    shift_bits: int
    weight_bits: int


def as_run(network: IntegerNetwork, config: EngineConfig) -> IntegerNetwork:
    """The network with the fraction bits and shifts of an engine, and with the sources of each
    layer in the order of the engine.

    Every map has the same values. The logits are larger by a factor of 2**`logit_shift`. A layer
    for which no exact form exists stays as it is; `fault_of_fraction` and `fault_of_shift` name it.

    *Fraction bits.* A layer with f below the engine's F gets f = F, and B and TH times 2**d, where
    d = F - f. Let v be a potential of the layer, and w that of the engine. Every current is 2**d
    times as large. With start "zero" both start at 0. With "half", w starts at 2**d TH >> 1, which
    is 2**d (TH >> 1) + e with e = 2**(d-1) (TH & 1). So at all times, after every current, every
    spike and every restart,

        w = 2**d v + e,  0 <= e < 2**d.

    It follows that w >= 2**d TH exactly if v >= TH, and w < 0 exactly if v < 0: spikes and mask are
    the same, for odd thresholds too. The same holds for the tests w >= 2**d TH << k of radix code,
    where v starts with the whole current.

    *Strict neurons.* There u = v + 1 starts at V0 + 1 = TH >> 1 or 0, and the neuron fires if
    u > TH. The engine fires if w > 2**d TH, with w = 2**d u + e. For e = 0 this is u > TH. For
    e > 0 it also holds at u = TH, so an odd threshold with start "half" has no exact form.

    *Shift.* A second source with h weights has 2**h W' = 2**g W'' for g = 0 or the engine's H,
    wherever W'' is an integer that fits the engine's weights.

    *Order.* The engine's second source is a 1 x 1 convolution. If only the first is one, and h = 0,
    they change places.
    """
    return _as_run(network, config.fraction_bits, config.shift_bits, config.weight_bits)


# Many engines have the same f, h and weights.
@lru_cache(maxsize=8)
def _as_run(
    network: IntegerNetwork, fraction_bits: int, shift_bits: int, weight_bits: int
) -> IntegerNetwork:
    terms = _Terms(fraction_bits, shift_bits, weight_bits)
    layers = tuple(_layer_as_run(network, layer, terms) for layer in network.layers)
    if all(new is old for new, old in zip(layers, network.layers, strict=True)):
        return network
    try:
        return replace(network, layers=layers, weight_bits=_weight_bits(layers))
    except ResiduumError:
        # A current beyond all engines, which the network as it is has too.
        return network


def logit_shift(network: IntegerNetwork, config: EngineConfig) -> int:
    """The logits of the engine are 2**shift times those of the network."""
    return as_run(network, config).layers[-1].fraction_bits - network.layers[-1].fraction_bits


def reads_numbers(network: IntegerNetwork, layer: Layer) -> bool:
    """Whether the slots of a layer's input are the bits of numbers."""
    return network.code == RADIX or network.reads_image(layer)


def can_be_second(source: Source) -> bool:
    """Whether the engine can read a source as a second one: a window is a single position."""
    return source.kernel == source.pool == (1, 1) and not any(source.padding)


def fault_of_fraction(network: IntegerNetwork, layer: Layer, config: Terms) -> str | None:
    """Why the engine has no exact form of a layer's f, as a sentence; None if it has one."""
    f, most = layer.fraction_bits, config.fraction_bits
    if f > most:
        return f"layer {layer.name!r} has {f} fraction bits; this engine has {most}"
    if f == most or reads_numbers(network, layer) or layer.threshold is None:
        return None
    odd = np.flatnonzero(layer.threshold % 2)
    if layer.strict and layer.start == HALF and len(odd):
        return (
            f"layer {layer.name!r}, channel {odd[0]}: it fires strictly above an odd threshold and "
            f"starts at half of it, which needs {most} fraction bits on this engine, not {f}"
        )
    return None


def fault_of_shift(layer: Layer, config: Terms) -> str | None:
    """Why the engine has no exact form of a layer's h, as a sentence; None if it has one."""
    if len(layer.sources) == 1 or _shifted(layer, config) is not None:
        return None
    shifts = f"0 or {config.shift_bits}" if config.shift_bits else "0"
    return (
        f"layer {layer.name!r} has a second source with h = {layer.shift}; this engine has {shifts}"
    )


def _layer_as_run(network: IntegerNetwork, layer: Layer, config: Terms) -> Layer:
    if len(layer.sources) == 2:
        first, second = layer.sources
        if layer.shift == 0 and can_be_second(first) and not can_be_second(second):
            layer = replace(layer, sources=(second, first))
        elif (shifted := _shifted(layer, config)) is not None and shifted[1] != layer.shift:
            weight, shift = shifted
            layer = replace(layer, sources=(first, replace(second, weight=weight)), shift=shift)
    missing = config.fraction_bits - layer.fraction_bits
    if missing <= 0 or fault_of_fraction(network, layer, config):
        return layer
    if layer.fraction_bits == 0 and reads_numbers(network, layer):
        return layer
    return replace(
        layer,
        fraction_bits=config.fraction_bits,
        bias=_scaled(layer.bias, missing),
        threshold=None if layer.threshold is None else _scaled(layer.threshold, missing),
    )


def _scaled(values: np.ndarray, shift: int) -> np.ndarray:
    return np.clip(values << shift, -_TOO_LARGE, _TOO_LARGE)


def _shifted(layer: Layer, config: Terms) -> tuple[np.ndarray, int] | None:
    """Weights of the second source and their shift, 0 or the engine's; None if there are none."""
    weight = layer.sources[1].weight
    if layer.shift in (0, config.shift_bits):
        return weight, layer.shift
    limit = 1 << config.weight_bits - 1
    wide = weight.astype(np.int64) << layer.shift
    for shift in {0, config.shift_bits}:
        narrow = wide >> shift
        exact = np.array_equal(narrow << shift, wide)
        if exact and int(narrow.min()) >= -limit and int(narrow.max()) < limit:
            return narrow.astype(np.int32), shift
    return None


def _weight_bits(layers: tuple[Layer, ...]) -> int:
    """Bits of the widest weight, 2 at least."""
    weights = [source.weight for layer in layers for source in layer.sources]
    low = min(int(weight.min()) for weight in weights)
    high = max(int(weight.max()) for weight in weights)
    return max(2, max(high, ~low).bit_length() + 1)


def engine_code(correction: str) -> Correction:
    """A correction of ``ON_ENGINE`` as the engine has it; without a probe both give the same."""
    return Correction.CARRY if correction == CARRY else Correction.MASK

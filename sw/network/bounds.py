"""Bounds of every number in a layer of an integer network, from its actual weights."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from residuum.sw.network.integer_network import MAX_STEPS, Layer


class Inputs(Protocol):
    """What bounds need of a network; the conversion has no network yet when it chooses f."""

    def largest_inputs(self, layer: Layer) -> tuple[int, ...]:
        """Largest number of each source of a layer."""


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest possible values in a layer, int64 (out_channels,) each.

    Attributes
    ----------
    acc_min, acc_max
        The weight sum of one time step, or of one bit-plane of maps that hold numbers, partial sums
        included. The second source counts with its shift.
    current_min, current_max
        I, with bias.
    potential_min, potential_max
        The membrane potential over all steps, with the intermediate values v+I and v+I-TH; in radix
        code with v-(TH << k). Output layer: the running sum of I(t).
    """

    acc_min: np.ndarray
    acc_max: np.ndarray
    current_min: np.ndarray
    current_max: np.ndarray
    potential_min: np.ndarray
    potential_max: np.ndarray


def bounds(network: Inputs, layer: Layer, steps: int) -> Bounds:
    """Bounds of a layer for a stage of ``steps`` steps without a restart; in radix code, 1.

    `residuum.sw.network.corrections.longest_stage` gives the steps of a run: max(tau, T), or with
    carry, whose hidden layers never restart, tau + T.

    Each input of the window may or may not fire, independently, so the weight sum lies between the
    sum of the negative and the sum of the positive weights. With h x w pooling, h*w spikes can each
    add the same weight. The potential follows by interval arithmetic, step by step.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be 1 .. {MAX_STEPS}, not {steps!r}")
    acc_min, acc_max = (np.zeros(layer.out_channels, np.int64) for _ in range(2))
    current_min, current_max = layer.bias, layer.bias
    for source, factor, largest in zip(
        layer.sources, layer.factors, network.largest_inputs(layer), strict=True
    ):
        rows = source.weight.reshape(layer.out_channels, -1).astype(np.int64) * source.pool_area
        low, high = np.minimum(rows, 0).sum(axis=1), np.maximum(rows, 0).sum(axis=1)
        acc_min = acc_min + low * (factor >> layer.fraction_bits)
        acc_max = acc_max + high * (factor >> layer.fraction_bits)
        current_min = current_min + low * factor * largest
        current_max = current_max + high * factor * largest
    if layer.threshold is None:
        potential = np.minimum(current_min * steps, 0), np.maximum(current_max * steps, 0)
        potential = np.minimum(potential[0], current_min), np.maximum(potential[1], current_max)
    else:
        if layer.bits is None:
            stages = [(current_min, current_max, layer.threshold)] * steps
        else:
            zero = np.zeros(layer.out_channels, np.int64)
            stages = [(zero, zero, layer.threshold << k) for k in reversed(range(layer.bits))]
            stages[0] = (current_min, current_max, stages[0][2])
        potential = _potential_bounds(layer.start_potential, stages)
    return Bounds(acc_min, acc_max, current_min, current_max, *potential)


def _potential_bounds(
    start: np.ndarray, stages: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Interval arithmetic on v through stages of v+I and the reset.

    A stage is the smallest and the largest I, and the threshold.
    """
    low = high = lowest = highest = start
    for current_min, current_max, threshold in stages:
        before_low, before_high = low + current_min, high + current_max
        lowest = np.minimum(lowest, before_low - threshold)
        highest = np.maximum(highest, before_high)
        can_rest, can_fire = before_low < threshold, before_high >= threshold
        # A neuron that rests keeps v+I, at most TH-1; one that fires keeps v+I-TH, at least 0.
        rest_high = np.minimum(before_high, threshold - 1)
        fire_low = np.maximum(before_low - threshold, 0)
        low = np.where(
            can_rest, np.where(can_fire, np.minimum(before_low, fire_low), before_low), fire_low
        )
        high = np.where(
            can_fire,
            np.where(
                can_rest, np.maximum(before_high - threshold, rest_high), before_high - threshold
            ),
            before_high,
        )
    return np.minimum(lowest, low), np.maximum(highest, high)


def signed_bits(smallest: int, largest: int) -> int:
    """Bits of the two's-complement number that holds ``smallest`` .. ``largest``."""
    return max((~value if value < 0 else value).bit_length() for value in (smallest, largest)) + 1

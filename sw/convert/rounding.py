"""Integer weights of a layer: scales, the shift of the second source, and the rounding.

All numbers here are currents: a weight times what one unit of its source is worth (A), and the
*unit* of an output channel, which is what 1 of its integer current is worth: u = A s_c.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residuum.sw.convert.compensation import compensated, descend, errors, nearest
from residuum.sw.convert.quantize import largest_weight, quantize_weights, weight_scales
from residuum.sw.convert.statistics import Statistics
from residuum.sw.convert.windows import blocks, is_identity, rows
from residuum.sw.network.float_network import FloatLayer

# Units that are tried, as shares of the unit at which the largest weight just fits.
_SHARES = torch.linspace(0.3, 1.0, 29, dtype=torch.float64)
# More where the unit must divide an identity, and an exact unit may be a larger one.
_LARGER_SHARES = torch.tensor([1.2, 1.4, 1.7, 2.0, 2.4, 3.0], dtype=torch.float64)
# Unit of a channel without weights over its smallest unit: threshold and bias have many digits, and
# room in their registers.
_DEAD = 16
# Numbers in the arrays of the units that are tried at once.
_MOST_NUMBERS = 1 << 23
# Products for all units that are tried; fewer are tried in larger layers.
_MOST_PRODUCTS = 1 << 36


@dataclass(frozen=True)
class Rounded:
    """The integers of a layer, and what they lose.

    Attributes
    ----------
    weights
        W of each source, int32, in its shape.
    unit
        float64 (out,): what 1 of the current is worth, before the factor 2**f.
    bias
        float64 (out,): the bias that goes with the weights, as a current.
    shift
        h of the second source.
    error
        float64 (out,): mean squared error of the current on calibration images; without them the
        squared error of the weights.
    coarse
        float64 (out,): unit over the best unit of the first source alone; above 1 where an identity
        or the registers ask for a coarser one.
    """

    weights: tuple[np.ndarray, ...]
    unit: np.ndarray
    bias: np.ndarray
    shift: int
    error: np.ndarray
    coarse: np.ndarray


def exact_source(layer: FloatLayer) -> int | None:
    """Number of the source that integers represent exactly: the first identity of two sources."""
    if len(layer.sources) < 2:
        return None
    return next((i for i, source in enumerate(layer.sources) if is_identity(source)), None)


def free_sources(layer: FloatLayer) -> list[int]:
    """Numbers of the sources whose weights are rounded."""
    exact = exact_source(layer)
    return [i for i in range(len(layer.sources)) if i != exact]


def weights_of(layer: FloatLayer, worth: list[float]) -> Tensor:
    """The weights of the free sources as currents, (g, out / g, d), for the worth of a unit of
    each source."""
    free = free_sources(layer)
    g = blocks([layer.sources[i] for i in free])
    return torch.cat([rows(layer.sources[i], g) * worth[i] for i in free], dim=2)


def round_layer(
    layer: FloatLayer,
    worth: list[float],
    *,
    bits: int,
    shift: int,
    smallest_unit: np.ndarray,
    statistics: Statistics | None = None,
    compensate: bool = False,
) -> Rounded:
    """Choose the units of the output channels and h, and round the weights.

    Parameters
    ----------
    worth
        What one unit of each source is worth.
    bits
        Bits of the signed weights.
    shift
        H: h is 0 or H, whichever has the smaller error.
    smallest_unit
        float64 (out,): the units that keep threshold and bias in their registers.
    statistics
        Of the free sources, for the error of the current; None: the error of the weights counts.
    compensate
        Round with compensation, to the target of the statistics; the mean error goes to the bias.
    """
    if len(layer.sources) == 1 and statistics is None:
        return _alone(layer, worth[0], bits, smallest_unit)
    found = [
        _Problem(layer, worth, bits, h, smallest_unit, statistics, compensate).solved()
        for h in ((0,) if len(layer.sources) == 1 else (0, shift))
    ]
    return min(found, key=lambda each: float(each.error.sum()))


def _alone(layer: FloatLayer, worth: float, bits: int, smallest_unit: np.ndarray) -> Rounded:
    """The nearest integers of a single source, with the scales of `weight_scales`."""
    weight = torch.from_numpy(layer.source.weight)
    shared = layer.threshold is None
    scales = weight_scales(weight, bits, shared=shared)
    lowest = torch.from_numpy(smallest_unit) / worth
    best = scales
    dead = (weight == 0).flatten(1).all(dim=1) & (lowest > 0)
    if not shared:
        scales = torch.where(dead, lowest * _DEAD, torch.maximum(scales, lowest))
    else:
        scales = torch.maximum(scales, lowest.max())
    integers = quantize_weights(weight, scales, bits)
    lost = (weight - integers * scales[:, None, None, None]) * worth
    return Rounded(
        weights=(integers.numpy().astype(np.int32),),
        unit=worth * scales.numpy(),
        bias=layer.bias,
        shift=0,
        error=lost.square().flatten(1).sum(dim=1).numpy(),
        coarse=(scales / best).numpy(),
    )


class _Problem:
    """One layer with one h; arrays are (g, out / g) and (g, out / g, d)."""

    def __init__(
        self,
        layer: FloatLayer,
        worth: list[float],
        bits: int,
        h: int,
        smallest_unit: np.ndarray,
        statistics: Statistics | None,
        compensate: bool,
    ) -> None:
        self.layer, self.worth, self.h, self.statistics = layer, worth, h, statistics
        self.bits, self.limit = bits, largest_weight(bits)
        self.shared = layer.threshold is None
        # For the compensation; without it None.
        self.gram = statistics.gram if statistics is not None and compensate else None
        self.free, self.exact = free_sources(layer), exact_source(layer)
        sources = [layer.sources[i] for i in self.free]
        self.g = blocks(sources)
        self.target = weights_of(layer, worth)
        if statistics is not None and compensate:
            self.target = statistics.target
        self.factor = torch.cat(
            [
                torch.full((rows(s, self.g).shape[2],), self.factor_of(i), dtype=torch.float64)
                for i, s in zip(self.free, sources, strict=True)
            ]
        )
        self.smallest = self.in_blocks(torch.from_numpy(smallest_unit))
        self.identity = self._identity()

    def factor_of(self, source: int) -> float:
        """What the engine multiplies the weights of a source by."""
        return float(1 << self.h) if source == 1 else 1.0

    def in_blocks(self, values: Tensor) -> Tensor:
        return values.reshape(self.g, -1)

    def _identity(self) -> Tensor:
        """The current of 1 in the exact source over its factor, 0 where a channel reads none."""
        channels = torch.zeros(self.layer.out_channels, dtype=torch.float64)
        if self.exact is not None:
            weight = torch.from_numpy(self.layer.sources[self.exact].weight).flatten(1).sum(dim=1)
            channels = weight * self.worth[self.exact] / self.factor_of(self.exact)
        return self.in_blocks(channels)

    def allowed(self, unit: Tensor) -> Tensor:
        """The nearest units from ``unit`` (..., g, out / g) on that are allowed."""
        unit = torch.maximum(unit, self.smallest)
        # A unit of which the identity is a whole multiple; the small number is for exact quotients.
        times = torch.floor(self.identity / unit * (1 + 1e-12)).clamp(1, self.limit)
        unit = torch.where(self.identity > 0, self.identity / times, unit)
        if self.shared:
            unit = unit.amax(dim=(-2, -1), keepdim=True).expand_as(unit)
        return torch.maximum(unit, self.smallest)

    def largest_units(self) -> Tensor:
        """The units at which the largest weight of each channel just fits."""
        full = (self.target.abs() / self.factor).amax(dim=2) / self.limit
        if self.shared:
            full = full.amax().expand_as(full)
        dead = torch.where(self.smallest > 0, self.smallest * _DEAD, torch.ones_like(full))
        return torch.where(full > 0, full, torch.where(self.identity > 0, self.identity, dead))

    def rounded(self, unit: Tensor, target: Tensor, refine: bool = False) -> Tensor:
        """Integers (g, rows, d) for units (g, rows)."""
        step = unit[:, :, None] * self.factor
        if self.gram is None:
            return nearest(target, step, self.limit)
        weight = compensated(target, step, self.gram, self.limit)
        return descend(weight, target, step, self.gram, self.limit) if refine else weight

    def errors(self, integers: Tensor, unit: Tensor, target: Tensor) -> Tensor:
        difference = target - integers * unit[:, :, None] * self.factor
        if self.statistics is None:
            return difference.square().sum(dim=2)
        return errors(difference, self.statistics.gram)

    def best_units(self) -> Tensor:
        """The units with the smallest errors of those that are tried."""
        full = self.largest_units()
        best, smallest = self.allowed(full), torch.full_like(full, torch.inf)
        shares = self._shares()
        at_once = max(1, _MOST_NUMBERS // self.target.numel())
        for part in shares.split(at_once):
            tried = self.allowed(part[:, None, None] * full)
            unit = tried.transpose(0, 1).flatten(1, 2)
            target = self.target.repeat(1, len(part), 1)
            found = self.errors(self.rounded(unit, target), unit, target)
            found = found.reshape(self.g, len(part), -1).transpose(0, 1)
            if self.shared:
                found = found.sum(dim=(1, 2), keepdim=True).expand_as(found)
            for each, error in zip(tried, found, strict=True):
                # "<=" prefers the larger unit, so nothing is clipped without gain.
                better = error <= smallest
                smallest = torch.where(better, error, smallest)
                best = torch.where(better, each, best)
        return best

    def _shares(self) -> Tensor:
        products = self.target.numel() * (1 if self.gram is None else self.target.shape[2])
        count = max(3, min(len(_SHARES), _MOST_PRODUCTS // products))
        shares = _SHARES[torch.linspace(0, len(_SHARES) - 1, count).round().long()]
        return shares if self.exact is None else torch.cat([shares, _LARGER_SHARES])

    def solved(self) -> Rounded:
        unit = self.best_units()
        integers = self.rounded(unit, self.target, refine=True)
        return Rounded(
            weights=self._weights(integers, unit.flatten()),
            unit=unit.flatten().numpy().copy(),
            bias=self._bias(integers, unit),
            shift=self.h,
            error=self.errors(integers, unit, self.target).flatten().numpy(),
            coarse=(unit.flatten() / self._alone()).numpy(),
        )

    def _alone(self) -> Tensor:
        """The best units (out,) of the first free source alone."""
        first = self.free[0]
        weight = torch.from_numpy(self.layer.sources[first].weight)
        scales = weight_scales(weight, self.bits, shared=self.shared)
        return scales * self.worth[first] / self.factor_of(first)

    def _bias(self, integers: Tensor, unit: Tensor) -> np.ndarray:
        if self.statistics is None or self.gram is None:
            return self.layer.bias
        weight = integers * unit[:, :, None] * self.factor
        explained = torch.einsum("grd,gd->gr", weight, self.statistics.mean)
        bias: np.ndarray = (self.statistics.current - explained).flatten().numpy()
        return bias

    def _weights(self, integers: Tensor, unit: Tensor) -> tuple[np.ndarray, ...]:
        """The integers of every source, the exact one included, in its own shape."""
        result: dict[int, Any] = {}
        first = 0
        for i in self.free:
            source = self.layer.sources[i]
            depth = source.weight[0].size
            result[i] = integers[:, :, first : first + depth].reshape(source.weight.shape)
            first += depth
        if self.exact is not None:
            source = self.layer.sources[self.exact]
            step = unit * self.factor_of(self.exact) / self.worth[self.exact]
            weight = torch.from_numpy(source.weight) / step[:, None, None, None]
            result[self.exact] = weight.round().clamp(-self.limit, self.limit)
        return tuple(result[i].numpy().astype(np.int32) for i in sorted(result))

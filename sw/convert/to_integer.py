"""From a float network to the integer network (docs/arithmetic.md gives the formulas)."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residuum.sw.convert.currents import check_images, float32, float_current, in_chunks
from residuum.sw.convert.rounding import (
    Rounded,
    exact_source,
    free_sources,
    round_layer,
    weights_of,
)
from residuum.sw.convert.statistics import Statistics, statistics
from residuum.sw.errors import ResiduumError
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import clipped, convolve, max_pooled, rounded_to
from residuum.sw.network.graph import HALF, IMAGE, INPUT, Pad
from residuum.sw.network.integer_network import (
    LARGEST_PIXEL,
    RADIX,
    RATE,
    IntegerNetwork,
    Layer,
)
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.threads import no_spinning_threads

SPIKE_FRACTION_BITS = 4
# A pixel adds 0..255 times the weight, so the current needs no fraction bits.
PIXEL_FRACTION_BITS = 0
# K of the maps in radix code, potential bits of the engine, and H, the shift of second sources.
MAP_BITS = 6
POTENTIAL_BITS = 24
SHIFT = 4
# How much of the errors of earlier layers a layer with compensated weights makes up for.
FEEDBACK = 1.0
# Numbers in the second moments of a layer: 1 GB.
_MOST_MOMENTS = 1 << 27


@dataclass(frozen=True)
class FractionBits:
    """f of the layers with pixels as input, and the f that other layers may have.

    In radix code, layers with pixels may have ``spikes`` too, if it fits.
    """

    pixels: int = PIXEL_FRACTION_BITS
    spikes: int = SPIKE_FRACTION_BITS


@dataclass(frozen=True)
class Loss:
    """What the rounding of a layer costs.

    Attributes
    ----------
    name
        Of the layer.
    shift, fraction_bits
        h and f that were chosen.
    potential_bits
        Bits that the potential needs.
    unit
        float64 (out,): what 1 of the integer current is worth before the factor 2**f, A s_c.
    error
        float64 (out,): mean squared error of the current over its variance, on calibration images;
        without them the squared error of the weights over their square. NaN for constant channels.
    coarse
        float64 (out,): unit of the channel over the best unit of its own weights. Above 1 where an
        identity or the registers of threshold and bias ask for a coarser one.
    silent
        Channels whose weights are all rounded to 0, but were not 0.
    """

    name: str
    shift: int
    fraction_bits: int
    potential_bits: int
    unit: np.ndarray
    error: np.ndarray
    coarse: np.ndarray
    silent: tuple[int, ...]


@dataclass(frozen=True)
class Conversion:
    """An integer network, and what each layer lost on the way to it.

    Attributes
    ----------
    rounded
        The float network with the worth of the integer weights in place of its own, and with the
        biases that go with them.
    """

    network: IntegerNetwork
    rounded: FloatNetwork
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class _Settings:
    bits: int
    code: str
    map_bits: int
    potential_bits: int
    fractions: FractionBits
    shift: int
    compensate: bool
    steps: int | None

    @property
    def largest(self) -> int:
        """The largest number of a map, for a spike or a number of worth A."""
        return (1 << self.map_bits) - 1 if self.code == RADIX else 1


@dataclass(frozen=True)
class _Maps:
    """A map on the calibration images (N, C, H, W): the numbers that the integers give, in units of
    A, and the activations of the float network."""

    numbers: Tensor
    exact: Tensor


def to_integer(network: FloatNetwork, **options: Any) -> IntegerNetwork:
    """The network of `convert`, which has the same options."""
    return convert(network, **options).network


def convert(
    network: FloatNetwork,
    *,
    bits: int,
    code: str = RATE,
    map_bits: int = MAP_BITS,
    potential_bits: int = POTENTIAL_BITS,
    fraction_bits: FractionBits | None = None,
    shift: int = SHIFT,
    steps: int | None = None,
    images: np.ndarray | None = None,
    compensate: bool = False,
    metadata: dict[str, str] | None = None,
    reporter: Reporter = SILENT,
) -> Conversion:
    """Round weights, biases and thresholds to integers.

    A is the worth of 1 in a map: 1/255 in the image, 1 in spike trains, lambda in rate code and
    lambda / (2**K - 1) in radix code; for a source with average pooling, over the area of its
    window. A layer has theta = A of its own map, and s_c is the weight scale of a channel.

        W  = round(w / s_c)                   W' = round(w' A' / (A s_c 2**h))
        B  = round(b / (A s_c) * 2**f)        TH = round(theta / (A s_c) * 2**f), at least 1

    An identity among two sources is exact: s_c is chosen so that its weight is a whole number.
    h is 0 or H, whichever gives the smaller squared error.

    Parameters
    ----------
    bits
        Bits of the signed weights.
    code
        "rate" or "radix".
    map_bits
        K of all maps, in radix code.
    potential_bits
        Bits of the membrane potential. f is ``fraction_bits`` where the potential fits with it,
        else 0. A floor of the scales keeps TH and B of channels with tiny weights in range.
    fraction_bits
        None means 0 for pixels in rate code, and 4 else.
    shift
        H.
    steps
        max(tau, T) of the runs in rate code, for the choice of f and the rounding of activations;
        None: f does not depend on the potential.
    images
        Calibration images, uint8 (N, C, H, W): errors are errors of currents on them. None: errors
        of weights.
    compensate
        Round with compensation; needs images.
    metadata
        Added to the metadata of the float network, and to the levels L.
    reporter
        Counts the layers.

    Raises
    ------
    ResiduumError
        If a layer has no finite threshold, the images do not fit, or the result breaks a rule of
        ``IntegerNetwork``. A potential that needs more than ``potential_bits`` at f = 0 is no
        error: `Loss.potential_bits` tells.
    """
    settings = _Settings(
        bits, code, map_bits, potential_bits, fraction_bits or FractionBits(), shift, compensate,
        steps,
    )  # fmt: skip
    _check(network, settings, images)
    levels = {} if network.levels is None else {"levels": str(network.levels)}
    work = _Work(network, settings)
    count = len(network.layers)
    with (
        no_spinning_threads(),
        torch.no_grad(),
        reporter.task("round the weights", total=count, unit="layers") as task,
    ):

        def step(index: int, layer: FloatLayer, inputs: list[_Maps | None]) -> _Maps | None:
            result = work.convert(index, layer, inputs)
            task.advance()
            return result

        network.walk(_input(network, images), step)
    result = IntegerNetwork(
        name=network.name,
        input_shape=network.input_shape,
        layers=tuple(work.layers),
        weight_bits=bits,
        code=code,
        input=network.input,
        pad=_integer_pad(network.pad),
        class_names=network.class_names,
        logit_scale=work.logit_scale,
        preprocessing=network.preprocessing,
        metadata={**network.metadata, **levels, **(metadata or {})},
    )
    return Conversion(result, replace(network, layers=tuple(work.rounded)), tuple(work.losses))


def _check(network: FloatNetwork, settings: _Settings, images: np.ndarray | None) -> None:
    if settings.code not in (RATE, RADIX):
        raise ValueError(f"code must be {RATE!r} or {RADIX!r}, not {settings.code!r}")
    if settings.compensate and images is None:
        raise ValueError("compensation needs calibration images")
    if images is not None and network.input != IMAGE:
        raise ResiduumError(
            f"network {network.name!r} reads spikes; it is converted without calibration images"
        )
    if images is not None:
        check_images(network, images)
    for layer in network.layers:
        if layer.threshold == math.inf:
            raise ResiduumError(
                f"layer {layer.name!r} is a ReLU whose range is not known; calibrate the network "
                "on images first"
            )


def _integer_pad(pad: Pad | None) -> Pad | None:
    """The border in pixels 0..255."""
    if pad is None:
        return None
    return replace(pad, pixel=tuple(round(LARGEST_PIXEL * value) for value in pad.pixel))


def _input(network: FloatNetwork, images: np.ndarray | None) -> _Maps | None:
    """The pictures with their borders, in pixels and as the float network reads them."""
    if images is None:
        return None
    pixels, pad = images, _integer_pad(network.pad)
    if pad is not None:
        pixels = pad.apply(images)
    exact = network.with_border(images.astype(np.float32) / LARGEST_PIXEL)
    return _Maps(torch.from_numpy(pixels).float(), torch.from_numpy(exact))


class _Work:
    """The conversion of one network, layer by layer; `inputs` are the maps of each source."""

    def __init__(self, network: FloatNetwork, settings: _Settings) -> None:
        self.network, self.settings = network, settings
        self.layers: list[Layer] = []
        self.rounded: list[FloatLayer] = []
        self.losses: list[Loss] = []
        self.logit_scale: float | None = None
        # What the float network makes of a current.
        self.activation = clipped if network.levels is None else rounded_to(network.levels)

    def largest_inputs(self, layer: Layer | FloatLayer) -> tuple[int, ...]:
        """Largest number of each source, as `IntegerNetwork.largest_inputs`."""
        image = LARGEST_PIXEL if self.network.input == IMAGE else 1
        return tuple(image if s.map == INPUT else self.settings.largest for s in layer.sources)

    def worth(self, number: int) -> float:
        """A: what 1 in a map is worth."""
        if number == INPUT:
            return 1 / LARGEST_PIXEL if self.network.input == IMAGE else 1.0
        return self.amplitude(self.network.layers[number])

    def amplitude(self, layer: FloatLayer) -> float:
        """A of the map that a layer writes, and its theta; 0 for the output layer."""
        return 0.0 if layer.threshold is None else layer.threshold / self.settings.largest

    def convert(self, index: int, layer: FloatLayer, inputs: list[_Maps | None]) -> _Maps | None:
        """Append the integers of a layer, and return the map that it writes."""
        worth = [self.worth(source.map) / source.pool_area for source in layer.sources]
        maps = [each for each in inputs if each is not None]
        wanted = float_current(layer, [each.exact for each in maps]) if maps else None
        found = None if wanted is None else self.statistics(index, layer, worth, maps, wanted)
        rounded = round_layer(
            layer,
            worth,
            bits=self.settings.bits,
            shift=self.settings.shift,
            smallest_unit=self.smallest_unit(layer),
            statistics=found,
            compensate=self.settings.compensate,
        )
        integer, potential_bits = self.with_fraction_bits(layer, rounded)
        self.layers.append(integer)
        self.rounded.append(_worth_of_integers(layer, integer, rounded, worth))
        self.losses.append(_loss(layer, integer, rounded, potential_bits, worth, wanted))
        if layer.threshold is None:
            self.logit_scale = float(rounded.unit[0]) / (1 << integer.fraction_bits)
            return None
        if wanted is None:
            return None
        return _Maps(
            self.numbers(integer, maps),
            max_pooled(layer.max_pool, self.activation(index, layer, wanted)),
        )

    def smallest_unit(self, layer: FloatLayer) -> np.ndarray:
        """The units (out,) at which TH and B, f = 0, still leave room for the sums of weights.

        TH << (K-1) takes at most a quarter of the range of the potential, and B an eighth. In rate
        code without a number of steps, the potential is not looked at.
        """
        if self.settings.code == RATE and self.settings.steps is None:
            return np.zeros(layer.out_channels)
        largest = 1 << self.settings.potential_bits - 1
        unit = np.abs(layer.bias) * 8 / largest
        if layer.threshold is not None:
            highest = (self.settings.largest + 1) >> 1
            unit = np.maximum(unit, self.amplitude(layer) * highest * 4 / largest)
        return unit

    def statistics(
        self,
        index: int,
        layer: FloatLayer,
        worth: list[float],
        maps: list[_Maps],
        wanted: Tensor,
    ) -> Statistics | None:
        """Moments of what the rounded sources read, for the part of the current that they give.

        None for a layer with so many inputs that they take too much memory.
        """
        exact, free = exact_source(layer), free_sources(layer)
        weight = weights_of(layer, worth)
        if weight.shape[0] * weight.shape[2] ** 2 > _MOST_MOMENTS:
            return None
        if exact is not None:
            source, x = layer.sources[exact], maps[exact].numbers * worth[exact]
            wanted = wanted - convolve(source, x, float32(source.weight), pooling="sum")
        return statistics(
            [layer.sources[i] for i in free],
            [maps[i].numbers for i in free],
            wanted,
            weight,
            feedback=FEEDBACK,
            seed=index,
        )

    def with_fraction_bits(self, layer: FloatLayer, rounded: Rounded) -> tuple[Layer, int]:
        """The layer with the larger f that fits, and the bits of its potential."""
        settings, fractions = self.settings, self.settings.fractions
        reads_image = layer.source.map == INPUT and self.network.input == IMAGE
        if settings.code == RATE and reads_image:
            choice = [fractions.pixels]
        elif settings.code == RATE and settings.steps is None:
            choice = [fractions.spikes]
        else:
            choice = sorted({fractions.spikes, 0}, reverse=True)
        for f in choice:
            integer = self.integer_layer(layer, rounded, f)
            limits = bounds(self, integer, settings.steps or 1)
            bits = signed_bits(int(limits.potential_min.min()), int(limits.potential_max.max()))
            if bits <= settings.potential_bits:
                break
        return integer, bits

    def integer_layer(self, layer: FloatLayer, rounded: Rounded, f: int) -> Layer:
        unit = rounded.unit / 2**f
        threshold = None
        if layer.threshold is not None:
            threshold = np.maximum(np.rint(self.amplitude(layer) / unit), 1).astype(np.int64)
        radix = self.settings.code == RADIX and layer.threshold is not None
        return Layer(
            name=layer.name,
            sources=tuple(
                replace(source, weight=weight)
                for source, weight in zip(layer.sources, rounded.weights, strict=True)
            ),
            bias=np.rint(rounded.bias / unit).astype(np.int64),
            threshold=threshold,
            fraction_bits=f,
            shift=rounded.shift,
            bits=self.settings.map_bits if radix else None,
            max_pool=layer.max_pool,
            # Radix code always rounds to the nearest.
            start=HALF if radix else layer.start,
            strict=layer.strict and not radix,
        )

    def numbers(self, layer: Layer, maps: list[_Maps]) -> Tensor:
        """The map of rounded numbers that a layer writes; in rate code, rates of its spikes."""
        assert layer.threshold is not None
        threshold = float32(layer.threshold)[:, None, None]
        steps = 1 if self.settings.code == RADIX else self.settings.steps

        def part(*inputs: Tensor) -> Tensor:
            current = float32(layer.bias)[:, None, None]
            for source, factor, x in zip(layer.sources, layer.factors, inputs, strict=True):
                current = current + factor * convolve(
                    source, x, float32(source.weight), pooling="sum"
                )
            number = current / threshold
            if steps is not None:
                number = torch.floor(number * steps + 0.5) / steps
            return max_pooled(layer.max_pool, number.clamp(0, self.settings.largest))

        return in_chunks(part, [each.numbers for each in maps])


def _worth_of_integers(
    layer: FloatLayer, integer: Layer, rounded: Rounded, worth: list[float]
) -> FloatLayer:
    """The layer with weights that are whole multiples of their units."""
    unit = rounded.unit[:, None, None, None]
    factors = (1, 1 << rounded.shift)[: len(worth)]
    sources = tuple(
        replace(source, weight=whole.weight * (unit * factor / amplitude))
        for source, whole, factor, amplitude in zip(
            layer.sources, integer.sources, factors, worth, strict=True
        )
    )
    return replace(layer, sources=sources, bias=rounded.bias)


def _loss(
    layer: FloatLayer,
    integer: Layer,
    rounded: Rounded,
    potential_bits: int,
    worth: list[float],
    wanted: Tensor | None,
) -> Loss:
    if wanted is not None:
        whole = wanted.var(dim=(0, 2, 3), correction=0).double().numpy()
    else:
        weights = [s.weight * a for s, a in zip(layer.sources, worth, strict=True)]
        whole = sum(np.square(w).reshape(len(w), -1).sum(axis=1) for w in weights)
    silent = [
        channel
        for channel in range(integer.out_channels)
        if any(s.weight[channel].any() for s in layer.sources)
        and not any(s.weight[channel].any() for s in integer.sources)
    ]
    return Loss(
        name=layer.name,
        shift=integer.shift,
        fraction_bits=integer.fraction_bits,
        potential_bits=potential_bits,
        unit=rounded.unit,
        error=np.divide(rounded.error, whole, out=np.full_like(whole, np.nan), where=whole > 0),
        coarse=rounded.coarse,
        silent=tuple(silent),
    )

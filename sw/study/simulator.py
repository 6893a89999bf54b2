"""Simulator of the integer network for many settings of tau and T at once.

The golden model runs one setting. A study needs all of them, and most of the work is common:

* the spikes of a step depend only on earlier steps, so a run of 8 steps contains all shorter runs;
* a probe is a plain run, so one plain run contains the residual potentials of every tau;
* the image is a constant current and both stages start from V0, so a layer that reads nothing else
  fires in the inference as in the probe, for every tau.

So all tau = 0 .. 8 with all T = 1 .. 8 cost about nine runs of 8 steps. All numbers are integers
that the chosen float type represents exactly; the tests compare with the golden model.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.network.bounds import bounds
from residuum.sw.network.corrections import MASK
from residuum.sw.network.forward import convolve, padded, pooled
from residuum.sw.network.graph import IMAGE, INPUT, Source
from residuum.sw.network.integer_network import LARGEST_PIXEL, RATE, IntegerNetwork, Layer

Reset = Literal["subtraction", "zero", "start"]

_EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53
# Elements of the largest array of a batch: small enough for the caches.
_BATCH_NUMBERS = 1 << 22
_CHECKED_MAPS = 2


@dataclass(frozen=True)
class Fired:
    """Activity of the neurons of one layer in one stage, before any mask.

    Attributes
    ----------
    spikes
        0 or 1, (steps, N, C, H, W).
    potentials
        v after the requested steps (1: after the first step), integers (N, C, H, W).
    """

    spikes: Tensor
    potentials: dict[int, Tensor]


@dataclass(frozen=True)
class PlainRun:
    """A run without a probe; it also serves as the probe of every tau.

    Attributes
    ----------
    layers
        One per hidden layer.
    logits
        (steps, N, classes): summed over the steps 1 .. t.
    """

    layers: tuple[Fired, ...]
    logits: Tensor


@dataclass(frozen=True)
class Inference:
    """The second stage for one tau.

    Attributes
    ----------
    silenced
        bool (N, C, H, W) per hidden layer: v(tau) < 0 with the correction mask; else all False.
    unmasked
        Spikes before the mask, 0 or 1 (T, N, C, H, W) per hidden layer. The next layer receives
        them without the silenced neurons.
    logits
        (T, N, classes): summed over the steps 1 .. t.
    """

    silenced: tuple[Tensor, ...]
    unmasked: tuple[Tensor, ...]
    logits: Tensor


class Extremes:
    """Smallest and largest potential per layer, with the intermediate values v+I and v+I-TH.

    ``low`` and ``high`` are int64 (layers,); in the output layer, of the running sums.
    """

    def __init__(self, layers: int) -> None:
        # An initial 0 never widens the result: every signed range contains 0.
        self.low = np.zeros(layers, np.int64)
        self.high = np.zeros(layers, np.int64)

    def see(self, index: int, low: float, high: float) -> None:
        self.low[index] = min(self.low[index], int(low))
        self.high[index] = max(self.high[index], int(high))


class Simulator:
    """Runs of an integer network on batches of images.

    Parameters
    ----------
    network
        Any graph in rate code that reads images.
    steps
        The longest stage to be run; it determines the float types.

    Raises
    ------
    ResiduumError
        If the network has no probe and no steps, or a sum is too large.
    """

    def __init__(self, network: IntegerNetwork, steps: int) -> None:
        _check_probe(network)
        self.network = network
        self.steps = steps
        self.extremes: Extremes | None = None
        self._synapses = [
            _synapses(layer, _largest_value(network, layer, steps)) for layer in network.layers
        ]

    def batches(self, images: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        """uint8 images (N, C, H, W) in portions that fit the caches, with their border, each with
        its slice."""
        check_images(self.network, images)
        shapes = (self.network.padded_shape, *self.network.shapes)
        largest = max(int(np.prod(shape)) for shape in shapes) * self.steps
        size = max(_BATCH_NUMBERS // largest, 1)
        for first in range(0, len(images), size):
            framed = self.network.with_border(images[first : first + size])
            chunk = torch.from_numpy(np.ascontiguousarray(framed))
            yield slice(first, first + len(chunk)), chunk

    def record_extremes(self) -> Extremes:
        """Record the extremes of all potentials from now on, in the returned object."""
        self.extremes = Extremes(len(self.network.layers))
        return self.extremes

    def plain(
        self,
        images: Tensor,
        steps: int,
        *,
        keep: Collection[int] = (),
        reset: Reset = "subtraction",
    ) -> PlainRun:
        """Integrate and fire for ``steps`` steps; all spikes pass.

        Parameters
        ----------
        images
            From `batches`.
        keep
            Steps, within 1 .. ``steps``, after which the potentials are kept.
        reset
            Effect of a spike on v: subtract TH (as the engine does) or, for comparison, a hard
            reset to 0 or to the start potential V0.
        """
        layers = []

        def step(index: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
            current = self._current(index, inputs)
            if layer.threshold is None:
                return self._logits(current, steps)
            fired = self._fire(index, current, steps, keep, reset)
            layers.append(fired)
            return fired.spikes

        logits = self.network.walk(images[None], step)
        return PlainRun(tuple(layers), logits)

    def inference(
        self, images: Tensor, probe: PlainRun, *, tau: int, T: int, correction: str = MASK
    ) -> Inference:
        """T steps of inference with the correction mask or offset; see `carried` for carry.

        ``probe`` is a plain run of the same images with at least tau and T steps, which kept the
        potentials of ``tau`` >= 1.
        """
        masked = correction == MASK
        silenced = tuple((layer.potentials[tau] < 0) & masked for layer in probe.layers)
        unmasked = []

        def step(index: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
            if layer.threshold is None:
                return self._logits(self._current(index, inputs), T)
            if masked and all(source.map == INPUT for source in layer.sources):
                spikes = probe.layers[index].spikes[:T]
            else:
                offset = 0 if masked else _offset(probe.layers[index], layer, tau)
                current = self._current(index, inputs)
                spikes = self._fire(index, current, T, offset=offset).spikes
            unmasked.append(spikes)
            return spikes * ~silenced[index]

        logits = self.network.walk(images[None], step)
        return Inference(silenced, tuple(unmasked), logits)

    @staticmethod
    def carried(run: PlainRun, *, tau: int) -> Tensor:
        """Logits (steps - tau, N, classes) of T = 1 .. steps - tau with the correction carry, whose
        layers run as without a probe."""
        return run.logits[tau:] - run.logits[tau - 1]

    def _current(self, index: int, inputs: list[Tensor]) -> Tensor:
        """I(t), (steps or 1, N, C, H, W); an axis of length 1 is a constant current."""
        synapses = self._synapses[index]
        bias = torch.from_numpy(self.network.layers[index].bias.copy()).to(synapses[0].dtype)
        current = bias[:, None, None]
        for source, signal in zip(synapses, inputs, strict=True):
            sums = source.sum(signal.flatten(0, 1)).unflatten(0, signal.shape[:2])
            current = sums + current
        return current

    def _fire(
        self,
        index: int,
        current: Tensor,
        steps: int,
        keep: Collection[int] = (),
        reset: Reset = "subtraction",
        offset: Tensor | int = 0,
    ) -> Fired:
        """``offset`` is the number of spikes (N, C, H, W) that the neurons owe at the start."""
        layer = self.network.layers[index]
        assert layer.threshold is not None
        limit = torch.from_numpy(layer.threshold.copy()).to(current.dtype)[:, None, None]
        start = torch.from_numpy(layer.start_potential.copy()).to(current.dtype)[:, None, None]
        n, channels, height, width = current.shape[1:]
        # Channels innermost: the fastest memory format for convolutions.
        spikes = current.new_empty(steps, n, height, width, channels).permute(0, 1, 4, 2, 3)
        potentials = {}
        potential: Tensor = start + offset * limit
        for step in range(steps):
            before = potential + current[step if len(current) > 1 else 0]
            spike = before >= limit
            spikes[step] = spike
            if self.extremes is not None and n > 0:
                low = before.amin(dim=(0, 2, 3)) - limit[:, 0, 0]
                self.extremes.see(index, low.min().item(), before.max().item())
            if reset == "subtraction":
                potential = torch.addcmul(before, spikes[step], limit, value=-1)
            else:
                potential = torch.where(spike, 0 if reset == "zero" else start, before)
            if step + 1 in keep:
                potentials[step + 1] = potential
        return Fired(spikes, potentials)

    def _logits(self, current: Tensor, steps: int) -> Tensor:
        logits = current.flatten(2).expand(steps, -1, -1).cumsum(0)
        if self.extremes is not None and logits.numel() > 0:
            last = len(self.network.layers) - 1
            self.extremes.see(last, logits.min().item(), logits.max().item())
        return logits


def _offset(fired: Fired, layer: Layer, tau: int) -> Tensor:
    """Spikes that the neurons owe after ``tau`` steps of probe with the correction offset: 1, 0, or
    -1 of those that have fired."""
    assert layer.threshold is not None
    potential = fired.potentials[tau]
    limit = torch.from_numpy(layer.threshold.copy()).to(potential.dtype)[:, None, None]
    surplus = (potential < 0) & (fired.spikes[:tau] > 0).any(dim=0)
    return (potential >= limit).to(potential.dtype) - surplus.to(potential.dtype)


def _check_probe(network: IntegerNetwork) -> None:
    """``ResiduumError`` unless the network runs in steps, with a probe, on images."""
    strict = [layer.name for layer in network.layers if layer.strict]
    why = ""
    if network.code != RATE:
        why = f"network {network.name!r} is in {network.code} code, which has no steps"
    elif network.input != IMAGE:
        why = f"network {network.name!r} reads spike trains instead of images"
    elif strict:
        why = f"layer {strict[0]!r} fires strictly above its threshold and has no probe"
    if why:
        raise ResiduumError(f"{why}; there is no residual potential to study")


class Synapses:
    """The weights of a source times 2**f (and 2**h), in the smallest float type that is exact.

    Parameters
    ----------
    largest
        Largest possible magnitude of any number in the layer; below 2**53.
    """

    def __init__(self, source: Source, factor: int, largest: int) -> None:
        self.source = source
        self.dtype = torch.float32 if largest < _EXACT_FLOAT32 else torch.float64
        weight = torch.from_numpy(source.weight.astype(np.int64) * factor).to(self.dtype)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.as_convolution: bool | None = None

    def sum(self, x: Tensor) -> Tensor:
        """(sum of W * input) * factor, (M, out, H', W'), for input maps (M, C, H, W)."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.as_convolution is False:
            return self._product(x)
        sums = convolve(self.source, x, self.weight, pooling="sum")
        if self.as_convolution is None:
            # A library may compute a convolution by a transform that rounds. Then use a matrix
            # product, in which every partial sum is an integer.
            few = slice(0, _CHECKED_MAPS)
            self.as_convolution = torch.equal(sums[few], self._product(x[few]))
            return sums if self.as_convolution else self._product(x)
        return sums

    def _product(self, x: Tensor) -> Tensor:
        source = self.source
        size = source.output_shape((x.shape[1], x.shape[2], x.shape[3]))[1:]
        x, padding = padded(source, pooled(source, x, "sum"))
        columns = F.unfold(x, source.kernel, source.dilation, padding, source.stride)
        # (groups, out / groups, inputs) times (M, groups, inputs, positions)
        matrix = self.weight.flatten(1).unflatten(0, (source.groups, -1))
        sums = torch.matmul(matrix, columns.unflatten(1, (source.groups, -1)))
        return sums.flatten(1, 2).unflatten(2, size)


def _synapses(layer: Layer, largest: int) -> list[Synapses]:
    """The synapses of each source; ``largest`` is the largest magnitude in the whole layer."""
    if largest >= _EXACT_FLOAT64:
        raise ResiduumError(
            f"layer {layer.name!r} can reach {largest}, beyond the 2**53 up to which the study "
            f"counts exactly"
        )
    return [
        Synapses(source, factor, largest)
        for source, factor in zip(layer.sources, layer.factors, strict=True)
    ]


def qcfs_levels(
    network: IntegerNetwork, images: Tensor, levels: int
) -> tuple[list[Tensor], Tensor]:
    """The ANN of the same integers: QCFS with L = ``levels`` instead of spikes.

    With the levels q of the maps that a layer reads (0 .. L; a pixel u counts as L u),
    z = (sum of W q) 2**f + L B is L times the mean current. The activation is

        q = clip(floor((V0 + z) / TH), 0, L)

    This is the number of spikes in L steps with a constant current. ``images`` are from
    `Simulator.batches`.

    Returns
    -------
    list[Tensor]
        q, int64 (N, C, H, W) per hidden layer.
    Tensor
        Logits, int64 (N, classes): L times the mean current of the output layer.
    """
    counts: list[Tensor] = []

    def step(index: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
        total = torch.from_numpy(layer.bias * levels)[:, None, None]
        synapses = _synapses(layer, _reach(network, layer, levels))
        for source, own, signal in zip(layer.sources, synapses, inputs, strict=True):
            sums = own.sum(signal).to(torch.int64)
            total = sums * (levels if source.map == INPUT else 1) + total
        if layer.threshold is None:
            return total
        limit = torch.from_numpy(layer.threshold.copy())[:, None, None]
        start = torch.from_numpy(layer.start_potential.copy())[:, None, None]
        level = torch.div(start + total, limit, rounding_mode="floor").clamp(0, levels)
        counts.append(level)
        return level

    logits = network.walk(images, step).flatten(1)
    return counts, logits


def check_images(network: IntegerNetwork, images: np.ndarray) -> None:
    """``ResiduumError`` unless ``images`` are uint8 (N, C, H, W) of the network's shape."""
    if images.dtype != np.uint8 or images.shape[1:] != network.input_shape:
        raise ResiduumError(
            f"network {network.name!r} takes 8-bit images of shape {network.input_shape}, not "
            f"{images.dtype} of shape {images.shape[1:]}"
        )


def _largest_value(network: IntegerNetwork, layer: Layer, steps: int) -> int:
    """Largest possible magnitude of any sum, current or potential in ``steps`` steps, also if they
    start a threshold higher or lower."""
    limits = bounds(network, layer, steps)
    offset = 0 if layer.threshold is None else int(layer.threshold.max())
    values = [
        _reach(network, layer, 1),
        *(int(np.abs(part).max()) for part in (limits.current_min, limits.current_max)),
        *(int(np.abs(part).max()) for part in (limits.potential_min, limits.potential_max)),
    ]
    return max(values) + offset


def _reach(network: IntegerNetwork, layer: Layer, largest_number: int) -> int:
    """Largest sum of |W| over one channel's inputs, with all inputs of a pooling window, if maps
    hold 0 .. ``largest_number``."""
    reach = 0
    for source, factor in zip(layer.sources, layer.factors, strict=True):
        rows = np.abs(source.weight.astype(np.int64)).reshape(layer.out_channels, -1)
        largest = LARGEST_PIXEL if source.map == INPUT else largest_number
        reach += int(rows.sum(axis=1).max()) * source.pool_area * largest * factor
    return reach

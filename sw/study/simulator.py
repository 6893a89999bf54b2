"""Simulator of the integer network for many settings of tau and T at once.

The golden model runs one setting. A study needs all of them, and most of the work is common:

* the spikes of a step depend only on earlier steps, so a run of 8 steps contains all shorter runs;
* a probe is a plain run, so one plain run contains the residual potentials of every tau;
* the image is a constant current and both stages start from V0, so the first layer fires in the
  inference as in the probe, for every tau.

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
from residuum.sw.network.convolution import convolve, pooled
from residuum.sw.network.integer_network import LARGEST_PIXEL, PIXELS, IntegerNetwork, Layer, bounds

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
        bool (N, C, H, W) per hidden layer: v(tau) < 0.
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
        Any integer network.
    steps
        The longest stage to be run; it determines the float types.
    """

    def __init__(self, network: IntegerNetwork, steps: int) -> None:
        self.network = network
        self.steps = steps
        self.extremes: Extremes | None = None
        self._synapses = [Synapses(layer, _largest_value(layer, steps)) for layer in network.layers]
        self._hidden = len(network.layers) - 1

    def batches(self, images: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        """uint8 images (N, C, H, W) in portions that fit the caches, each with its slice."""
        check_images(self.network, images)
        shapes = (self.network.input_shape, *self.network.shapes)
        largest = max(int(np.prod(shape)) for shape in shapes) * self.steps
        size = max(_BATCH_NUMBERS // largest, 1)
        for first in range(0, len(images), size):
            chunk = torch.from_numpy(np.ascontiguousarray(images[first : first + size]))
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
        keep
            Steps, within 1 .. ``steps``, after which the potentials are kept.
        reset
            Effect of a spike on v: subtract TH (as the engine does) or, for comparison, a hard
            reset to 0 or to the start potential TH >> 1.
        """
        layers = []
        signal = images[None]
        for index in range(self._hidden):
            fired = self._fire(index, self._current(index, signal), steps, keep, reset)
            layers.append(fired)
            signal = fired.spikes
        return PlainRun(tuple(layers), self._logits(signal, steps))

    def inference(self, images: Tensor, probe: PlainRun, *, tau: int, T: int) -> Inference:
        """T steps of inference; neurons with v(tau) < 0 are silenced.

        ``probe`` is a plain run of the same images with at least T steps, which kept the potentials
        of ``tau`` >= 1.
        """
        silenced = tuple(layer.potentials[tau] < 0 for layer in probe.layers)
        unmasked = []
        signal = images[None]
        for index in range(self._hidden):
            if index == 0:
                spikes = probe.layers[0].spikes[:T]
            else:
                spikes = self._fire(index, self._current(index, signal), T).spikes
            unmasked.append(spikes)
            signal = spikes * ~silenced[index]
        return Inference(silenced, tuple(unmasked), self._logits(signal, T))

    def _current(self, index: int, signal: Tensor) -> Tensor:
        """I(t), (steps or 1, N, C, H, W); an axis of length 1 is a constant current."""
        sums = self._synapses[index].sum(signal.flatten(0, 1)).unflatten(0, signal.shape[:2])
        bias = torch.from_numpy(self.network.layers[index].bias.copy()).to(sums.dtype)
        return sums + bias[:, None, None]

    def _fire(
        self,
        index: int,
        current: Tensor,
        steps: int,
        keep: Collection[int] = (),
        reset: Reset = "subtraction",
    ) -> Fired:
        threshold = self.network.layers[index].threshold
        assert threshold is not None
        limit = torch.from_numpy(threshold.copy()).to(current.dtype)[:, None, None]
        start = torch.from_numpy(threshold >> 1).to(current.dtype)[:, None, None]
        n, channels, height, width = current.shape[1:]
        # Channels innermost: the fastest memory format for convolutions.
        spikes = current.new_empty(steps, n, height, width, channels).permute(0, 1, 4, 2, 3)
        potentials = {}
        potential: Tensor = start
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

    def _logits(self, signal: Tensor, steps: int) -> Tensor:
        current = self._current(self._hidden, signal).flatten(2)
        logits = current.expand(steps, -1, -1).cumsum(0)
        if self.extremes is not None and logits.numel() > 0:
            self.extremes.see(self._hidden, logits.min().item(), logits.max().item())
        return logits


class Synapses:
    """A layer's weights times 2**f, in the smallest float type that is exact for all sums.

    Parameters
    ----------
    largest
        Largest possible magnitude of any number in the layer; below 2**53.
    """

    def __init__(self, layer: Layer, largest: int) -> None:
        if largest >= _EXACT_FLOAT64:
            raise ResiduumError(
                f"layer {layer.name!r} can reach {largest}, beyond the 2**53 up to which the study "
                f"counts exactly"
            )
        self.layer = layer
        self.dtype = torch.float32 if largest < _EXACT_FLOAT32 else torch.float64
        weight = torch.from_numpy(layer.weight << layer.fraction_bits).to(self.dtype)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.as_convolution: bool | None = None

    def sum(self, x: Tensor) -> Tensor:
        """(sum of W * input) * 2**f, (M, out, H', W'), for input maps (M, C, H, W)."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        if self.as_convolution is False:
            return self._product(x)
        sums = convolve(self.layer, x, self.weight, pooling="sum")
        if self.as_convolution is None:
            # A library may compute a convolution by a transform that rounds. Then use a matrix
            # product, in which every partial sum is an integer.
            few = slice(0, _CHECKED_MAPS)
            self.as_convolution = torch.equal(sums[few], self._product(x[few]))
            return sums if self.as_convolution else self._product(x)
        return sums

    def _product(self, x: Tensor) -> Tensor:
        layer = self.layer
        x = pooled(layer, x, "sum")
        height, width = (
            (size + 2 * layer.padding - kernel) // layer.stride + 1
            for size, kernel in zip(x.shape[2:], layer.kernel, strict=True)
        )
        columns = F.unfold(x, layer.kernel, padding=layer.padding, stride=layer.stride)
        return torch.matmul(self.weight.flatten(1), columns).reshape(len(x), -1, height, width)


def qcfs_levels(
    network: IntegerNetwork, images: Tensor, levels: int
) -> tuple[list[Tensor], Tensor]:
    """The ANN of the same integers: QCFS with L = ``levels`` instead of spikes.

    With the levels q of the previous layer (0 .. L; a pixel u counts as L u),
    z = (sum of W q) 2**f + L B is L times the mean current. The activation is

        q = clip(floor((V0 + z) / TH), 0, L)

    This is the number of spikes in L steps with a constant current.

    Returns
    -------
    list[Tensor]
        q, int64 (N, C, H, W) per hidden layer.
    Tensor
        Logits, int64 (N, classes): L times the mean current of the output layer.
    """
    counts: list[Tensor] = []
    signal, factor = images, levels
    for layer in network.layers:
        largest_input = LARGEST_PIXEL if layer.coding == PIXELS else levels
        reach = _weight_reach(layer) * largest_input << layer.fraction_bits
        bias = torch.from_numpy(layer.bias * levels)[:, None, None]
        sums = Synapses(layer, reach).sum(signal).to(torch.int64) * factor + bias
        if layer.threshold is None:
            return counts, sums.flatten(1)
        limit = torch.from_numpy(layer.threshold.copy())[:, None, None]
        level = torch.div((limit >> 1) + sums, limit, rounding_mode="floor").clamp(0, levels)
        counts.append(level)
        signal, factor = level, 1
    raise AssertionError("an IntegerNetwork ends in an output layer")


def check_images(network: IntegerNetwork, images: np.ndarray) -> None:
    """``ResiduumError`` unless ``images`` are uint8 (N, C, H, W) of the network's shape."""
    if images.dtype != np.uint8 or images.shape[1:] != network.input_shape:
        raise ResiduumError(
            f"network {network.name!r} takes 8-bit images of shape {network.input_shape}, not "
            f"{images.dtype} of shape {images.shape[1:]}"
        )


def _largest_value(layer: Layer, steps: int) -> int:
    """Largest possible magnitude of any sum, current or potential in ``steps`` steps."""
    limits = bounds(layer, steps)
    largest_input = LARGEST_PIXEL if layer.coding == PIXELS else 1
    values = [
        _weight_reach(layer) * largest_input << layer.fraction_bits,
        *(int(np.abs(part).max()) for part in (limits.current_min, limits.current_max)),
        *(int(np.abs(part).max()) for part in (limits.potential_min, limits.potential_max)),
    ]
    return max(values)


def _weight_reach(layer: Layer) -> int:
    """Largest sum of |W| over one channel's inputs, with all inputs of a pooling window."""
    rows = np.abs(layer.weight.astype(np.int64)).reshape(layer.out_channels, -1)
    return int(rows.sum(axis=1).max()) * layer.pool_area

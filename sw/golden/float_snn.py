"""The float spiking network. As in the papers, each step runs through all layers.

Stage 1 (probe): tau steps of plain integrate-and-fire; all spikes pass. A residual potential
v(tau) < 0 shows that a neuron fired more often than its input justifies. Stage 2 (inference): T
steps, after the correction of the residual potential (`residuum.sw.network.corrections`, with
sources).

All numbers are float64. This is a reference for the integer model, not built for speed. It is the
rate code; the float twin of the radix code is the network of rounded activations
(residuum.sw.golden.reference).
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import LayerTrace, Trace
from residuum.sw.network.corrections import CARRY, MASK, OFFSET, check_correction
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import convolve
from residuum.sw.network.graph import HALF, IMAGE
from residuum.sw.network.integer_network import check_stages


@dataclass
class _Neurons:
    """State of one hidden layer; tensors are (N, C, H, W)."""

    layer: FloatLayer
    threshold: float
    potential: Tensor | float = 0.0
    silenced: Tensor | None = None
    residual: Tensor | None = None
    train: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def start(self) -> float:
        return self.threshold / 2 if self.layer.start == HALF else 0.0

    def restart(self) -> None:
        self.potential = self.start

    def end_probe(self, correction: str) -> None:
        assert isinstance(self.potential, Tensor)
        self.residual = self.potential
        if correction == CARRY:
            return
        self.restart()
        if correction == MASK:
            self.silenced = self.residual < 0
        elif correction == OFFSET:
            surplus = (self.residual < 0) & torch.stack(self.train).any(dim=0)
            offset = (self.residual >= self.threshold).double() - surplus.double()
            self.potential = self.start + self.threshold * offset

    def step(self, current: Tensor) -> Tensor:
        """One step of integrate-and-fire with reset by subtraction; returns masked spikes."""
        potential = self.potential + current
        above = potential > self.threshold if self.layer.strict else potential >= self.threshold
        self.potential = potential - above * self.threshold
        spike = above if self.silenced is None else above & ~self.silenced
        self.train.append(spike)
        return spike


def simulate_float(
    network: FloatNetwork, images: np.ndarray, *, tau: int, T: int, correction: str | None = None
) -> Trace:
    """Run images through the float spiking network.

    Parameters
    ----------
    images
        float64 (N, C, H, W), usually ``u / 255``: a constant current in every step. For a network
        that reads spikes, trains (N, tau + T, C, H, W) of 0 and 1.
    tau, T
        Steps of the probe (>= 0) and of the inference (>= 1).
    correction
        As in `residuum.sw.golden.golden_model.simulate`.

    Returns
    -------
    Trace
        As from the golden model, but residual potentials and logits are float64.

    Raises
    ------
    ResiduumError
        If the images do not fit the network, tau or T is out of range, the network has no such
        correction, or it has layers that no spiking neuron can compute: an activation without a
        range, or max-pooling.
    """
    tau, T = check_stages(tau, T)
    correction = check_correction(network, correction, tau)
    _check_spiking(network)
    steps = tau + T
    inputs = torch.from_numpy(_checked(network, images, steps))
    hidden = [
        _Neurons(layer, layer.threshold) for layer in network.layers if layer.threshold is not None
    ]

    def step(index: int, layer: FloatLayer, maps: list[Tensor]) -> Tensor:
        current = _current(layer, maps)
        if layer.threshold is None:
            return current
        # A spike is worth the threshold of the layer that sends it.
        return hidden[index].step(current).double() * layer.threshold

    logits = torch.zeros(())
    for number in range(steps):
        if number == tau and tau > 0:
            for neurons in hidden:
                neurons.end_probe(correction)
        output = network.walk(inputs if network.input == IMAGE else inputs[:, number], step)
        if number >= tau:
            logits = logits + output.flatten(1)
    worth = np.array([0] * tau + [1] * T)
    layers = tuple(_trace(neurons, worth) for neurons in hidden)
    return Trace(layers, logits.numpy(), logits.numpy().argmax(axis=1))


def _check_spiking(network: FloatNetwork) -> None:
    for layer in network.layers:
        if layer.threshold == math.inf:
            raise ResiduumError(
                f"layer {layer.name!r} has a plain ReLU, whose threshold is not known; calibrate "
                f"the network first"
            )
        if layer.max_pool is not None:
            raise ResiduumError(
                f"layer {layer.name!r} has max-pooling, which does not exist for spikes of the "
                f"rate code; run the network in radix code"
            )


def _checked(network: FloatNetwork, images: np.ndarray, steps: int) -> np.ndarray:
    """The images with their border, or the trains, as float64; ``ResiduumError`` if they do not
    fit the network."""
    spikes = network.input != IMAGE
    shape = (steps, *network.input_shape) if spikes else network.input_shape
    what = "spike trains must be 0 and 1" if spikes else "images must be finite numbers"
    expected = f"{what} of shape (N, {', '.join(map(str, shape))})"
    try:
        array = np.asarray(images, np.float64)
    except (TypeError, ValueError):
        raise ResiduumError(expected) from None
    if array.shape[1:] != shape:
        raise ResiduumError(f"{expected}, not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ResiduumError(f"{expected}; there is a NaN or an infinity")
    if not spikes:
        return network.with_border(array)
    if not np.isin(array, (0, 1)).all():
        raise ResiduumError(f"{expected}; there is another number")
    return array


def _current(layer: FloatLayer, maps: list[Tensor]) -> Tensor:
    current = torch.from_numpy(layer.bias)[:, None, None]
    for source, signal in zip(layer.sources, maps, strict=True):
        current = current + convolve(
            source, signal, torch.from_numpy(source.weight), pooling="mean"
        )
    return current


def _trace(neurons: _Neurons, worth: np.ndarray) -> LayerTrace:
    trains = torch.stack(neurons.train, dim=1).numpy()
    shape = trains[:, 0].shape
    residual, silenced = np.full(shape, neurons.start), np.zeros(shape, bool)
    if neurons.residual is not None:
        residual = neurons.residual.numpy()
    if neurons.silenced is not None:
        silenced = neurons.silenced.numpy()
    return LayerTrace(trains, residual, silenced, worth)

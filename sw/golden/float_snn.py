"""The float spiking network with SRP. As in the paper, each step runs through all layers.

Source: Hao et al., "Reducing ANN-SNN conversion error through residual membrane potential", AAAI
2023. Stage 1 (probe): tau steps of plain integrate-and-fire; all spikes pass. A residual potential
v(tau) < 0 shows that a neuron fired more often than its input justifies. Stage 2 (inference):
potentials restart, and T steps run with these neurons silenced.

All numbers are float64. This is a reference for the integer model, not built for speed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import LayerTrace, Trace
from residuum.sw.network.convolution import convolve
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.integer_network import check_stages


@dataclass
class _Neurons:
    """State of one hidden layer; tensors are (N, C, H, W)."""

    layer: FloatLayer
    threshold: float
    potential: Tensor | float
    silenced: Tensor | None = None
    residual: Tensor | None = None

    def restart(self) -> None:
        self.potential = self.threshold / 2

    def look_at_residual(self) -> None:
        assert isinstance(self.potential, Tensor)
        self.residual = self.potential
        self.silenced = self.potential < 0

    def step(self, signal: Tensor) -> Tensor:
        """One step of integrate-and-fire with reset by subtraction; returns masked spikes."""
        potential = self.potential + _current(self.layer, signal)
        spike = potential >= self.threshold
        self.potential = potential - spike * self.threshold
        return spike if self.silenced is None else spike & ~self.silenced


def simulate_float(network: FloatNetwork, images: np.ndarray, *, tau: int, T: int) -> Trace:
    """Run images through the float spiking network.

    Parameters
    ----------
    images
        float64 (N, C, H, W), usually ``u / 255``: a constant current in every step.
    tau, T
        Steps of the probe (>= 0) and of the inference (>= 1).

    Returns
    -------
    Trace
        As from the golden model, but residual potentials and logits are float64.
    """
    tau, T = check_stages(tau, T)
    image = torch.from_numpy(_checked(network, images))
    hidden = [
        _Neurons(layer, layer.threshold, layer.threshold / 2)
        for layer in network.layers
        if layer.threshold is not None
    ]
    trains: list[list[Tensor]] = [[] for _ in hidden]
    logits = torch.zeros(())
    for step in range(tau + T):
        if step == tau and tau > 0:
            for neurons in hidden:
                neurons.look_at_residual()
                neurons.restart()
        signal = image
        for neurons, train in zip(hidden, trains, strict=True):
            spike = neurons.step(signal)
            train.append(spike)
            # A spike is worth the threshold of the layer that sends it.
            signal = spike.double() * neurons.threshold
        if step >= tau:
            logits = logits + _current(network.layers[-1], signal).flatten(1)
    layers = tuple(_trace(neurons, train) for neurons, train in zip(hidden, trains, strict=True))
    return Trace(layers, logits.numpy(), logits.numpy().argmax(axis=1))


def _checked(network: FloatNetwork, images: np.ndarray) -> np.ndarray:
    """The images as float64; ``ResiduumError`` if they do not fit the network."""
    expected = (
        f"images must be finite numbers of shape (N, {', '.join(map(str, network.input_shape))})"
    )
    try:
        array = np.asarray(images, np.float64)
    except (TypeError, ValueError):
        raise ResiduumError(expected) from None
    if array.shape[1:] != network.input_shape:
        raise ResiduumError(f"{expected}, not of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ResiduumError(f"{expected}; there is a NaN or an infinity")
    return array


def _current(layer: FloatLayer, signal: Tensor) -> Tensor:
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    return convolve(layer, signal, weight, bias, pooling="mean")


def _trace(neurons: _Neurons, train: list[Tensor]) -> LayerTrace:
    trains = torch.stack(train, dim=1).numpy()
    if neurons.residual is None or neurons.silenced is None:
        shape = trains[:, 0].shape
        return LayerTrace(trains, np.full(shape, neurons.threshold / 2), np.zeros(shape, bool))
    return LayerTrace(trains, neurons.residual.numpy(), neurons.silenced.numpy())

"""Runs a NIR graph step by step in torch, node by node; shares nothing with the importer."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def run_nir(
    graph, trains: np.ndarray, *, start: Callable[[Tensor], Tensor] = torch.zeros_like
) -> np.ndarray:
    """Currents of the output summed over the steps, (N, classes), for spikes (N, steps, C, H, W).

    Neurons fire above their threshold, which is then subtracted, and start at ``start`` of it. IF
    nodes that only the output reads pass their currents on, in units of their threshold.
    """
    simulation = _Simulation(graph, start)
    steps = torch.as_tensor(trains, dtype=torch.float64).unbind(1)
    return sum(simulation.step(x) for x in steps).flatten(1).numpy()


class _Simulation:
    def __init__(self, graph, start: Callable[[Tensor], Tensor]) -> None:
        self.graph, self.start = graph, start
        self.potentials: dict[str, Tensor] = {}

    def step(self, x: Tensor) -> Tensor:
        return self.value("output", {"input": x})

    def value(self, name: str, values: dict[str, Tensor]) -> Tensor:
        if name not in values:
            senders = [a for a, b in self.graph.edges if b == name]
            x = sum(self.value(sender, values) for sender in senders)
            values[name] = self.node(name, self.graph.nodes[name], x)
        return values[name]

    def node(self, name: str, node, x: Tensor) -> Tensor:
        match type(node).__name__:
            case "Conv2d":
                padding = node.padding
                return F.conv2d(
                    x,
                    _tensor(node.weight),
                    _tensor(node.bias),
                    _sizes(node.stride),
                    padding if isinstance(padding, str) else _sizes(padding),
                    _sizes(node.dilation),
                    int(node.groups),
                )
            case "Linear":
                return x @ _tensor(node.weight).T
            case "Affine":
                return x @ _tensor(node.weight).T + _tensor(node.bias)
            case "SumPool2d":
                size = _sizes(node.kernel_size)
                return F.avg_pool2d(x, size, _sizes(node.stride)) * size[0] * size[-1]
            case "AvgPool2d":
                return F.avg_pool2d(x, _sizes(node.kernel_size), _sizes(node.stride))
            case "Flatten":
                return x.flatten(1)
            case "IF":
                return self.fire(name, _tensor(node.v_threshold), x * _tensor(node.r))
            case "Output":
                return x
        raise AssertionError(type(node))

    def fire(self, name: str, threshold: Tensor, current: Tensor) -> Tensor:
        if [b for a, b in self.graph.edges if a == name] == ["output"]:
            return current / threshold
        v = self.potentials.get(name, self.start(threshold)) + current
        spikes = (v > threshold).double()
        self.potentials[name] = v - spikes * threshold
        return spikes


def _tensor(values) -> Tensor:
    return torch.as_tensor(np.asarray(values, np.float64))


def _sizes(values) -> tuple[int, ...]:
    return tuple(int(value) for value in np.ravel(values))

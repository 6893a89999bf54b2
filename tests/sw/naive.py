"""Scalar simulators in plain Python, after the paper: each time step runs through all layers.

They share no code and no formulation with the golden model, which computes layer by layer with
matrix products; so they are an independent check. They are slow, for small networks only.
"""

from dataclasses import dataclass


@dataclass
class NaiveLayer:
    """One layer with plain lists: ``weight[o][c][y][x]``, ``bias[o]``, ``threshold[o]`` or None.

    ``scale`` multiplies the sum of weights (2**f for integers, 1 for floats). ``spike_value`` is
    the value of a spike in the next layer. ``divide`` makes pooling a mean instead of a sum.
    """

    weight: list
    bias: list
    threshold: list | None
    start: list | None
    stride: int
    padding: int
    pool: tuple[int, int]
    scale: float = 1
    spike_value: float = 1
    divide: bool = False


def pooled(signal: list, pool: tuple[int, int], divide: bool) -> list:
    """Sum (or mean) over complete windows of a map ``signal[c][y][x]``."""
    height, width = pool
    area = height * width if divide else 1

    def window(channel: list, row: int, column: int) -> float:
        values = [
            channel[row * height + dy][column * width + dx]
            for dy in range(height)
            for dx in range(width)
        ]
        return sum(values) / area if divide else sum(values)

    return [
        [
            [window(channel, row, column) for column in range(len(channel[0]) // width)]
            for row in range(len(channel) // height)
        ]
        for channel in signal
    ]


def currents(layer: NaiveLayer, signal: list) -> list:
    """I[o][y][x] of one time step."""
    signal = pooled(signal, layer.pool, layer.divide)
    rows, columns = len(signal[0]), len(signal[0][0])
    kernel_h, kernel_w = len(layer.weight[0][0]), len(layer.weight[0][0][0])
    out_h = (rows + 2 * layer.padding - kernel_h) // layer.stride + 1
    out_w = (columns + 2 * layer.padding - kernel_w) // layer.stride + 1

    def at(out: int, oy: int, ox: int) -> float:
        total = 0
        for channel, planes in enumerate(layer.weight[out]):
            for ky in range(kernel_h):
                for kx in range(kernel_w):
                    y = oy * layer.stride - layer.padding + ky
                    x = ox * layer.stride - layer.padding + kx
                    if 0 <= y < rows and 0 <= x < columns:
                        total += planes[ky][kx] * signal[channel][y][x]
        return total * layer.scale + layer.bias[out]

    return [
        [[at(out, oy, ox) for ox in range(out_w)] for oy in range(out_h)]
        for out in range(len(layer.weight))
    ]


class NaiveNeuron:
    """One integrate-and-fire neuron with the two stages of SRP."""

    def __init__(self, threshold: float, start: float) -> None:
        self.threshold, self.start = threshold, start
        self.potential = start
        self.residual = start
        self.silenced = False

    def end_probe(self) -> None:
        self.residual = self.potential
        if self.potential < 0:
            self.silenced = True
        self.potential = self.start

    def step(self, current: float) -> bool:
        self.potential += current
        if self.potential >= self.threshold:
            self.potential -= self.threshold
            return not self.silenced
        return False


def grid_of_neurons(layer: NaiveLayer, current: list) -> list:
    """One neuron per value of ``current[o][y][x]``."""
    return [
        [[NaiveNeuron(layer.threshold[o], layer.start[o]) for _ in row] for row in plane]
        for o, plane in enumerate(current)
    ]


def fire(neurons: list, current: list) -> list:
    """One step of every neuron; spikes[o][y][x]."""
    return [
        [
            [neuron.step(value) for neuron, value in zip(*rows, strict=True)]
            for rows in zip(*planes, strict=True)
        ]
        for planes in zip(neurons, current, strict=True)
    ]


def run(layers: list[NaiveLayer], image: list, tau: int, T: int) -> tuple[list, list]:
    """Simulate one image, step by step.

    Returns
    -------
    list
        Per hidden layer a tuple of ``trains[t][c][y][x]``, ``residual[c][y][x]``,
        ``silenced[c][y][x]``.
    list
        The logits.
    """
    neurons: list[list | None] = [None for _ in layers]
    trains: list[list] = [[] for _ in layers]
    logits = [0 for _ in layers[-1].weight]
    for step in range(tau + T):
        if step == tau and tau > 0:
            for grid in filter(None, neurons):
                for neuron in (n for plane in grid for row in plane for n in row):
                    neuron.end_probe()
        signal = image
        for index, layer in enumerate(layers):
            current = currents(layer, signal)
            if layer.threshold is None:
                if step >= tau:
                    logits = [
                        total + plane[0][0] for total, plane in zip(logits, current, strict=True)
                    ]
                continue
            if neurons[index] is None:
                neurons[index] = grid_of_neurons(layer, current)
            spikes = fire(neurons[index], current)
            trains[index].append(spikes)
            signal = [[[s * layer.spike_value for s in row] for row in plane] for plane in spikes]
    hidden = []
    for grid, train in zip(neurons, trains, strict=True):
        if grid is not None:
            residual = [[[n.residual for n in row] for row in plane] for plane in grid]
            silenced = [[[n.silenced for n in row] for row in plane] for plane in grid]
            hidden.append((train, residual, silenced))
    return hidden, logits

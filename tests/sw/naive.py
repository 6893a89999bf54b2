"""Scalar simulators in plain Python, after the papers: each time step runs through all layers.

They share no code and no formulation with the golden model, which computes layer by layer with
matrix products and divides bit by bit; so they are an independent check. They are slow, for small
networks only.
"""

from dataclasses import dataclass, field


@dataclass
class NaiveSource:
    """One source with plain lists: ``weight[o][c][y][x]``.

    ``map`` is the number of the layer that wrote the map, -1 for the input. ``factor`` multiplies
    the sum of weights (2**f for integers, the worth of a spike for floats). ``padding`` is (top,
    bottom, left, right). ``divide`` makes pooling a mean instead of a sum.
    """

    weight: list
    map: int
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    pool: tuple[int, int]
    factor: float = 1
    divide: bool = False


@dataclass
class NaiveLayer:
    """One layer: sources, ``bias[o]``, ``threshold[o]`` and ``start[o]`` (None for the output).

    A ``strict`` neuron fires above its threshold, not at it. ``bits`` is K in radix code.
    ``max_pool`` is (kernel, stride, padding) or None. ``seen`` collects what the run met: "largest
    sum" of a source, "clip low" and "clip high" of the numbers, and what `NaiveNeuron.end_probe`
    returns.
    """

    sources: list[NaiveSource]
    bias: list
    threshold: list | None
    start: list | None
    strict: bool = False
    bits: int | None = None
    max_pool: tuple | None = None
    seen: dict = field(default_factory=dict)


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


def sums(source: NaiveSource, signal: list) -> list:
    """The sums of weights ``[o][y][x]`` over a map ``signal[c][y][x]``."""
    signal = pooled(signal, source.pool, source.divide)
    rows, columns = len(signal[0]), len(signal[0][0])
    kernel_h, kernel_w = len(source.weight[0][0]), len(source.weight[0][0][0])
    top, bottom, left, right = source.padding
    out_h = (rows + top + bottom - source.dilation[0] * (kernel_h - 1) - 1) // source.stride[0] + 1
    out_w = (columns + left + right - source.dilation[1] * (kernel_w - 1) - 1) // source.stride[
        1
    ] + 1
    outputs_of_a_group = len(source.weight) // source.groups

    def at(out: int, oy: int, ox: int) -> float:
        total = 0
        first_channel = out // outputs_of_a_group * len(source.weight[out])
        for channel, planes in enumerate(source.weight[out]):
            for ky in range(kernel_h):
                for kx in range(kernel_w):
                    y = oy * source.stride[0] - top + ky * source.dilation[0]
                    x = ox * source.stride[1] - left + kx * source.dilation[1]
                    if 0 <= y < rows and 0 <= x < columns:
                        total += planes[ky][kx] * signal[first_channel + channel][y][x]
        return total

    return [
        [[at(out, oy, ox) for ox in range(out_w)] for oy in range(out_h)]
        for out in range(len(source.weight))
    ]


def currents(layer: NaiveLayer, signals: list) -> list:
    """I[o][y][x] of one time step, or of the numbers of a map; one map per source."""
    parts = [sums(source, signal) for source, signal in zip(layer.sources, signals, strict=True)]
    for part in parts:
        largest = max(abs(value) for plane in part for row in plane for value in row)
        layer.seen["largest sum"] = max(layer.seen.get("largest sum", 0), largest)
    height, width = len(parts[0][0]), len(parts[0][0][0])
    return [
        [
            [
                bias
                + sum(
                    part[out][y][x] * source.factor
                    for source, part in zip(layer.sources, parts, strict=True)
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
        for out, bias in enumerate(layer.bias)
    ]


class NaiveNeuron:
    """One integrate-and-fire neuron with two stages."""

    def __init__(self, threshold: float, start: float, strict: bool) -> None:
        self.threshold, self.start, self.strict = threshold, start, strict
        self.potential = start
        self.residual = start
        self.silenced = False
        self.count = 0

    def end_probe(self, correction: str) -> str:
        """Between the stages; returns what the correction does to this neuron."""
        self.residual = self.potential
        if correction == "carry":
            return "carried"
        self.potential = self.start
        if correction == "mask" and self.residual < 0:
            self.silenced = True
            return "silenced"
        if correction == "offset":
            # Spikes that the probe should have sent, less those that it has sent.
            missing = 1 if self.residual >= self.threshold else 0
            if self.residual < 0 < self.count:
                missing = -1
            self.potential += missing * self.threshold
            return ("one spike less", "no offset", "one spike more")[missing + 1]
        return "restarted"

    def step(self, current: float) -> bool:
        self.potential += current
        fires = self.potential > self.threshold if self.strict else self.potential >= self.threshold
        if fires:
            self.potential -= self.threshold
            self.count += 1
            return not self.silenced
        return False


def grid_of_neurons(layer: NaiveLayer, current: list) -> list:
    """One neuron per value of ``current[o][y][x]``."""
    return [
        [
            [NaiveNeuron(layer.threshold[o], layer.start[o], layer.strict) for _ in row]
            for row in plane
        ]
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


def run(
    layers: list[NaiveLayer],
    signal: list,
    tau: int,
    T: int,
    *,
    correction: str = "mask",
    spikes: bool = False,
) -> tuple[list, list]:
    """Simulate one image ``signal[c][y][x]``, or spike trains ``signal[t][c][y][x]``, step by step.

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
    logits = [0 for _ in layers[-1].bias]
    for step in range(tau + T):
        if step == tau and tau > 0:
            for layer, grid in zip(layers, neurons, strict=True):
                for neuron in (n for plane in grid or [] for row in plane for n in row):
                    layer.seen[neuron.end_probe(correction)] = True
        maps = {-1: signal[step] if spikes else signal}
        for index, layer in enumerate(layers):
            current = currents(layer, [maps[source.map] for source in layer.sources])
            if layer.threshold is None:
                if step >= tau:
                    logits = [
                        total + plane[0][0] for total, plane in zip(logits, current, strict=True)
                    ]
                continue
            if neurons[index] is None:
                neurons[index] = grid_of_neurons(layer, current)
            maps[index] = fire(neurons[index], current)
            trains[index].append(maps[index])
    hidden = []
    for grid, train in zip(neurons, trains, strict=True):
        if grid is not None:
            residual = [[[n.residual for n in row] for row in plane] for plane in grid]
            silenced = [[[n.silenced for n in row] for row in plane] for plane in grid]
            hidden.append((train, residual, silenced))
    return hidden, logits


def number(layer: NaiveLayer, out: int, current: int) -> int:
    """q = clip(floor((I + floor(TH/2)) / TH), 0, 2**K - 1)."""
    threshold, largest = layer.threshold[out], 2**layer.bits - 1
    level = (current + threshold // 2) // threshold
    if level < 0:
        layer.seen["clip low"] = True
        return 0
    if level > largest:
        layer.seen["clip high"] = True
        return largest
    return level


def maximum(signal: list, kernel: tuple, stride: tuple, padding: tuple) -> list:
    """The largest value of every window; positions outside of the map do not count."""
    rows, columns = len(signal[0]), len(signal[0][0])
    top, bottom, left, right = padding
    out_h = (rows + top + bottom - kernel[0]) // stride[0] + 1
    out_w = (columns + left + right - kernel[1]) // stride[1] + 1

    def at(channel: list, oy: int, ox: int) -> int:
        values = []
        for y in range(oy * stride[0] - top, oy * stride[0] - top + kernel[0]):
            for x in range(ox * stride[1] - left, ox * stride[1] - left + kernel[1]):
                if 0 <= y < rows and 0 <= x < columns:
                    values.append(channel[y][x])
        return max(values)

    return [
        [[at(channel, oy, ox) for ox in range(out_w)] for oy in range(out_h)] for channel in signal
    ]


def run_radix(layers: list[NaiveLayer], image: list) -> tuple[list, list]:
    """The numbers ``q[c][y][x]`` of each hidden layer's map, and the logits, in radix code."""
    maps = {-1: image}
    for index, layer in enumerate(layers):
        current = currents(layer, [maps[source.map] for source in layer.sources])
        if layer.threshold is None:
            return [maps[i] for i in range(index)], [plane[0][0] for plane in current]
        values = [
            [[number(layer, out, value) for value in row] for row in plane]
            for out, plane in enumerate(current)
        ]
        maps[index] = maximum(values, *layer.max_pool) if layer.max_pool else values
    raise AssertionError("no output layer")

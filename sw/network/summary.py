"""An integer network as text: layers, shapes, bits, memory and bounds."""

import math
from collections.abc import Iterator

import numpy as np

from residuum.sw.network.bounds import Bounds, bounds, signed_bits
from residuum.sw.network.corrections import check_correction, describe_run, longest_stage
from residuum.sw.network.graph import INPUT, Shape, Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer

_HEAD: tuple[str, ...] = (
    *("layer", "reads", "pool", "kernel", "stride", "pad", "output", "neurons", "weights"),
    *("f", "TH", "acc", "current", "potential"),
)


def summary(
    network: IntegerNetwork,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    width: int | None = None,
) -> str:
    """Layers, shapes, bits, memory and bounds as text, for stages of tau and T steps.

    A second source has a line of its own. Columns beyond ``width`` characters continue in another
    table below.
    """
    tau, T = network.check_stages(tau, T)
    correction = check_correction(network, correction, tau)
    rows = [_HEAD]
    weights = parameters = 0
    for layer, shape, neurons in zip(
        network.layers, network.shapes, network.neuron_shapes, strict=True
    ):
        weights += sum(source.weight.size for source in layer.sources)
        parameters += layer.out_channels * (1 if layer.output else 2)
        limits = bounds(network, layer, longest_stage(layer, correction, tau, T))
        for number, source in enumerate(layer.sources):
            rows.append(
                (
                    *_source_cells(network, layer, number, source, shape, neurons),
                    *(_neuron_cells(layer, limits) if number == 0 else ("",) * 5),
                )
            )
    size = "x".join(map(str, network.input_shape))
    kind = "spike trains" if network.input != "image" else "pixels"
    bounds_for = describe_run(network, tau, T, correction)
    lines = [
        (
            f"{network.name}: {size} {kind}, {network.classes} classes, {network.weight_bits}-bit "
            f"weights, bounds for {bounds_for}"
        ),
        "",
        *_table(rows, width),
        "",
        (
            f"memory: {weights} weights = {-(-weights * network.weight_bits // 8)} bytes, "
            f"{parameters} biases and thresholds"
        ),
        "bounds: smallest .. largest value over all channels (bits of a signed number)",
        *(f"{key}: {value}" for key, value in sorted(network.metadata.items())),
    ]
    return "\n".join(lines)


def _source_cells(
    network: IntegerNetwork,
    layer: Layer,
    number: int,
    source: Source,
    shape: Shape,
    neurons: Shape,
) -> tuple[str, ...]:
    name = network.input if source.map == INPUT else network.layers[source.map].name
    first = number == 0
    kernel = "x".join(map(str, source.kernel))
    if source.dilation != (1, 1):
        kernel += f" dilated {_sizes(source.dilation)}"
    if source.groups > 1:
        kernel += f" in {source.groups} groups"
    output = "x".join(map(str, shape))
    if layer.max_pool:
        output += f" (maximum of {'x'.join(map(str, layer.max_pool.kernel))})"
    return (
        layer.name if first else "",
        name if first or not layer.shift else f"{name} << {layer.shift}",
        "x".join(map(str, source.pool)),
        kernel,
        _sizes(source.stride),
        _sizes(source.padding),
        output if first else "",
        str(math.prod(neurons)) if first else "",
        str(source.weight.size),
    )


def _neuron_cells(layer: Layer, limits: Bounds) -> tuple[str, ...]:
    threshold = layer.threshold
    return (
        str(layer.fraction_bits),
        "-" if threshold is None else f"{threshold.min()}..{threshold.max()}",
        _range(limits.acc_min, limits.acc_max),
        _range(limits.current_min, limits.current_max),
        _range(limits.potential_min, limits.potential_max),
    )


def _sizes(sizes: tuple[int, ...]) -> str:
    """Equal sizes as one number."""
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))


def _table(rows: list[tuple[str, ...]], width: int | None) -> Iterator[str]:
    """Lines of aligned columns.

    A table wider than ``width`` is split into several, each of which repeats the first column.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    blocks: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        together = sum(widths[i] + 2 for i in (*blocks[-1], column)) - 2
        if width is not None and together > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(column)
    for number, block in enumerate(blocks):
        if number:
            yield ""
        for row in rows:
            yield "  ".join(row[i].ljust(widths[i]) for i in block).rstrip()


def _range(low: np.ndarray, high: np.ndarray) -> str:
    smallest, largest = int(low.min()), int(high.max())
    return f"{smallest}..{largest} ({signed_bits(smallest, largest)})"

"""Integer networks in rate code as NIR files.

In a step a neuron of an integer network adds ``2**f (sum of W x + 2**h sum of W' x') + B``. The
file has this divided by 2**f, which is exact in floating point: W as it is, ``2**h W'``,
``B / 2**f`` and ``TH / 2**f``. So the weights of the file are integers, and
`nir.import_integer_nir` finds the same arrays again.

What NIR cannot say is kept in the graph's metadata, which other programs ignore: f and h, the start
potential, whether a neuron fires at v >= TH (NIR: v > TH), that the input is a picture of numbers
0 .. 255 that is shown in every step, names, and preprocessing. What no metadata helps is refused.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import write_whole
from residuum.sw.frontend.extras import need
from residuum.sw.frontend.nir_graph import NOTES
from residuum.sw.network.graph import HALF, IMAGE, INPUT, ZERO, Shape, Source, as_entry, readers
from residuum.sw.network.integer_network import RATE, IntegerNetwork, Layer

# Start potentials in words.
STARTS = {HALF: "half of v_threshold", ZERO: "0"}


def export_nir(network: IntegerNetwork, path: str | os.PathLike[str]) -> str:
    """Write the network to one NIR file, atomically.

    Returns a sentence on what other programs must know that read the file. Raises ``ResiduumError``
    if NIR cannot say the network, or the file cannot be written.
    """
    nir = need("nir", extra="nir", purpose="to read and write NIR files")
    _check(network)
    builder = _Builder(nir, network)
    content = io.BytesIO()
    nir.write(content, builder.graph())
    write_whole(Path(path), content.getvalue())
    return _advice(network)


def _check(network: IntegerNetwork) -> None:
    where = f"network {network.name!r}"
    if network.code != RATE:
        raise ResiduumError(
            f"{where} is in radix code, which NIR's neurons cannot do; export it as ONNX, or "
            "import the model with --code rate"
        )
    if network.pad is not None and any(network.pad.sides):
        raise ResiduumError(f"{where} puts a border around the picture, which NIR cannot say")
    for layer in network.layers:
        for source in layer.sources:
            top, bottom, left, right = source.padding
            if (top, left) != (bottom, right):
                raise ResiduumError(
                    f"layer {layer.name!r} has the padding {source.padding}; NIR has the same "
                    "padding at opposite sides only"
                )


def _advice(network: IntegerNetwork) -> str:
    image = "the picture, 0 .. 255, enters in every step; " if network.input == IMAGE else ""
    hidden = network.layers[:-1]
    starts = [STARTS[start] for start in STARTS if any(x.start == start for x in hidden)]
    neurons = f"; neurons start at {' or '.join(starts)}" if starts else ""
    firing = " and fire at v >= v_threshold" if not all(x.strict for x in hidden) else ""
    return f"{image}a spike lowers the potential by v_threshold{neurons}{firing}"


class _Builder:
    """Nodes and edges, layer by layer, in topological order."""

    def __init__(self, nir: Any, network: IntegerNetwork) -> None:
        self._nir = nir
        self._network = network
        self._nodes: dict[str, Any] = {}
        self._edges: list[tuple[str, str]] = []
        self._dense = [self._is_dense(index) for index in range(len(network.layers))]
        # Node that sends each map, and whether its shape is flat by now.
        self._maps: dict[int, tuple[str, bool]] = {}

    def graph(self) -> Any:
        shape = np.array(self._network.padded_shape)
        self._maps[INPUT] = self._node("input", self._nir.Input({"input": shape})), False
        for index, layer in enumerate(self._network.layers):
            self._layer(index, layer)
        last = len(self._network.layers) - 1
        channels = self._network.classes
        sizes = np.array([channels] if self._dense[last] else [channels, 1, 1])
        self._node("output", self._nir.Output({"output": sizes}), *self._currents)
        return self._nir.NIRGraph(
            self._nodes, self._edges, {NOTES: json.dumps(self._notes())}, type_check=False
        )

    def _is_dense(self, index: int) -> bool:
        """Whether a layer is written with Affine, so that its map is a vector: its kernels and
        those of its readers are whole maps."""
        layers = self._network.layers
        whole = [self._covers(layers[number]) for number in (index, *readers(layers, index))]
        return all(whole)

    def _covers(self, layer: Layer) -> bool:
        return all(
            source.kernel == self._pooled(source)[1:]
            and not any(source.padding)
            and (source.groups, source.stride, source.dilation) == (1, (1, 1), (1, 1))
            for source in layer.sources
        )

    def _pooled(self, source: Source) -> Shape:
        """Shape of the pooled map that a source convolves."""
        network = self._network
        channels, height, width = (
            network.padded_shape if source.map == INPUT else network.shapes[source.map]
        )
        return channels, height // source.pool[0], width // source.pool[1]

    def _node(self, name: str, node: Any, *senders: str) -> str:
        """Add a node under a name of its own, and edges to it."""
        # HDF5 takes "/" for a folder, and "." for the folder itself.
        name = name.replace("/", "|").strip(".") or "node"
        while name in self._nodes:
            name += "'"
        self._nodes[name] = node
        self._edges += [(sender, name) for sender in senders]
        return name

    def _layer(self, index: int, layer: Layer) -> None:
        unit = 1 << layer.fraction_bits
        self._currents = [
            self._source(layer, number, layer.bias / unit if number == 0 else None, index)
            for number in range(len(layer.sources))
        ]
        if layer.threshold is None:
            return
        channels, height, width = self._network.neuron_shapes[index]
        shape = (channels,) if self._dense[index] else (channels, height, width)
        column = (layer.threshold / unit).reshape(channels, *[1] * (len(shape) - 1))
        threshold = np.broadcast_to(column, shape).copy()
        neurons = self._nir.IF(r=np.ones(shape), v_threshold=threshold, v_reset=np.zeros(shape))
        sender = self._node(f"{layer.name}.neurons", neurons, *self._currents)
        self._maps[index] = sender, self._dense[index]

    def _source(self, layer: Layer, number: int, bias: np.ndarray | None, index: int) -> str:
        """Pooling and weights of a source; returns the node of the weights."""
        source = layer.sources[number]
        label = layer.name if number == 0 else f"{layer.name}.{number + 1}"
        sender, flat = self._maps[source.map]
        if source.pooled:
            window = np.array(source.pool)
            pool = self._nir.SumPool2d(window, window, np.zeros(2, np.int64))
            sender = self._node(f"{label}.pool", pool, sender)
        weight = source.weight * float(1 << layer.shift if number else 1)
        if not self._dense[index]:
            bias = np.zeros(layer.out_channels) if bias is None else bias
            return self._node(label, self._conv2d(source, weight, bias), sender)
        if not flat:
            shape = np.array(self._pooled(source))
            flatten = self._nir.Flatten({"input": shape}, start_dim=0, end_dim=-1)
            sender = self._node(f"{label}.flatten", flatten, sender)
        matrix = weight.reshape(len(weight), -1)
        node = self._nir.Linear(matrix) if bias is None else self._nir.Affine(matrix, bias)
        return self._node(label, node, sender)

    def _conv2d(self, source: Source, weight: np.ndarray, bias: np.ndarray) -> Any:
        return self._nir.Conv2d(
            input_shape=self._pooled(source)[1:],
            weight=weight,
            stride=source.stride,
            padding=(source.padding[0], source.padding[2]),
            dilation=source.dilation,
            groups=source.groups,
            bias=bias,
        )

    def _notes(self) -> dict[str, Any]:
        network = self._network
        return {
            "name": network.name,
            "order": list(self._nodes),
            "input": network.input,
            "weight_bits": network.weight_bits,
            "class_names": list(network.class_names),
            "logit_scale": network.logit_scale,
            "preprocessing": as_entry(network.preprocessing),
            "metadata": network.metadata,
            "layers": [
                {
                    "name": layer.name,
                    "fraction_bits": layer.fraction_bits,
                    "shift": layer.shift,
                    "start": layer.start,
                    "strict": layer.strict,
                }
                for layer in network.layers
            ],
        }

"""Networks as ONNX models, opset 17.

ONNX has no spikes. A network is written as the ANN that it computes or stands for:

* a float network: activations ``clip(z, 0, lambda)``, or a plain ReLU; pictures enter as u/255;
* an integer network in radix code: the numbers of its maps,
  ``clip(floor((I + (TH >> 1)) / TH), 0, 2**K - 1)``; pictures enter as u = 0 .. 255;
* an integer network in rate code: ``clip(I / TH, 0, 1)``, the firing rates of infinitely many
  steps; pictures enter as u = 0 .. 255.

Weights of integer networks are their integers, in float32: in radix code every number is exact, as
long as the sums stay below 2**24. Their logits are multiplied by the network's logit scale.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import write_whole
from residuum.sw.frontend.onnx_nodes import need_onnx
from residuum.sw.network.bounds import bounds
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import INPUT, MaxPool, Pad, Shape, Sides, Source, as_entry
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer

OPSET = 17
# The oldest format of files that holds this opset.
_IR_VERSION = 8
IMAGE_NAME, OUTPUT_NAME = "image", "logits"
# Integers up to here are exact in float32, and so are quotients of 8 bits by thresholds up to here.
_EXACT_SUM, _EXACT_THRESHOLD = 1 << 24, 1 << 16


def export_onnx(network: FloatNetwork | IntegerNetwork, path: str | os.PathLike[str]) -> str:
    """Write the network to one ONNX file, atomically.

    Returns a sentence on what ONNX does not say of the network. Raises ``ResiduumError`` if the
    network reads spikes, or the file cannot be written.
    """
    onnx = need_onnx()
    if network.input != "image":
        raise ResiduumError(
            f"network {network.name!r} reads spikes, which ONNX does not have; export it as NIR"
        )
    kind: _Kind = _Integers(network) if isinstance(network, IntegerNetwork) else _Floats()
    model = _Builder(network).model(kind)
    onnx.checker.check_model(model)
    write_whole(Path(path), model.SerializeToString())
    return _advice(network)


def _advice(network: FloatNetwork | IntegerNetwork) -> str:
    if isinstance(network, FloatNetwork):
        levels = "" if network.levels is None else f", without their {network.levels} levels"
        return f"pictures enter as u/255; activations are clipped{levels}"
    if network.code != RADIX:
        return "pictures enter as u = 0 .. 255; activations are the rates of infinitely many steps"
    inexact = [layer.name for layer in network.layers if not _exact(network, layer)]
    rounded = f"; {inexact[0]!r} can exceed the exact range of float32" if inexact else ", exactly"
    return f"pictures enter as u = 0 .. 255; activations are the numbers of the engine{rounded}"


def _exact(network: IntegerNetwork, layer: Layer) -> bool:
    """Whether all sums and quotients of a layer are exact in float32."""
    limits = bounds(network, layer, 1)
    # A partial sum may leave out the bias, or all terms of one sign.
    reach = np.maximum(-limits.current_min, limits.current_max) + 2 * np.abs(layer.bias)
    if layer.threshold is not None:
        reach = reach + layer.threshold
    largest = 0 if layer.threshold is None else int(layer.threshold.max())
    return int(reach.max()) < _EXACT_SUM and largest <= _EXACT_THRESHOLD


class _Kind(Protocol):
    """What differs between float and integer networks."""

    def weights(self, layer: Any) -> list[np.ndarray]:
        """Weights of each source, with everything that the currents are multiplied by."""

    def pool(self, builder: "_Builder", source: Source, x: str) -> str:
        """Average pooling of a source, which integer networks sum."""

    def activation(self, builder: "_Builder", layer: Any, z: str) -> str: ...

    def output(self, builder: "_Builder", z: str) -> str:
        """The logits of the currents of the output layer."""


class _Floats:
    """A float network, see `_Kind`."""

    def weights(self, layer: FloatLayer) -> list[np.ndarray]:
        return [source.weight for source in layer.sources]

    def pool(self, builder: "_Builder", source: Source, x: str) -> str:
        return builder.node("AveragePool", x, kernel_shape=source.pool, strides=source.pool)

    def activation(self, builder: "_Builder", layer: FloatLayer, z: str) -> str:
        if layer.threshold == math.inf:
            return builder.node("Relu", z)
        return builder.node("Clip", z, builder.array(0.0), builder.array(layer.threshold))

    def output(self, builder: "_Builder", z: str) -> str:
        return z


class _Integers:
    """An integer network, see `_Kind`."""

    def __init__(self, network: IntegerNetwork) -> None:
        self._network = network

    def weights(self, layer: Layer) -> list[np.ndarray]:
        return [
            source.weight.astype(np.float64) * factor
            for source, factor in zip(layer.sources, layer.factors, strict=True)
        ]

    def pool(self, builder: "_Builder", source: Source, x: str) -> str:
        """Sums, which are exact: a depthwise convolution with ones."""
        ones = builder.array(np.ones((source.in_channels, 1, *source.pool)))
        return builder.node(
            "Conv", x, ones, kernel_shape=source.pool, strides=source.pool, group=source.in_channels
        )

    def activation(self, builder: "_Builder", layer: Layer, z: str) -> str:
        assert layer.threshold is not None
        threshold = builder.array(layer.threshold[:, None, None])
        if layer.bits is None:
            z, largest = builder.node("Div", z, threshold), 1
        else:
            half = builder.array((layer.threshold >> 1)[:, None, None])
            z = builder.node("Div", builder.node("Add", z, half), threshold)
            z, largest = builder.node("Floor", z), (1 << layer.bits) - 1
        return builder.node("Clip", z, builder.array(0.0), builder.array(float(largest)))

    def output(self, builder: "_Builder", z: str) -> str:
        scale = self._network.logit_scale
        return z if scale is None else builder.node("Mul", z, builder.array(scale))


class _Builder:
    """Nodes of the model, layer by layer; names begin with the layer's."""

    def __init__(self, network: FloatNetwork | IntegerNetwork) -> None:
        self._onnx = need_onnx()
        self._network = network
        self._layer = "input"
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def array(self, values: Any) -> str:
        """A constant in float32; returns its name."""
        name = f"{self._layer}/constant{len(self._initializers)}"
        array = np.asarray(values).astype(np.float32)
        self._initializers.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node; returns the name of its output."""
        name = f"{self._layer}/{op}{len(self._nodes)}"
        self._nodes.append(
            self._onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes)
        )
        return name

    def model(self, kind: _Kind) -> Any:
        image = IMAGE_NAME if self._network.pad is None else self._padded(self._network.pad)
        maps = {INPUT: image}
        z = ""
        layers: tuple[Any, ...] = self._network.layers
        for index, layer in enumerate(layers):
            self._layer = layer.name
            z = self._currents(kind, layer, maps)
            if layer.threshold is not None:
                maps[index] = self._max_pooled(index, layer, kind.activation(self, layer, z))
        logits = kind.output(self, self.node("Flatten", z))
        # The last node gives the output its name.
        self._nodes[-1].output[0] = OUTPUT_NAME
        assert self._nodes[-1].name == logits
        return self._finished()

    def _padded(self, pad: Pad) -> str:
        """The picture with its border. Pad has one value for all channels: 0 around the picture
        less its border's pixel."""
        pixel = self.array(np.reshape(pad.pixel, (-1, 1, 1)))
        top, bottom, left, right = pad.sides
        sides = self.integers([0, 0, top, left, 0, 0, bottom, right])
        return self.node("Add", self.node("Pad", self.node("Sub", IMAGE_NAME, pixel), sides), pixel)

    def integers(self, values: list[int]) -> str:
        name = f"{self._layer}/constant{len(self._initializers)}"
        array = np.array(values, np.int64)
        self._initializers.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _currents(self, kind: _Kind, layer: Any, maps: dict[int, str]) -> str:
        terms = []
        for number, (source, weight) in enumerate(
            zip(layer.sources, kind.weights(layer), strict=True)
        ):
            x = maps[source.map]
            if source.pooled:
                x = kind.pool(self, source, x)
            inputs = [x, self.array(weight), *([] if number else [self.array(layer.bias)])]
            terms.append(
                self.node(
                    "Conv",
                    *inputs,
                    kernel_shape=source.kernel,
                    strides=source.stride,
                    dilations=source.dilation,
                    pads=_pads(source.padding),
                    group=source.groups,
                )
            )
        return terms[0] if len(terms) == 1 else self.node("Add", *terms)

    def _max_pooled(self, index: int, layer: Any, x: str) -> str:
        pool = layer.max_pool
        if pool is None:
            return x
        pads = _pads(pool.padding)
        if _misses(pool, self._network.neuron_shapes[index]):
            # ONNX has no maximum of nothing; zeros change no other maximum.
            sides = self.integers([0, 0, *pads[:2], 0, 0, *pads[2:]])
            x, pads = self.node("Pad", x, sides), [0] * 4
        return self.node("MaxPool", x, kernel_shape=pool.kernel, strides=pool.stride, pads=pads)

    def _finished(self) -> Any:
        helper, network = self._onnx.helper, self._network
        kind = self._onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info(IMAGE_NAME, kind, ["N", *network.input_shape])
        logits = helper.make_tensor_value_info(OUTPUT_NAME, kind, ["N", network.classes])
        graph = helper.make_graph(self._nodes, network.name, [image], [logits], self._initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="Residuum",
            doc_string=_advice(network),
        )
        helper.set_model_props(model, self._properties())
        return model

    def _properties(self) -> dict[str, str]:
        """Class names and preprocessing, which ONNX does not say, and where the network is from."""
        network = self._network
        texts = {f"residuum.{key}": value for key, value in network.metadata.items()}
        if network.class_names:
            texts["class_names"] = json.dumps(network.class_names)
        if network.preprocessing is not None:
            texts["preprocessing"] = json.dumps(as_entry(network.preprocessing))
        return texts


def _misses(pool: MaxPool, shape: Shape) -> bool:
    """Whether a window lies in the padding alone."""
    counts = pool.output_shape(shape)[1:]
    starts = [
        (count - 1) * stride - before
        for count, stride, before in zip(counts, pool.stride, pool.padding[::2], strict=True)
    ]
    return any(start >= size for start, size in zip(starts, shape[1:], strict=True))


def _pads(padding: Sides) -> list[int]:
    top, bottom, left, right = padding
    return [top, left, bottom, right]

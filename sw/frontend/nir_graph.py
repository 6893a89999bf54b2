"""A NIR file as layers with neurons, before anything is scaled.

NIR (Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024) is a
graph of nodes. A node is a linear map, a pooling, or a population of neurons; several edges into a
node are added up. Shapes have no batch dimension. One time step is one unit of NIR's time, so that
``dv/dt = R I`` is ``v += R I``.

The file's own types are not used: the package computes them wrongly for grouped convolutions and
for kernels that are not square.
"""

import heapq
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import told
from residuum.sw.frontend.extras import need
from residuum.sw.network.graph import INPUT, MAX_SOURCES, Pair, Shape, Source

# Key of the graph's metadata under which `nir_export` keeps what NIR cannot say.
NOTES = "residuum"

R = TypeVar("R")

_WITHOUT_LEAK = (
    "has a leak, which the engine's neurons do not have; train the network with IF neurons"
)
_REFUSED = {
    "LIF": _WITHOUT_LEAK,
    "CubaLIF": _WITHOUT_LEAK,
    "LI": _WITHOUT_LEAK,
    "CubaLI": _WITHOUT_LEAK,
    "Threshold": "keeps no potential between steps; use IF neurons",
    "Delay": "delays spikes, which the engine does not; remove the node",
    "Scale": "scales a signal; multiply its factors into the weights before the export",
    "Conv1d": "has one axis; use Conv2d with a height of 1",
    "NIRGraph": "is a graph in the graph; export the network as one flat graph",
}


@dataclass(frozen=True, eq=False)
class Neurons:
    """A population of IF neurons, or the output, and the currents that flow into it.

    Attributes
    ----------
    name
        Node of the first weights.
    sources
        One or two. Weights are float64 for windows that are summed, not averaged.
    bias
        float64 (C,).
    resistance, threshold
        r and v_threshold of each channel, float64 (C,); None at an output without neurons.
    output
        Whether nothing but the output of the graph reads them.
    """

    name: str
    sources: tuple[Source, ...]
    bias: np.ndarray
    resistance: np.ndarray | None
    threshold: np.ndarray | None
    output: bool = False


@dataclass(frozen=True)
class NirGraph:
    """What `read_graph` finds in a file.

    Attributes
    ----------
    input_shape
        (C, H, W); a vector of N is (N, 1, 1).
    neurons
        In topological order; the last is the output.
    dropped
        Name and type of the neurons in front of the output, if there are any.
    notes
        What `nir_export` noted in the file; empty in the files of others.
    """

    input_shape: Shape
    neurons: tuple[Neurons, ...]
    dropped: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def read_graph(path: Path) -> NirGraph:
    """Read a NIR file.

    Raises ``ResiduumError`` if it cannot be read, or naming the first node that is not supported.
    """
    graph = _read(path)
    return _Reader(path.name, graph.nodes, graph.edges, _notes(path, graph.metadata)).read()


def _read(path: Path) -> Any:
    nir = need("nir", extra="nir", purpose="to read and write NIR files")
    with told(path, "read"):
        if not path.exists():
            raise ResiduumError(f"there is no file {path}")
        path.open("rb").close()
    try:
        graph = nir.read(path, type_check=False)
        if not isinstance(graph, nir.NIRGraph):
            raise TypeError
        return graph
    except AssertionError:
        raise ResiduumError(
            f"{path} has a node whose type or whose parameters NIR {nir.version} does not allow"
        ) from None
    except Exception:
        # h5py and nir raise many kinds of exceptions on damaged files.
        raise ResiduumError(f"{path} is not a NIR graph, or it is damaged") from None


def _notes(path: Path, metadata: Any) -> dict[str, Any]:
    text = metadata.get(NOTES) if isinstance(metadata, dict) else None
    if text is None:
        return {}
    try:
        notes = json.loads(text)
    except (TypeError, ValueError):
        notes = None
    if not isinstance(notes, dict) or not isinstance(notes.get("layers"), list):
        raise ResiduumError(f"{path} has damaged metadata of Residuum; export the network again")
    return notes


@dataclass(frozen=True, eq=False)
class _Signal:
    """What a node sends on.

    Attributes
    ----------
    sources
        Currents: convolutions of maps. Spikes: their weight is the factor of the map, (1, 1, 1, 1),
        and map and pool say which spikes.
    shape
        (C, H, W).
    bias
        (C,) of currents, None of spikes.
    flat
        Whether the shape is (C * H * W,) by now.
    """

    sources: tuple[Source, ...]
    shape: Shape
    bias: np.ndarray | None
    name: str
    flat: bool = False

    @property
    def spikes(self) -> bool:
        return self.bias is None

    def as_current(self) -> "_Signal":
        """Spikes that enter neurons directly: an identity of weight 1."""
        if not self.spikes:
            return self
        channels = self.shape[0]
        identity = np.eye(channels)[:, :, None, None]
        sources = tuple(replace(s, weight=identity * s.weight) for s in self.sources)
        return replace(self, sources=sources, bias=np.zeros(channels))


class _Reader:
    """Follows the edges of a graph once."""

    def __init__(
        self, where: str, nodes: dict[str, Any], edges: Iterable[Any], notes: dict[str, Any]
    ) -> None:
        self._where = where
        self._nodes = nodes
        self._edges = list(dict.fromkeys((str(a), str(b)) for a, b in edges))
        self._notes = notes
        self._neurons: list[Neurons] = []
        self._signals: dict[str, _Signal] = {}
        self._dropped: str | None = None
        self._steps: dict[str, Callable[[str, Any, _Signal], _Signal]] = {
            "Conv2d": self._conv2d,
            "Linear": self._dense,
            "Affine": self._dense,
            "SumPool2d": self._pool,
            "AvgPool2d": self._pool,
            "Flatten": self._flatten,
            "IF": self._if,
            "I": self._integrator,
        }

    def read(self) -> NirGraph:
        self._check_edges()
        source, target = self._only("Input"), self._only("Output")
        shape = self._checked(self._input_shape, source)
        self._signals[source] = _spikes(INPUT, shape, source)
        for name in self._order():
            if name in (source, target):
                continue
            node = self._nodes[name]
            step = self._steps.get(_kind(node))
            if step is None:
                raise self._refused(name, _REFUSED.get(_kind(node), "is not supported"))
            self._signals[name] = self._checked(step, name, self._sum(name))
        self._finish(target)
        return NirGraph(shape, tuple(self._neurons), self._dropped, self._notes)

    def _checked(self, step: Callable[..., R], name: str, *signal: _Signal) -> R:
        """``step(name, node, *signal)``, without the exceptions of damaged parameters."""
        try:
            return step(name, self._nodes[name], *signal)
        except (TypeError, ValueError, IndexError):
            raise self._refused(
                name, "has parameters of a wrong type or size; the file is damaged"
            ) from None

    # Structure ------------------------------------------------------------------------------

    def _check_edges(self) -> None:
        for edge in self._edges:
            for name in edge:
                if name not in self._nodes:
                    raise ResiduumError(
                        f"{self._where} has an edge of the node {name!r}, which does not exist"
                    )
        ends = self._only("Input"), self._only("Output")
        for name in self._nodes:
            if name != ends[0] and not self._senders(name):
                raise self._refused(name, "has no input; connect it or remove it")
            if name != ends[1] and not self._receivers(name):
                raise self._refused(name, "leads nowhere; connect it or remove it")

    def _only(self, kind: str) -> str:
        found = [name for name, node in self._nodes.items() if _kind(node) == kind]
        if len(found) != 1:
            raise ResiduumError(
                f"{self._where} has {len(found)} {kind} nodes; a network must have one"
            )
        return found[0]

    def _senders(self, name: str) -> list[str]:
        return [a for a, b in self._edges if b == name]

    def _receivers(self, name: str) -> list[str]:
        return [b for a, b in self._edges if a == name]

    def _order(self) -> list[str]:
        """A topological order: that of the export, else by name, numbers by value."""
        ranks = {name: rank for rank, name in enumerate(self._notes.get("order", []))}

        def key(name: str) -> tuple[Any, ...]:
            parts = re.split(r"(\d+)", name)
            return ranks.get(name, len(ranks)), [
                (0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts
            ]

        waiting = {name: len(self._senders(name)) for name in self._nodes}
        heap = [(key(name), name) for name, count in waiting.items() if not count]
        heapq.heapify(heap)
        order = []
        while heap:
            _, name = heapq.heappop(heap)
            order.append(name)
            for receiver in self._receivers(name):
                waiting[receiver] -= 1
                if not waiting[receiver]:
                    heapq.heappush(heap, (key(receiver), receiver))
        for name in sorted(waiting.keys() - set(order)):
            raise ResiduumError(
                f"{self._where} is recurrent: its node {name!r} is in a loop or behind one; the "
                "engine runs networks without loops"
            )
        return order

    def _input_shape(self, name: str, node: Any) -> Shape:
        sizes = _sizes(node.input_type["input"])
        if len(sizes) == 1:
            sizes = (*sizes, 1, 1)
        if len(sizes) != 3 or min(sizes) < 1:
            raise self._refused(name, f"has the shape {sizes}; it must be (C, H, W) or (N,)")
        return sizes[0], sizes[1], sizes[2]

    def _sum(self, name: str) -> _Signal:
        """The sum of what a node receives."""
        signals = [self._signals[sender] for sender in self._senders(name)]
        # A layer is named after its weights, not after the spikes of a shortcut.
        named = next((signal for signal in signals if not signal.spikes), signals[0])
        if not all(signal.spikes for signal in signals):
            signals = [signal.as_current() for signal in signals]
        first = signals[0]
        for other in signals[1:]:
            same = first.shape == other.shape and first.flat == other.flat
            if not same:
                raise self._refused(
                    name,
                    f"adds the shapes {first.shape} and {other.shape}; they must be equal",
                )
        biases = [signal.bias for signal in signals if signal.bias is not None]
        return replace(
            first,
            sources=tuple(source for signal in signals for source in signal.sources),
            bias=np.sum(biases, axis=0) if biases else None,
            name=named.name,
        )

    # Linear maps ----------------------------------------------------------------------------

    def _need_spikes(self, name: str, signal: _Signal) -> None:
        if not signal.spikes:
            raise self._refused(
                name, f"follows {signal.name!r} without neurons between; put an IF between them"
            )

    def _conv2d(self, name: str, node: Any, signal: _Signal) -> _Signal:
        self._need_spikes(name, signal)
        if signal.flat:
            raise self._refused(name, "follows a Flatten; remove the Flatten")
        weight = self._array(name, "weight", node.weight, 4)
        stride, dilation = _pair(node.stride), _pair(node.dilation)
        sources = tuple(
            replace(
                source,
                weight=weight * source.weight,
                stride=stride,
                padding=self._padding(name, node, weight.shape[2:], stride, dilation),
                dilation=dilation,
                groups=int(node.groups),
            )
            for source in signal.sources
        )
        return self._current(name, sources, node.bias, signal)

    def _padding(
        self, name: str, node: Any, kernel: tuple[int, ...], stride: Pair, dilation: Pair
    ) -> tuple[int, int, int, int]:
        if isinstance(node.padding, str):
            if node.padding == "valid":
                return 0, 0, 0, 0
            if stride != (1, 1):
                raise self._refused(name, "has the padding 'same' and a stride; give numbers")
            # As PyTorch: the odd zero is below and on the right.
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            (top, left) = (t // 2 for t in total)
            return top, total[0] - top, left, total[1] - left
        height, width = _pair(node.padding)
        return height, height, width, width

    def _dense(self, name: str, node: Any, signal: _Signal) -> _Signal:
        self._need_spikes(name, signal)
        if not signal.flat and signal.shape[1:] != (1, 1):
            raise self._refused(name, f"reads the shape {signal.shape}; put a Flatten before it")
        weight = self._array(name, "weight", node.weight, 2)
        inputs = int(np.prod(signal.shape))
        if weight.shape[1] != inputs:
            raise self._refused(name, f"has {weight.shape[1]} inputs, but its input has {inputs}")
        sources = tuple(
            replace(source, weight=weight.reshape(-1, *signal.shape) * source.weight)
            for source in signal.sources
        )
        bias = getattr(node, "bias", np.zeros(len(weight)))
        return self._current(name, sources, bias, replace(signal, flat=False))

    def _current(
        self, name: str, sources: tuple[Source, ...], bias: Any, signal: _Signal
    ) -> _Signal:
        for source in sources:
            if fault := source.fault():
                raise self._refused(name, fault)
        try:
            # `signal.shape` is pooled already.
            shape = replace(sources[0], pool=(1, 1)).output_shape(signal.shape)
        except ResiduumError as error:
            raise self._refused(name, str(error)) from None
        bias = self._array(name, "bias", bias, 1)
        if len(bias) != shape[0]:
            raise self._refused(name, f"has {shape[0]} channels and a bias of {len(bias)}")
        return _Signal(sources, shape, bias, name)

    def _pool(self, name: str, node: Any, signal: _Signal) -> _Signal:
        self._need_spikes(name, signal)
        if signal.flat:
            raise self._refused(name, "follows a Flatten; pool before it")
        kernel, stride = _pair(node.kernel_size), _pair(node.stride)
        if stride != kernel or _pair(node.padding) != (0, 0):
            raise self._refused(
                name,
                f"has a window of {kernel}, a stride of {stride} and a padding of "
                f"{_pair(node.padding)}; the stride must be the window, without padding",
            )
        # The windows of both nodes are summed: an average is a smaller weight.
        factor = 1.0 if _kind(node) == "SumPool2d" else 1 / (kernel[0] * kernel[1])
        sources = tuple(
            replace(
                source,
                weight=source.weight * factor,
                pool=(source.pool[0] * kernel[0], source.pool[1] * kernel[1]),
            )
            for source in signal.sources
        )
        channels, height, width = signal.shape
        shape = channels, height // kernel[0], width // kernel[1]
        if not min(shape):
            raise self._refused(name, f"has a window larger than its {height} x {width} map")
        return replace(signal, sources=sources, shape=shape, name=name)

    def _flatten(self, name: str, node: Any, signal: _Signal) -> _Signal:
        # 1 is the default of the package, though there is no batch dimension.
        if int(node.start_dim) not in (0, 1) or int(node.end_dim) not in (-1, 2):
            raise self._refused(name, "must flatten all dimensions")
        if not signal.spikes and signal.shape[1:] != (1, 1):
            raise self._refused(name, "flattens currents; put it behind the IF")
        return replace(signal, flat=signal.shape[1:] != (1, 1))

    # Neurons --------------------------------------------------------------------------------

    def _if(self, name: str, node: Any, signal: _Signal) -> _Signal:
        threshold = self._per_channel(name, "v_threshold", node.v_threshold, signal)
        if not (threshold > 0).all():
            raise self._refused(name, "has a v_threshold that is not positive")
        if np.any(node.v_reset):
            raise self._refused(
                name,
                "has a v_reset other than 0, where the engine subtracts "
                "the threshold; set v_reset to 0",
            )
        return self._population(name, node, signal, threshold)

    def _integrator(self, name: str, node: Any, signal: _Signal) -> _Signal:
        if [_kind(self._nodes[b]) for b in self._receivers(name)] != ["Output"]:
            raise self._refused(
                name, "does not fire, so only the Output may follow it; use IF neurons"
            )
        return self._population(name, node, signal, np.ones(signal.shape[0]))

    def _population(self, name: str, node: Any, signal: _Signal, threshold: np.ndarray) -> _Signal:
        current = signal.as_current()
        if len(current.sources) > MAX_SOURCES:
            raise self._refused(
                name, f"sums {len(current.sources)} currents; the engine adds two at most"
            )
        bias = current.bias
        assert bias is not None
        resistance = self._per_channel(name, "r", node.r, current)
        used = {neurons.name for neurons in self._neurons}
        label = name if signal.spikes or signal.name in used else signal.name
        self._neurons.append(Neurons(label, current.sources, bias, resistance, threshold))
        return _spikes(len(self._neurons) - 1, current.shape, name)

    def _per_channel(self, name: str, label: str, values: Any, signal: _Signal) -> np.ndarray:
        """A value per channel (C,) from one per neuron."""
        array = self._array(name, label, values, np.ndim(values))
        count = int(np.prod(signal.shape))
        if array.size not in (1, count):
            raise self._refused(name, f"has {array.size} values of {label} for {count} neurons")
        rows = np.broadcast_to(array.reshape(-1), (count,)).reshape(signal.shape[0], -1)
        if (rows != rows[:, :1]).any():
            raise self._refused(
                name, f"has a {label} that differs inside a channel; it must be one per channel"
            )
        return rows[:, 0].copy()

    def _finish(self, target: str) -> None:
        """The currents of the output, without neurons of their own."""
        signal = self._sum(target)
        if signal.spikes:
            signal = self._drop_neurons(target, signal)
        else:
            assert signal.bias is not None
            self._neurons.append(
                Neurons(signal.name, signal.sources, signal.bias, None, None, output=True)
            )
        if signal.shape[1:] != (1, 1):
            raise ResiduumError(
                f"{self._where} has outputs of the shape {signal.shape}; they must be 1 x 1, as "
                "after an Affine"
            )

    def _drop_neurons(self, target: str, signal: _Signal) -> _Signal:
        last = len(self._neurons) - 1
        source = signal.sources[0]
        whole = len(signal.sources) == 1 and source.map == last and not source.pooled
        kinds = {_kind(self._nodes[b]) for b in self._receivers(signal.name)}
        if not whole or last < 0 or kinds - {"Output", "Flatten"}:
            raise self._refused(target, "must read an Affine, Linear or Conv2d, or its IF alone")
        self._dropped = f"{signal.name!r} ({_kind(self._nodes[signal.name])})"
        self._neurons[last] = replace(self._neurons[last], output=True)
        return signal

    def _array(self, name: str, label: str, values: Any, dimensions: int) -> np.ndarray:
        array = np.asarray(values)
        if not np.issubdtype(array.dtype, np.number) or array.ndim != dimensions:
            raise self._refused(name, f"needs a {label} of {dimensions} dimensions")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise self._refused(name, f"has a {label} that is not a finite number")
        return array

    def _refused(self, name: str, why: str) -> ResiduumError:
        return ResiduumError(f"node {name!r} ({_kind(self._nodes[name])}) {why}")


def _spikes(number: int, shape: Shape, name: str) -> _Signal:
    return _Signal((Source(np.ones((1, 1, 1, 1)), number),), shape, None, name)


def _kind(node: Any) -> str:
    return type(node).__name__


def _sizes(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in np.ravel(values))


def _pair(values: Any) -> Pair:
    """(h, w) from one number or two."""
    sizes = _sizes(values)
    return sizes[0], sizes[-1]

"""Import of NIR files against a step-by-step simulation of the graph."""

import contextlib

import h5py
import nir
import numpy as np
import pytest
import torch

from residuum.hw.isa.config import MAX_STEPS
from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.program import compile_network
from residuum.sw.convert.to_integer import to_integer
from residuum.sw.errors import ResiduumError
from residuum.sw.frontend.nir import import_integer_nir, import_nir
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.forward import convolve
from tests.sw.frontend.nir_oracle import run_nir
from tests.sw.frontend.published import published


def simulate_floats(network, trains: np.ndarray) -> np.ndarray:
    """Summed logits of an imported float network for spikes (N, steps, C, H, W)."""
    potentials = {}

    def step(index, layer, inputs):
        z = torch.as_tensor(layer.bias)[:, None, None]
        for source, x in zip(layer.sources, inputs, strict=True):
            z = z + convolve(source, x, torch.as_tensor(source.weight), pooling="mean")
        if layer.threshold is None:
            return z
        start = layer.threshold / 2 if layer.start == "half" else 0.0
        v = potentials.get(index, start) + z
        fires = v > layer.threshold if layer.strict else v >= layer.threshold
        potentials[index] = v - fires * layer.threshold
        return fires.double()

    steps = torch.as_tensor(trains, dtype=torch.float64).unbind(1)
    return sum(network.walk(x, step) for x in steps).flatten(1).numpy()


def trains_for(shape, *, count=4, steps=16, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((count, steps, *shape)) < 0.3).astype(np.uint8)


def conv(rng, out, inputs, size, *, kernel=(3, 3), stride=1, padding=1, dilation=1, groups=1):
    weight = rng.normal(0.1, 0.4, (out, inputs // groups, *kernel))
    return nir.Conv2d(size, weight, stride, padding, dilation, groups, rng.normal(0, 0.1, out))


def neurons(rng, *shape):
    """Thresholds and resistances that differ between channels."""
    ones = np.ones(shape)
    channel = (shape[0], *[1] * (len(shape) - 1))
    return nir.IF(
        r=ones * rng.uniform(0.5, 2, channel), v_threshold=ones * rng.uniform(0.5, 3, channel)
    )


def affine(rng, out, inputs):
    return nir.Affine(rng.normal(0, 0.5, (out, inputs)), rng.normal(0, 0.1, out))


def pool(kind, *size):
    return kind(np.array(size), np.array(size), np.array([0, 0]))


def chain(rng, *middle, size=(6, 5)):
    """Input, convolution, neurons, the given nodes, then what makes two outputs."""
    return {
        "input": nir.Input({"input": np.array([2, *size])}),
        "0": conv(rng, 4, 2, size),
        "1": neurons(rng, 4, *size),
        **{str(number): node for number, node in enumerate(middle, start=2)},
    }


def chained(nodes) -> list[tuple[str, str]]:
    names = list(nodes)
    return list(zip(names, names[1:], strict=False))


def write(path, nodes, edges=None):
    graph = nir.NIRGraph(nodes, edges or chained(nodes), type_check=False)
    nir.write(path, graph)
    return graph


def flatten(*shape):
    return nir.Flatten({"input": np.array(shape)}, 0, -1)


# Start potentials of a threshold; of an integer, an integer.
STARTS = {"zero": torch.zeros_like, "half": lambda threshold: threshold / 2}
OUTPUT = nir.Output({"output": np.array([2])})


def sum_pooled(rng):
    return chain(rng, pool(nir.SumPool2d, 2, 2), flatten(4, 3, 2), affine(rng, 2, 24))


def average_pooled_twice(rng):
    return chain(
        rng,
        pool(nir.AvgPool2d, 2, 1),
        pool(nir.AvgPool2d, 1, 2),
        flatten(4, 3, 2),
        affine(rng, 2, 24),
    )


def grouped_and_dilated(rng):
    return chain(
        rng,
        conv(rng, 6, 4, (6, 5), kernel=(3, 2), padding=(2, 1), dilation=(2, 1), groups=2),
        neurons(rng, 6, 6, 6),
        conv(rng, 3, 6, (6, 6), kernel=(2, 3), padding="same"),
        neurons(rng, 3, 6, 6),
        flatten(3, 6, 6),
        nir.Linear(rng.normal(0, 0.5, (2, 108))),
    )


def last_neurons(rng):
    return chain(rng, flatten(4, 6, 5), affine(rng, 2, 120), neurons(rng, 2))


def residual(rng):
    nodes = chain(
        rng, conv(rng, 4, 4, (6, 5)), neurons(rng, 4, 6, 5), flatten(4, 6, 5), affine(rng, 2, 120)
    )
    return nodes, ("1", "3")


def spikes_added(rng):
    """A convolution that reads the sum of two maps: two sources with the same weights."""
    nodes = chain(
        rng,
        conv(rng, 4, 4, (6, 5)),
        neurons(rng, 4, 6, 5),
        conv(rng, 3, 4, (6, 5)),
        neurons(rng, 3, 6, 5),
        flatten(3, 6, 5),
        affine(rng, 2, 90),
    )
    return nodes, ("1", "4")


GRAPHS = (
    sum_pooled,
    average_pooled_twice,
    grouped_and_dilated,
    last_neurons,
    residual,
    spikes_added,
)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.parametrize("start", ["zero", "half"])
def test_an_imported_network_fires_as_its_graph(tmp_path, make, start):
    made = make(np.random.default_rng(1))
    nodes, *more = made if isinstance(made, tuple) else (made,)
    nodes["output"] = OUTPUT
    graph = write(tmp_path / "x.nir", nodes, chained(nodes) + more)
    network = import_nir(tmp_path / "x.nir", reset="subtract", start=start)
    trains = trains_for((2, 6, 5))
    expected = run_nir(graph, trains, start=STARTS[start])
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(simulate_floats(network, trains), expected, rtol=1e-9, atol=1e-9)


def test_a_spike_at_the_threshold_does_not_fire(tmp_path):
    nodes = {
        "input": nir.Input({"input": np.array([1])}),
        "a": nir.Linear(np.array([[0.5]])),
        "b": nir.IF(np.ones(1), np.ones(1)),
        "c": nir.Linear(np.array([[1.0]])),
        "output": nir.Output({"output": np.array([1])}),
    }
    write(tmp_path / "x.nir", nodes)
    network = import_nir(tmp_path / "x.nir", reset="subtract")
    counts = [simulate_floats(network, np.ones((1, n, 1, 1, 1)))[0, 0] for n in range(1, 7)]
    assert counts == [0, 0, 1, 1, 2, 2]


def test_the_spiking_cnn_of_sinabs():
    path = published("cnn_sinabs.nir")
    network = import_nir(path, reset="subtract")
    trains = trains_for(network.input_shape, count=2)
    expected = run_nir(nir.read(path), trains)
    assert (network.input, network.input_shape) == ("spikes", (2, 34, 34))
    assert "'12' (IF)" in network.metadata["notes"]
    np.testing.assert_allclose(simulate_floats(network, trains), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("bits", [8, 4])
def test_the_spiking_cnn_of_sinabs_in_integers(start, bits):
    """Converted, and run by the golden model: equal to its graph with the rounded numbers."""
    path = published("cnn_sinabs.nir")
    network = to_integer(import_nir(path, reset="subtract", start=start), bits=bits)
    graph = nir.read(path)
    with_integers(graph, network)
    trains = trains_for(network.input_shape, count=2)
    expected = run_nir(graph, trains, start=lambda t: torch.floor(STARTS[start](t)))
    logits = simulate(network, trains, tau=0, T=16, keep_layers=False).logits
    assert np.ptp(expected) > 0
    assert (logits == expected).all()


def test_more_steps_than_the_engine_has():
    path = published("cnn_sinabs.nir")
    network = to_integer(import_nir(path, reset="subtract"), bits=4)
    config = PRESETS["85f-4bit"].with_changes(steps=MAX_STEPS)
    sentence = f"tau = 0 and T = 32 do not fit this engine: .* tau \\+ T at most {MAX_STEPS}"
    with pytest.raises(ResiduumError, match=sentence):
        compile_network(network, config, tau=0, T=MAX_STEPS + 1)


def with_integers(graph, network) -> None:
    """The numbers of a network in the nodes of weights and, in the order of their names, IF."""
    neurons = [name for name in sorted(graph.nodes, key=_number) if _kind(graph, name) == "IF"]
    for layer, name in zip(network.layers, neurons, strict=True):
        weights = graph.nodes[layer.name]
        weights.weight = layer.source.weight.reshape(weights.weight.shape) * layer.factors[0]
        weights.bias = layer.bias
        if layer.threshold is not None:
            shape = graph.nodes[name].v_threshold.shape
            threshold = layer.threshold.reshape(-1, *[1] * (len(shape) - 1))
            graph.nodes[name].v_threshold = np.broadcast_to(threshold, shape)


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else -1


def _kind(graph, name: str) -> str:
    return type(graph.nodes[name]).__name__


def test_layers_are_in_the_order_of_the_edges(tmp_path):
    rng = np.random.default_rng(0)
    nodes = dict(reversed(({**chain(rng, flatten(4, 6, 5), affine(rng, 2, 120))}).items()))
    nodes["output"] = OUTPUT
    edges = [("2", "3"), ("3", "output"), ("0", "1"), ("input", "0"), ("1", "2")]
    write(tmp_path / "x.nir", nodes, edges)
    assert [layer.name for layer in import_nir(tmp_path / "x.nir", reset="subtract").layers] == [
        "0",
        "3",
    ]


# ---------------------------------------------------------------------------------------------
# Integer weights.


def integers(tmp_path, *, weight=((3, -2),), threshold=2.5, bias=0.25):
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "a": nir.Affine(np.array(weight, float), np.array([bias])),
        "b": nir.IF(np.ones(1), np.array([threshold])),
        "c": nir.Linear(np.array([[-7.0], [5.0]])),
        "output": OUTPUT,
    }
    write(tmp_path / "x.nir", nodes)
    return import_integer_nir(tmp_path / "x.nir", reset="subtract")


def test_integer_weights_keep_their_scale(tmp_path):
    network = integers(tmp_path)
    first, last = network.layers
    assert first.source.weight.ravel().tolist() == [3, -2]
    assert (first.threshold.tolist(), first.bias.tolist(), first.fraction_bits) == ([10], [1], 2)
    assert (last.source.weight.ravel().tolist(), last.fraction_bits) == ([-7, 5], 0)
    assert (network.weight_bits, network.input, first.strict) == (4, "spikes", True)


@pytest.mark.parametrize(
    "change",
    [{"weight": ((3.5, 2),)}, {"threshold": 0.1}, {"bias": 1 / 3}, {"weight": ((1e6, 1),)}],
)
def test_other_numbers_are_left_to_the_conversion(tmp_path, change):
    assert integers(tmp_path, **change) is None


# ---------------------------------------------------------------------------------------------
# Refused.


def leaky(rng):
    ones = np.ones((4, 6, 5))
    return nir.LIF(tau=ones, r=ones, v_leak=ones * 0, v_threshold=ones)


def uneven(rng):
    thresholds = np.ones((4, 6, 5))
    thresholds[2, 3, 1] = 2
    return nir.IF(np.ones((4, 6, 5)), thresholds)


def with_reset(rng):
    ones = np.ones((4, 6, 5))
    return nir.IF(ones, ones, ones / 2)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (leaky, r"node '3' \(LIF\) has a leak"),
        (uneven, r"node '3' \(IF\) has a v_threshold that differs inside a channel"),
        (with_reset, r"node '3' \(IF\) has a v_reset other than 0"),
        (lambda rng: nir.Scale(np.ones((4, 6, 5))), r"node '3' \(Scale\) scales a signal"),
        (lambda rng: conv(rng, 4, 4, (6, 5)), r"node '3' \(Conv2d\) follows '2' without neurons"),
        (lambda rng: pool(nir.SumPool2d, 2, 2), r"node '3' \(SumPool2d\) follows '2' without"),
        (lambda rng: nir.IF(np.ones(3), np.ones(3)), r"node '3' \(IF\) has 3 values of v_thresh"),
    ],
)
def test_refused_after_a_convolution(tmp_path, node, sentence):
    rng = np.random.default_rng(0)
    nodes = chain(rng, conv(rng, 4, 4, (6, 5)), node(rng)) | {"output": OUTPUT}
    write(tmp_path / "x.nir", nodes)
    with pytest.raises(ResiduumError, match=sentence):
        import_nir(tmp_path / "x.nir", reset="subtract")


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (
            lambda rng: affine(rng, 2, 120),
            r"node '2' \(Affine\) reads the shape \(4, 6, 5\); put a",
        ),
        (lambda rng: conv(rng, 4, 3, (6, 5)), r"node '2' \(Conv2d\) has weights for 3 input chan"),
        (
            lambda rng: nir.SumPool2d(np.array([3, 3]), np.array([2, 2]), np.array([0, 0])),
            r"node '2' \(SumPool2d\) has a window of \(3, 3\), a stride of \(2, 2\)",
        ),
        (lambda rng: pool(nir.SumPool2d, 7, 1), r"node '2' \(SumPool2d\) has a window larger than"),
    ],
)
def test_refused_after_neurons(tmp_path, node, sentence):
    rng = np.random.default_rng(0)
    write(tmp_path / "x.nir", chain(rng, node(rng)) | {"output": OUTPUT})
    with pytest.raises(ResiduumError, match=sentence):
        import_nir(tmp_path / "x.nir", reset="subtract")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ([("1", "0")], "x.nir is recurrent: its node '0' is in a loop"),
        ([("0", "3"), ("input", "5")], r"node '5' \(Conv2d\) leads nowhere"),
        ([("5", "3")], r"node '5' \(Conv2d\) has no input"),
        ([("1", "nobody")], "x.nir has an edge of the node 'nobody'"),
    ],
)
def test_refused_edges(tmp_path, more, sentence):
    rng = np.random.default_rng(0)
    nodes = chain(rng, flatten(4, 6, 5), affine(rng, 2, 120)) | {"output": OUTPUT}
    edges = chained(nodes) + more
    if any("5" in edge for edge in more):
        nodes["5"] = conv(rng, 2, 2, (6, 5))
    write(tmp_path / "x.nir", nodes, edges)
    with pytest.raises(ResiduumError, match=sentence):
        import_nir(tmp_path / "x.nir", reset="subtract")


def test_three_currents_are_one_too_many(tmp_path):
    rng = np.random.default_rng(0)
    nodes = chain(rng, conv(rng, 4, 4, (6, 5)), neurons(rng, 4, 6, 5)) | {
        "4": conv(rng, 4, 2, (6, 5)),
        "5": flatten(4, 6, 5),
        "6": affine(rng, 2, 120),
        "output": OUTPUT,
    }
    edges = [
        *chained(chain(rng)),
        ("1", "2"),
        ("2", "3"),
        ("input", "4"),
        ("4", "3"),
        ("1", "3"),
        ("3", "5"),
        ("5", "6"),
        ("6", "output"),
    ]
    write(tmp_path / "x.nir", nodes, edges)
    with pytest.raises(ResiduumError, match=r"node '3' \(IF\) sums 3 currents"):
        import_nir(tmp_path / "x.nir", reset="subtract")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"reset": None}, "does not say how its neurons are reset; .* --reset subtract"),
        ({"reset": "zero"}, "cannot be reset by 'zero'"),
        ({"reset": "subtract", "start": "full"}, "must be 'half' or 'zero', not 'full'"),
        ({"reset": "subtract"}, "there is no file"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, sentence):
    with pytest.raises(ResiduumError, match=sentence):
        import_nir(tmp_path / "x.nir", **arguments)


@pytest.mark.parametrize("seed", range(30))
def test_files_with_other_parameters(tmp_path, seed):
    """They end in one sentence, if not in a network."""
    rng = np.random.default_rng(seed)
    write(tmp_path / "x.nir", sum_pooled(rng) | {"output": OUTPUT})
    values = [np.nan, 3.5, -1, 10**9, b"text", np.zeros((2, 2)), np.zeros(0), np.arange(7)]
    with h5py.File(tmp_path / "x.nir", "r+") as file:
        names = [f"nodes/{name}/{key}" for name, node in file["node/nodes"].items() for key in node]
        place = file["node"], names[rng.integers(0, len(names))]
        del place[0][place[1]]
        if seed % 9:
            place[0][place[1]] = values[seed % 9 - 1]
    with contextlib.suppress(ResiduumError):
        import_nir(tmp_path / "x.nir", reset="subtract")


def test_another_file(tmp_path):
    (tmp_path / "x.nir").write_bytes(b"no graph")
    with pytest.raises(ResiduumError, match="x.nir is not a NIR graph, or it is damaged"):
        import_nir(tmp_path / "x.nir", reset="subtract")


def test_without_the_package(tmp_path, monkeypatch):
    (tmp_path / "x.nir").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(ResiduumError, match=r"install the extra 'nir': pip install 'residuum\[nir"):
        import_nir(tmp_path / "x.nir", reset="subtract")

"""Which layers operators become, and forms that the random modules lack, against PyTorch."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import operators as op
from residuum.sw.frontend.lowering import lower
from residuum.sw.frontend.models import module_to_network
from residuum.sw.frontend.operators import Operator, OperatorGraph
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import MaxPool, Preprocessing, Shape
from tests.sw.frontend.modules import OptionA, with_statistics

RANDOM = np.random.default_rng(1)


def conv(name: str, source: str, outputs: int, inputs: int, size: int = 3, **options) -> Operator:
    weight = RANDOM.normal(size=(outputs, inputs, size, size))
    return op.convolution(name, "Conv", source, weight, output=name, **options)


def relu(source: str, upper: float = math.inf) -> Operator:
    return op.clip(f"{source}.relu", "Relu", source, upper)


def head(source: str, channels: int) -> list[Operator]:
    weight = RANDOM.normal(size=(3, channels))
    return [
        op.mean("mean", "ReduceMean", source, (2, 3), keep=False),
        op.linear("fc", "Gemm", "mean", weight),
    ]


def network(
    operators: list[Operator], shape: Shape = (2, 8, 8), preprocessing: Preprocessing | None = None
) -> FloatNetwork:
    graph = OperatorGraph("net", shape, "x", operators[-1].output, tuple(operators))
    return lower(graph, preprocessing=preprocessing)


PADDED = {"padding": (1, 1, 1, 1)}


def test_a_chain() -> None:
    """Names, ranges, and the global pooling in front of the dense layer."""
    operators = [conv("a", "x", 4, 2, **PADDED), relu("a", 6.0), conv("b", "a.relu", 4, 4)]
    layers = network([*operators, relu("b"), *head("b.relu", 4)]).layers
    assert [layer.name for layer in layers] == ["a", "b", "fc"]
    assert [layer.threshold for layer in layers] == [6.0, math.inf, None]
    assert [layer.source.map for layer in layers] == [-1, 0, 1]
    assert layers[0].source.padding == (1, 1, 1, 1)
    assert layers[2].source.pool == (6, 6)


def test_what_nobody_reads_is_left_out() -> None:
    operators = [conv("a", "x", 4, 2), relu("a"), conv("b", "a.relu", 4, 4), relu("b")]
    refused = op.refused("odd", "Odd", ["b.relu"])
    layers = network([*operators, refused, *head("a.relu", 4)]).layers
    assert [layer.name for layer in layers] == ["a", "fc"]


def test_a_map_that_is_read_pooled_and_unpooled_is_computed_twice() -> None:
    pool = op.max_pool("pool", "MaxPool", "a.relu", kernel=(3, 3), stride=(1, 1), **PADDED)
    operators = [conv("a", "x", 4, 2), relu("a"), pool, op.add("sum", "Add", "pool", "a.relu")]
    made = network([*operators, relu("sum"), *head("sum.relu", 4)])
    layers = made.layers
    assert made.metadata["notes"] == "'a#2' computes 'a' again, with another pooling or range"
    assert [layer.name for layer in layers] == ["a", "a#2", "sum", "fc"]
    assert layers[0].max_pool is None
    assert layers[1].max_pool == MaxPool((3, 3), (1, 1), (1, 1, 1, 1))
    assert np.array_equal(layers[0].source.weight, layers[1].source.weight)


def test_ceil_mode_is_padding() -> None:
    pool = op.max_pool("pool", "MaxPool", "a", kernel=(2, 2), stride=(2, 2), ceil_mode=True)
    operators = [conv("a", "x", 4, 2, padding=(1, 1, 0, 1)), pool, relu("pool")]
    (layer, _) = network([*operators, *head("pool.relu", 4)]).layers
    assert layer.max_pool == MaxPool((2, 2), (2, 2), (0, 0, 0, 1))


def test_overlapping_averages_are_a_layer() -> None:
    pool = op.average_pool("pool", "AveragePool", "a.relu", kernel=(3, 3), stride=(2, 2))
    operators = [conv("a", "x", 4, 2, **PADDED), relu("a", 6.0), pool]
    made = network([*operators, *head("pool", 4)])
    layers = made.layers
    assert made.metadata["notes"] == (
        "'pool' is a layer of its own: averages over windows that overlap or have a border"
    )
    assert [layer.name for layer in layers] == ["a", "pool", "fc"]
    assert layers[1].source.groups == 4
    assert layers[1].threshold == 6.0
    assert np.array_equal(layers[1].source.weight, np.full((4, 1, 3, 3), 1 / 9))


def test_shortcuts_are_second_sources() -> None:
    """An identity is a dense 1x1 kernel of one weight of 1 per channel, in the second source."""
    operators = [conv("a", "x", 4, 2), relu("a"), conv("b", "a.relu", 4, 4, **PADDED)]
    operators += [op.add("sum", "Add", "a.relu", "b"), relu("sum")]
    layers = network([*operators, *head("sum.relu", 4)]).layers
    assert [layer.name for layer in layers] == ["a", "b", "fc"]
    assert [source.kernel for source in layers[1].sources] == [(3, 3), (1, 1)]
    assert np.array_equal(layers[1].sources[1].weight[:, :, 0, 0], np.eye(4))


def test_option_a_is_a_strided_source_with_zero_rows() -> None:
    """The kernel is larger than 1x1 only because positions are cut at the end."""
    ends = [(0, 0), (0, 0)]
    operators = [conv("a", "x", 4, 2), relu("a"), conv("b", "a.relu", 7, 4, 3, stride=(2, 2))]
    operators += [
        op.slices("rows", "Slice", "a.relu", 2, 0, 99, 2),
        op.slices("columns", "Slice", "rows", 3, 0, 4, 2),
        op.slices("cut", "Slice", "columns", 2, 0, 2),
        op.pad("pad", "Pad", "cut", [(1, 2), *ends]),
        op.add("sum", "Add", "pad", "b"),
        relu("sum"),
    ]
    second = network([*operators, *head("sum.relu", 7)]).layers[1].sources[1]
    assert (second.kernel, second.stride, second.padding) == ((3, 3), (2, 2), (0, 0, 0, 0))
    kernel = second.weight.copy()
    assert np.array_equal(kernel[:, :, 0, 0], np.eye(7, 4, -1))
    kernel[:, :, 0, 0] = 0
    assert not kernel.any()


def test_operators_at_the_end_are_dropped_with_a_note() -> None:
    operators = [conv("a", "x", 4, 2), relu("a"), *head("a.relu", 4)]
    dropped = [op.identity("drop", "Dropout", "fc"), op.final("prob", "Softmax", "drop")]
    made = network([*operators, *dropped])
    assert made.layers[-1].name == "fc"
    assert made.metadata["notes"] == "dropped at the end: 'prob' (Softmax)"


def test_readers_of_the_picture_share_one_border() -> None:
    """A reader without padding skips the border by zero weights."""
    first, second = (
        conv("a", "x", 4, 2, **PADDED),
        conv("b", "x", 4, 2, 1),
    )
    operators = [first, second, op.add("sum", "Add", "a", "b"), relu("sum"), *head("sum.relu", 4)]
    made = network(operators, preprocessing=Preprocessing(mean=(0.25, 0.5), std=(0.5, 0.5)))
    assert made.pad is not None
    assert made.pad.sides == (1, 1, 1, 1)
    assert made.pad.pixel == (0.25, 0.5)
    assert [source.kernel for source in made.layers[0].sources] == [(3, 3), (3, 3)]
    assert all(source.padding == (0, 0, 0, 0) for source in made.layers[0].sources)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ResiduumError, match=r"'a' \(Conv\) has weights for 5 channels, but its in"):
        network([conv("a", "x", 4, 5), relu("a"), *head("a.relu", 4)])
    with pytest.raises(ResiduumError, match=r"'fc' \(Gemm\) has weights for 9 inputs, but its inp"):
        network([conv("a", "x", 4, 2), relu("a"), *head("a.relu", 9)])
    with pytest.raises(ResiduumError, match=r"'a' \(Conv\) has a window larger than its 8 x 8 inp"):
        network([conv("a", "x", 4, 2, 9), relu("a"), *head("a.relu", 4)])


# ---------------------------------------------------------------------------------------------
# Against PyTorch.


class Model(nn.Module):
    """A stem, the tested function, and a dense layer over what it returns."""

    def __init__(self, function: Callable[["Model", Tensor], Tensor], shape: Shape) -> None:
        super().__init__()
        self.function = function
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.next = nn.Conv2d(4, 4, 3, padding=1)
        self.image = nn.Conv2d(3, 4, 3, padding=1)
        self.point = nn.Conv2d(3, 4, 1)
        self.both = nn.Conv2d(7, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1))
        self.register_buffer("mean", torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1))
        with torch.no_grad():
            features = function(self, torch.rand(2, *shape)).flatten(1).shape[1]
        self.head = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self, x).flatten(1))


def changed_in_place(m: Model, x: Tensor) -> Tensor:
    """The sum reads the map after the ReLU, under its old name."""
    x = m.stem(x)
    y = m.next(F.relu_(x))
    y += x
    return F.relu_(y)


def in_blocks(m: Model, x: Tensor) -> Tensor:
    """Blocks that change how torch computes, not what."""
    with torch.autocast("cpu", enabled=False):
        x = F.relu(m.stem(x))
    with torch.enable_grad():
        y = m.next(x)
    return F.relu(y + x)


def chunks(m: Model, x: Tensor) -> Tensor:
    first, second = m.stem(x).chunk(2, 1)
    return F.relu(torch.cat([second, first], 1))


FUNCTIONS: dict[str, Callable[[Model, Tensor], Tensor]] = {
    "changed in place": changed_in_place,
    "chunks of a sum": chunks,
    "in blocks": in_blocks,
    "weight norm": lambda m, x: F.relu(m.normed(F.relu(m.stem(x)))),
    "sum of maps without ReLU": lambda m, x: m.next(F.relu(m.stem(x)) + F.relu(m.image(x))).relu(),
    "difference": lambda m, x: F.relu(m.stem(x) - 0.5 * m.point(x)),
    "ReLU twice": lambda m, x: F.relu6(F.relu(m.stem(x)) * 1.0),
    "clip of a clip": lambda m, x: F.relu6(3 * m.stem(x)).clamp(0, 0.4),
    "clip of pooled": lambda m, x: F.avg_pool2d(F.relu(m.stem(x)), 2).clamp(0, 0.1),
    "BatchNorm behind ReLU": lambda m, x: F.relu(m.norm(F.relu(m.stem(x)))),
    "maximum of maximum": lambda m, x: F.max_pool2d(F.max_pool2d(F.relu(m.stem(x)), 2), 3, 1, 1),
    "maximum of concatenation": lambda m, x: F.max_pool2d(
        torch.cat([F.relu(m.stem(x)), F.relu6(m.point(x))], 1), 3, 2
    ),
    "average before ReLU": lambda m, x: F.relu(F.avg_pool2d(m.stem(x), 3, 2)),
    "average of a pointwise sum": lambda m, x: F.relu(F.avg_pool2d(m.point(x), 2)),
    "padded average": lambda m, x: F.avg_pool2d(F.relu(m.stem(x)), 3, 2, 1),
    "divisor": lambda m, x: F.avg_pool2d(F.relu(m.stem(x)), 2, divisor_override=3),
    "average of the image": lambda m, x: F.relu(m.stem(F.avg_pool2d(x - m.mean, 2))),
    "overlapping average of the image": lambda m, x: F.relu(
        m.point(F.avg_pool2d(x - m.mean, 3, 1))
    ),
    "normalised image in two borders": lambda m, x: F.relu(
        m.stem(x - m.mean) + m.point(x - m.mean)
    ),
    "image and map": lambda m, x: F.relu(m.both(torch.cat([F.relu(m.stem(x)), x], 1))),
    "padding in front of normalisation": lambda m, x: F.relu(
        m.point(F.pad(x, (1, 2, 0, 1)) - m.mean)
    ),
    "padding behind normalisation": lambda m, x: F.relu(m.point(F.pad(x - m.mean, (1, 2, 0, 1)))),
    "cut in front of padding": lambda m, x: F.relu(m.next(F.relu(m.stem(x))[:, :, 1:-2, 2:-1])),
    "cut of a sum": lambda m, x: F.relu(m.stem(x)[:, :, 1:-2, ::2]),
    "negative padding": lambda m, x: F.relu(m.next(F.pad(F.relu(m.stem(x)), (-1, 1, 2, -2)))),
    "flattened positions": lambda m, x: F.relu(m.stem(x)).flatten(2).mean(2),
    "sum over positions": lambda m, x: F.relu(m.stem(x)).sum((2, 3)),
    "reshape before ReLU": lambda m, x: F.relu(m.stem(x).flatten(1)),
    "slice of flat numbers": lambda m, x: F.relu(m.stem(x)).flatten(1)[:, 3:-5:2],
    "padding of flat numbers": lambda m, x: F.pad(F.relu(m.stem(x)).flatten(1), (2, 3)),
    "rows and columns exchanged": lambda m, x: F.relu(m.stem(x)).transpose(2, 3),
    "option A of a sum": lambda m, x: F.relu(OptionA(1, 2)(m.stem(x))),
    "two maps of one kernel": lambda m, x: F.relu(m.next(F.relu(m.stem(x)))) + F.relu(m.point(x)),
    "uneven twice": lambda m, x: F.adaptive_avg_pool2d(
        F.adaptive_avg_pool2d(F.relu(m.stem(x)), 5), (2, 3)
    ),
    "global pooling of unequal": lambda m, x: F.adaptive_avg_pool2d(
        F.avg_pool2d(F.relu(m.stem(x)), 2, ceil_mode=True), 1
    ),
    "joined poolings of a map": lambda m, x: torch.cat(
        [F.relu(m.stem(x)).mean((2, 3)), F.relu(m.stem(x)).amax((2, 3))], 1
    ),
}  # fmt: skip


EVEN, ODD = (3, 8, 8), (3, 9, 11)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(name, shape, marks=marks)
        for name in FUNCTIONS
        for shape, marks in ((EVEN, pytest.mark.long), (ODD, ()))
        # The border would lie behind the remainder of the pooling.
        if (name, shape) != ("average of the image", ODD)
    ],
)
def test_equal_to_the_module(name: str, shape: Shape) -> None:
    module = with_statistics(Model(FUNCTIONS[name], shape))
    images = torch.rand(3, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected = module(images)
    logits = forward(module_to_network(module, shape), images)
    assert float((logits - expected).abs().max()) < 1e-9 * (1 + float(expected.abs().max()))


def test_a_border_behind_a_remainder_is_refused() -> None:
    module = with_statistics(Model(FUNCTIONS["average of the image"], ODD))
    with pytest.raises(ResiduumError, match=r"'stem' \(Conv2d\) pads the image with numbers"):
        module_to_network(module, ODD)


def test_a_change_through_another_view_is_refused() -> None:
    def function(m: Model, x: Tensor) -> Tensor:
        x = m.stem(x)
        F.relu_(x[:, :2])
        return x

    with pytest.raises(ResiduumError, match=r"'relu_' \(relu\) changes .* leave out inplace=True"):
        module_to_network(Model(function, (3, 8, 8)).eval(), (3, 8, 8))

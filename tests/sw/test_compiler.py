"""The compiler: refused networks, memory layout, and windows against a plain convolution."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.axes import axis_entries, max_positions
from residuum.sw.compiler.maps import MapPlan, PackedMap
from residuum.sw.compiler.program import compile_network, grow_to_fit
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from residuum.sw.network.library import load_network
from tests.sw.layers import layer

CONFIG = EngineConfig(lanes=8, tile_lanes=4, weight_rows=256, feature_rows=64)


def network(**changes) -> IntegerNetwork:
    """A 3x3 convolution on 6x6 pixels with 10 channels, and 4 classes; `changes` are to the
    convolution."""
    first = {
        "name": "conv",
        "weight": np.ones((10, 2, 3, 3), np.int32),
        "bias": np.zeros(10, np.int64),
        "threshold": np.full(10, 100),
        "fraction_bits": 0,
        "padding": 1,
        "stride": 2,
    }
    last = layer(1, "classes", np.ones((4, 10, 3, 3), int), np.zeros(4, int), None, 4)
    return IntegerNetwork("test", (2, 6, 6), (layer(0, **first | changes), last), 8)


def refusal(config=CONFIG, tau=4, T=4, **changes) -> str:
    with pytest.raises(ResiduumError) as error:
        compile_network(network(**changes), config, tau=tau, T=T)
    return str(error.value)


# sha256 over addresses and words (little-endian, 32 bits) of the programs for tau 4, T 4, by
# network, weight bits and preset. The cycles and bitstreams of the README are of these programs.
PROGRAMS = {
    ("cifar10", 4, "85f-4bit"): "fd066cfc3026ef04",
    ("digits", 4, "12f"): "4ad0980e97f5ba3e",
    ("digits", 4, "25f"): "977a59b3c069e56b",
    ("digits", 4, "45f"): "2377d7e0f60916ef",
    ("digits", 4, "85f"): "d74f2aee10196c25",
    ("digits", 4, "85f-4bit"): "c25cdf7b5541db64",
    ("digits", 8, "12f"): "0f583b7033073ef6",
    ("digits", 8, "25f"): "472fdb5d8a105e2d",
    ("digits", 8, "45f"): "e3898d437710d054",
    ("digits", 8, "85f"): "ae42e86da70bcddf",
    ("fashion", 4, "85f-4bit"): "eb810c2358dcf64e",
    ("mnist", 4, "12f"): "2a1fbdaa8dff361c",
    ("mnist", 4, "25f"): "cab60752ba5c8841",
    ("mnist", 4, "45f"): "2d9925c813fd6ea0",
    ("mnist", 4, "85f"): "3198bfb95b5b7647",
    ("mnist", 4, "85f-4bit"): "1635b61c9714ebe9",
    ("mnist", 8, "12f"): "201ec91960426976",
    ("mnist", 8, "25f"): "f48e85efba698ac1",
    ("mnist", 8, "45f"): "a2a93e8a14618779",
    ("mnist", 8, "85f"): "5b677263393e73a0",
    ("mnist-radix", 4, "12f-4bit"): "26fd6879059f2cb5",
    ("resnet20", 8, "85f-8bit"): "226efefdfc6cbf01",
    ("resnet20-radix", 4, "85f-4bit"): "13869c3d56366a88",
}


@pytest.mark.parametrize(("name", "bits", "preset"), PROGRAMS)
def test_programs_of_the_committed_networks_stay_the_same(name, bits, preset):
    network, config = load_network(name, bits), PRESETS[preset]
    steps = {"tau": 0, "T": 1} if network.code == RADIX else {"tau": 4, "T": 4}
    program = compile_network(network, config, **steps)
    assert (
        hashlib.sha256(
            program.addresses.astype("<u4").tobytes() + program.words.astype("<u4").tobytes()
        )
        .hexdigest()
        .startswith(PROGRAMS[name, bits, preset])
    )


def test_fits():
    program = compile_network(network(), CONFIG, tau=4, T=4)
    assert program.addresses.shape == program.words.shape


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"weight_rows": 100},
            "layer 'classes' takes 90 weight rows, all layers take 126; this engine has 100",
        ),
        (
            {"parameter_rows": 9},
            "layer 'conv' takes 8 parameter rows, all layers take 10; this engine has 9",
        ),
        (
            {"logit_rows": 1},
            "layer 'classes' takes 2 logit rows; this engine has 1",
        ),
        (
            {"table_entries": 6},
            "layer 'conv' takes 8 table entries, all layers take 10; this engine has 6",
        ),
        (
            {"feature_rows": 20},
            "layer 'conv': the maps in use need 35 rows of feature memory; this engine has 20",
        ),
        ({"feature_rows": 8}, "the image needs 15 rows of feature memory; this engine has 8"),
        (
            {"layers": 1},
            "the network test has 2 layers; this engine holds 1 layer descriptors",
        ),
        (
            {"fraction_bits": 3},
            "layer 'classes' has 4 fraction bits; this engine has 3",
        ),
        (
            {"steps": 7},
            "tau = 4 and T = 4 do not fit this engine: tau must be at least 0, T at least 1, "
            "and tau + T at most 7",
        ),
    ],
)
def test_refuses_for_want_of_room(change, sentence):
    assert refusal(config=CONFIG.with_changes(**change)) == sentence


def test_refuses_too_long_sums():
    weight = np.zeros((10, 2, 3, 3), np.int32)
    weight[3] = 127
    config = CONFIG.with_changes(accumulator_bits=11, shift_bits=0)
    assert refusal(config=config, weight=weight) == (
        "layer 'conv', channel 3: accumulators need 13 bits; this engine has 11"
    )


def test_refuses_too_large_potentials():
    bias = np.zeros(10, np.int64)
    bias[7] = -(1 << 23)
    assert refusal(bias=bias) == (
        "layer 'conv', channel 7: potentials need 27 bits; this engine has 24"
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"threshold": np.full(10, 1 << 23)}, "thresholds need 25"),
        ({"bias": np.full(10, -1 << 24)}, "currents need 25"),
    ],
)
def test_refuses_parameters_beyond_the_potential_bits(change, what):
    """Potentials start at half a threshold, so they may fit although the threshold does not."""
    assert f"layer 'conv', channel 0: {what}" in refusal(**change)


def test_every_threshold_that_is_not_refused_is_written_whole():
    """Exhaustive at the limit: the engine reads thresholds as signed numbers of potential_bits."""
    config = CONFIG.with_changes(potential_bits=20)
    for threshold in range((1 << 19) - 3, (1 << 19) + 3):
        fits = threshold < 1 << 19
        built = network(threshold=np.full(10, threshold))
        grown = grow_to_fit(built, config)
        assert grown.potential_bits == (20 if fits else 21)
        compile_network(built, grown, tau=1, T=1)
        if fits:
            compile_network(built, config, tau=1, T=1)
        else:
            assert "thresholds need 21 bits; this engine has 20" in refusal(
                config, 1, 1, threshold=np.full(10, threshold)
            )


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_lowest_weight_is_taken(bits):
    """A channel whose weights are all -2**(b-1) needs exactly b bits."""
    weight = np.full((10, 2, 3, 3), -1 << bits - 1)
    config = CONFIG.with_changes(weight_bits=bits)
    with_ones = network(weight=weight)
    assert compile_network(with_ones, config, tau=1, T=1).config.weight_bits == bits
    if bits > 2:
        narrow = CONFIG.with_changes(weight_bits=bits - 1)
        assert f"weights need {bits} bits; this engine has {bits - 1}" in refusal(
            narrow, 1, 1, weight=weight
        )


def chain(layers: int) -> IntegerNetwork:
    """One pixel, one neuron in each layer."""
    one, zero = np.ones((1, 1, 1, 1), int), np.zeros(1, int)
    return IntegerNetwork(
        "chain",
        (1, 1, 1),
        tuple(
            layer(
                index,
                f"layer{index}",
                one,
                zero,
                None if index == layers - 1 else np.ones(1, int),
                4 if index else 0,
            )
            for index in range(layers)
        ),
        8,
    )


def dense(shape: tuple[int, int, int], weight: int, classes: int = 2) -> IntegerNetwork:
    """A dense layer from all pixels to each class."""
    out = layer(0, "dense", np.full((classes, *shape), weight), np.zeros(classes, int), None)
    return IntegerNetwork("dense", shape, (out,), 8)


@pytest.mark.parametrize(
    ("large", "lanes", "sentence"),
    [
        (chain(65), 16, "the network chain has 65 layers; the largest engine holds 64 layer desc"),
        (dense((3, 128, 128), 127), 16, "layer 'dense', channel 0: potentials need 35 bits; the"),
        (dense((3, 128, 128), 1), 1, "layer 'dense' has window lines of 384 rows of feature memo"),
        (dense((1, 1, 257), 1), 16, "layer 'dense' has an input width of 257; an engine takes 256"),
        (dense((1, 1, 1), 1, 4097), 1, "takes 4097 logit rows; the largest engine has 4096"),
        (
            dense((99, 6, 6), 1, 300),
            1,
            "layer 'dense' takes 1069200 weight rows; the largest engine has 1048576",
        ),
        (network(threshold=np.full(10, 1 << 40)), 16, "potentials need 41 bits; the largest engi"),
        (
            network(bias=np.full(10, -1 << 40)),
            16,
            "currents need 41 bits; the largest engine has 3",
        ),
    ],
)
def test_what_no_engine_takes_gets_a_sentence(large, lanes, sentence):
    with pytest.raises(ResiduumError) as error:
        grow_to_fit(large, EngineConfig.for_lanes(lanes))
    assert sentence in str(error.value)


def test_the_largest_engine_is_the_largest_that_can_be_built():
    """The limits of `grow_to_fit` are those of `EngineConfig`."""
    assert grow_to_fit(chain(64), CONFIG).layers == 64
    for name, most in {
        "weight_rows": 1 << 20,
        "feature_rows": 1 << 20,
        "parameter_rows": 1 << 16,
        "logit_rows": 1 << 12,
        "table_entries": 1 << 16,
        "layers": 64,
        "potential_bits": 32,
    }.items():
        CONFIG.with_changes(**{name: most})
        with pytest.raises(ValueError, match=f"{name} must be in"):
            CONFIG.with_changes(**{name: most + 1})


def test_an_engine_beyond_the_host_link_is_refused():
    config = EngineConfig(lanes=1024, tile_lanes=1, weight_rows=1 << 20)
    assert refusal(config) == ("host addresses of this engine need 34 bits; the host link has 32")


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_network_on_any_engine_ends_in_a_program_or_a_sentence(data):
    """Networks and engines on both sides of each limit."""
    draw = data.draw
    few = st.sampled_from([1, 2, 3, 5, 8])
    shape = tuple(draw(st.sampled_from([1, 2, 7, 255, 256, 257, 300])) for _ in range(3))
    if np.prod(shape) > 1 << 17:
        shape = (shape[0], shape[1], 1)
    shape, layers = (shape[0], shape[1], shape[2]), []
    input_shape = shape
    depth = draw(st.sampled_from([1, 2, 3, 17]))
    for index in range(depth):
        last = index == depth - 1
        extents = shape[1:]
        pool = tuple(draw(st.sampled_from([1, min(2, e), e])) for e in extents)
        pooled = tuple(e // p for e, p in zip(extents, pool, strict=True))
        kernel = (
            pooled if last else tuple(min(draw(st.sampled_from([1, 3, 300])), e) for e in pooled)
        )
        out = draw(st.sampled_from([1, 2, 33, 4097 if np.prod(shape) < 100 else 3]))
        weight = np.full((out, shape[0], *kernel), draw(st.sampled_from([-128, -1, 1, 127])))
        if weight.size > 1 << 21 or weight[0].size * pool[0] * pool[1] > 1 << 20:
            return
        limit = 1 << draw(st.integers(0, 40))
        layers.append(
            layer(
                index,
                name=f"layer{index}",
                weight=weight,
                bias=np.full(out, draw(st.sampled_from([-limit, 0, limit]))),
                threshold=None
                if last
                else np.full(out, 1 << draw(st.sampled_from([0, 10, 24, 40]))),
                fraction_bits=draw(st.sampled_from([4, 4, 4, 5])) if index else 0,
                stride=1 if last else draw(st.sampled_from([1, 2])),
                padding=0 if last else draw(st.integers(0, min(kernel) - 1)),
                pool=pool,
            )
        )
        shape = layers[-1].source.output_shape(shape)
    built = IntegerNetwork("any", input_shape, tuple(layers), 8)
    config = EngineConfig.for_lanes(
        draw(st.sampled_from([1, 3, 16, 64])),
        steps=draw(st.sampled_from([1, 3, 8, 31])),
        fraction_bits=draw(st.sampled_from([4, 4, 4, 12])),
        potential_bits=draw(st.sampled_from([28, 32])),
        parameter_rows=draw(few),
        logit_rows=draw(few),
        table_entries=1 + draw(few),
        feature_rows=1 + draw(few),
        weight_rows=draw(few),
        layers=draw(few),
    )
    for chosen in (lambda: config, lambda: grow_to_fit(built, config)):
        try:
            program = compile_network(built, chosen(), tau=0, T=1)
        except ResiduumError as error:
            assert str(error).count("\n") == 0  # noqa: PT017
        else:
            assert program.addresses.shape == program.words.shape


def test_refuses_a_foreign_image():
    program = compile_network(network(), CONFIG, tau=4, T=4)
    with pytest.raises(ResiduumError, match=r"takes images of shape \(2, 6, 6\), not"):
        program.input_writes(np.zeros((1, 6, 6), np.uint8))


def test_grows_what_is_too_small():
    small = CONFIG.with_changes(
        weight_rows=2, feature_rows=2, parameter_rows=1, logit_rows=1, table_entries=2
    )
    grown = grow_to_fit(network(), small)
    assert dataclasses.asdict(grown) == dataclasses.asdict(
        small.with_changes(
            weight_rows=128, feature_rows=64, parameter_rows=16, logit_rows=2, table_entries=16
        )
    )


@settings(deadline=None, max_examples=100)
@given(
    size=st.integers(1, 20),
    pool=st.integers(1, 4),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    data=st.data(),
)
def test_windows_cover_what_a_convolution_reads(size, pool, kernel, stride, dilation, data):
    """Every (input, kernel) pair of a 1-D convolution after pooling, by brute force."""
    pooled, dilation = size // pool, dilation if pool == 1 else 1
    reach = dilation * (kernel - 1)
    padding, after = (data.draw(st.integers(0, reach)) for _ in range(2))
    if pooled == 0 or pooled + padding + after <= reach:
        return
    outputs = (pooled + padding + after - reach - 1) // stride + 1
    expected = [
        {
            (x, k)
            for k in range(kernel)
            for x in range(pooled * pool)
            if x // pool == output * stride - padding + k * dilation
        }
        for output in range(outputs)
    ]
    entries = axis_entries(
        size=size,
        pool=pool,
        kernel=kernel,
        stride=stride,
        padding=padding,
        outputs=outputs,
        dilation=dilation,
    )
    assert expected == [
        {(low + n * dilation, first + n // pool) for n in range(count)}
        for low, first, count in entries
    ]


@settings(deadline=None, max_examples=100)
@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    data=st.data(),
)
def test_max_pooling_reads_each_neuron_of_its_window(size, kernel, stride, data):
    padding, after = (data.draw(st.integers(0, kernel - 1)) for _ in range(2))
    if size + padding + after < kernel:
        return
    outputs = (size + padding + after - kernel) // stride + 1
    windows = max_positions(
        size=size, kernel=kernel, stride=stride, padding=padding, outputs=outputs
    )
    inside = [
        {x for x in range(size) if 0 <= x + padding - stride * output < kernel}
        for output in range(outputs)
    ]
    assert [set(window) for window in windows] == inside
    assert {len(window) for window in windows} == {max(map(len, inside))}


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    lanes=st.integers(1, 9),
)
def test_every_neuron_has_a_place_of_its_own(shape, lanes):
    values = np.arange(1, np.prod(shape) + 1).reshape(shape)
    column = next(n for n in range(1, lanes + 1) if lanes % n == 0 and n >= min(shape[0], lanes))
    plans: list = [MapPlan(shape, lanes)]
    if shape[0] <= lanes:
        plans.append(PackedMap(shape, lanes, column, shape[1]))
    for plan in plans:
        words = plan.scatter(values)
        assert sorted(words[words > 0]) == sorted(values.reshape(-1))
        assert np.array_equal(words[plan.slots()], values)


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    lanes=st.integers(1, 9),
    lines=st.integers(1, 4),
    step=st.integers(2, 3),
    data=st.data(),
)
def test_interleaved_lines(shape, lanes, lines, step, data):
    """A band has the lines of its window, position by position; lines outside the image are 0."""
    channels, height, width = shape
    padding = data.draw(st.integers(0, lines - 1))
    bands = 1 + (height - 1) // step
    image = np.random.default_rng(0).integers(1, 256, shape)
    plan = PackedMap(shape, lanes, lines * channels, bands, lines, step, padding)
    flat = plan.scatter(image).reshape(bands, -1)
    expected = np.zeros_like(flat)
    for band in range(bands):
        slot = 0
        for x in range(width):
            for line in range(lines):
                y = band * step - padding + line
                for channel in range(channels):
                    if 0 <= y < height:
                        expected[band, slot] = image[channel, y, x]
                    slot += 1
    assert np.array_equal(flat, expected)

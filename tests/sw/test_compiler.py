"""The compiler: what it refuses, where it puts things, its windows against plain convolution."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.sw.compiler.program import (
    MapPlan,
    PackedImage,
    axis_entries,
    compile_network,
    grow_to_fit,
)
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import IntegerNetwork, Layer

CONFIG = EngineConfig(lanes=8, tile_lanes=4, weight_rows=256, feature_rows=64)


def network(**changes) -> IntegerNetwork:
    """A 3x3 convolution on 6x6 pixels with 10 channels, and 4 classes; `changes` to the first."""
    first = {
        "name": "conv",
        "weight": np.ones((10, 2, 3, 3), np.int32),
        "bias": np.zeros(10, np.int64),
        "threshold": np.full(10, 100),
        "coding": "pixels",
        "fraction_bits": 0,
        "padding": 1,
        "stride": 2,
    }
    last = Layer(
        name="classes",
        weight=np.ones((4, 10, 3, 3), np.int32),
        bias=np.zeros(4, np.int64),
        threshold=None,
        coding="spikes",
        fraction_bits=4,
    )
    return IntegerNetwork("test", (2, 6, 6), (Layer(**first | changes), last), 8)


def refusal(config=CONFIG, tau=4, T=4, **changes) -> str:
    with pytest.raises(ResiduumError) as error:
        compile_network(network(**changes), config, tau=tau, T=T)
    return str(error.value)


def test_fits():
    program = compile_network(network(), CONFIG, tau=4, T=4)
    assert program.addresses.shape == program.words.shape


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"weight_rows": 100},
            "layer 'classes': 126 weight rows are needed up to this layer; this engine has 100",
        ),
        (
            {"channel_groups": 2},
            "layer 'classes': 3 channel groups are needed up to this layer; this engine has 2",
        ),
        (
            {"table_entries": 6},
            "layer 'classes': 7 table entries are needed up to this layer; this engine has 6",
        ),
        (
            {"feature_rows": 20},
            "layer 'conv': its input and output maps need 35 rows of feature memory; "
            "this engine has 20",
        ),
        ({"feature_rows": 8}, "the image needs 15 rows of feature memory; this engine has 8"),
        (
            {"layers": 1},
            "the network test has 2 layers; this engine holds 1 layer descriptors",
        ),
        (
            {"fraction_bits": 3},
            "layer 'classes' has 4 fraction bits; this engine has 3 for spikes",
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
    config = CONFIG.with_changes(accumulator_bits=11)
    assert refusal(config=config, weight=weight) == (
        "layer 'conv', channel 3: accumulators need 13 bits; this engine has 11"
    )


def test_refuses_too_large_potentials():
    bias = np.zeros(10, np.int64)
    bias[7] = -(1 << 23)
    assert refusal(bias=bias) == (
        "layer 'conv', channel 7: potentials need 27 bits; this engine has 24"
    )


def test_refuses_a_foreign_image():
    program = compile_network(network(), CONFIG, tau=4, T=4)
    with pytest.raises(ResiduumError, match=r"takes images of shape \(2, 6, 6\), not"):
        program.image_writes(np.zeros((1, 6, 6), np.uint8))


def test_grows_what_is_too_small():
    small = CONFIG.with_changes(weight_rows=2, feature_rows=2, channel_groups=1, table_entries=2)
    grown = grow_to_fit(network(), small)
    assert dataclasses.asdict(grown) == dataclasses.asdict(
        small.with_changes(weight_rows=128, feature_rows=64, channel_groups=4, table_entries=8)
    )


@settings(deadline=None, max_examples=100)
@given(
    size=st.integers(1, 20),
    pool=st.integers(1, 4),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    data=st.data(),
)
def test_windows_cover_what_a_convolution_reads(size, pool, kernel, stride, data):
    """Every (input, kernel) pair of a 1-D convolution behind pooling, by brute force."""
    pooled = size // pool
    padding = data.draw(st.integers(0, kernel - 1))
    if pooled == 0 or pooled + 2 * padding < kernel:
        return
    outputs = (pooled + 2 * padding - kernel) // stride + 1
    expected = [
        {
            (x, k)
            for k in range(kernel)
            for x in range(pooled * pool)
            if x // pool == output * stride - padding + k
        }
        for output in range(outputs)
    ]
    entries = axis_entries(
        size=size, pool=pool, kernel=kernel, stride=stride, padding=padding, outputs=outputs
    )
    assert expected == [
        {(low + n, first + n // pool) for n in range(count)} for low, first, count in entries
    ]


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    lanes=st.integers(1, 9),
)
def test_every_neuron_has_a_place_of_its_own(shape, lanes):
    plan = MapPlan(shape, lanes)
    values = np.arange(1, np.prod(shape) + 1).reshape(shape)
    words = plan.scatter(values)
    assert sorted(words[words > 0]) == sorted(values.reshape(-1))


@settings(deadline=None, max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    lanes=st.integers(1, 9),
    lines=st.integers(1, 4),
    step=st.integers(2, 3),
    data=st.data(),
)
def test_interleaved_lines(shape, lanes, lines, step, data):
    """A band holds, position by position, the lines of its window; lines outside are blank."""
    channels, height, width = shape
    padding = data.draw(st.integers(0, lines - 1))
    bands = 1 + (height - 1) // step
    image = np.random.default_rng(0).integers(1, 256, shape)
    plan = PackedImage(shape, lanes, 1, True, bands, lines, step, padding)
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

"""What a network needs of an engine, and what the engine cannot run yet."""

import numpy as np
import pytest

from residuum.boards.build.bitstream import prepare
from residuum.boards.catalogue import find
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.memories import block_memories
from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.fit import fit, fit_presets, largest_size
from residuum.sw.compiler.program import compile_network, grow_to_fit
from residuum.sw.compiler.runnable import not_runnable
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import INPUT, MaxPool, Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer
from residuum.sw.network.library import load_network, zoo_names


def ones(out, channels, kernel=1):
    return np.ones((out, channels, kernel, kernel), int)


def hidden(name, *sources, **how):
    channels = sources[0].out_channels
    return Layer(name, sources, np.zeros(channels, int), np.full(channels, 9), 0, **how)


def output(source, fraction_bits=0):
    classes = source.out_channels
    return Layer("out", (source,), np.zeros(classes, int), None, fraction_bits)


def network(*layers, shape=(2, 6, 6), **how) -> IntegerNetwork:
    return IntegerNetwork("net", shape, layers, 8, **how)


IMAGE = Source(ones(4, 2, 3), padding=(1, 1, 1, 1))
A = hidden("a", IMAGE)


def after(number, *, size=6, channels=4):
    """The output layer, reading map ``number``."""
    return output(Source(ones(3, channels, size), map=number))


GRAPHS = {
    "two sources": (
        network(A, hidden("b", Source(ones(4, 4), 0), Source(ones(4, 4), 0)), after(1)),
        ["layer 'b' has two sources"],
    ),
    "radix": (
        network(hidden("a", IMAGE, bits=4), after(0), code="radix"),
        ["layer 'a' is in radix code"],
    ),
    "max-pooling": (
        network(
            hidden("a", IMAGE, bits=4, max_pool=MaxPool((2, 2), (2, 2))),
            hidden("b", Source(ones(4, 4), 0), bits=4),
            after(1, size=3),
            code="radix",
        ),
        ["layer 'a' and 1 other are in radix code", "layer 'a' has max-pooling"],
    ),
    "dilation behind pooling": (
        network(
            A, hidden("b", Source(ones(4, 4, 2), 0, pool=(2, 2), dilation=(2, 2))), after(1, size=1)
        ),
        ["layer 'b' has a dilated convolution behind average pooling"],
    ),
    "dilated window without input": (
        network(
            hidden("a", Source(ones(4, 2, 2), dilation=(2, 2), padding=(1, 1, 1, 1))),
            output(Source(ones(3, 4), 0)),
            shape=(2, 1, 1),
        ),
        ["layer 'a' has a dilated window without any input position"],
    ),
    "start at zero": (
        network(hidden("a", IMAGE, start="zero"), after(0)),
        ["layer 'a' has neurons that start at zero"],
    ),
    "strict": (
        network(hidden("a", IMAGE, strict=True), after(0)),
        ["layer 'a' has neurons that fire strictly above their threshold"],
    ),
    "spikes": (
        network(A, after(0), input="spikes"),
        ["layer 'a' reads spike trains instead of an image"],
    ),
    "two readers": (
        network(
            A,
            hidden("b", Source(ones(4, 4), 0)),
            hidden("c", Source(ones(4, 4), 0), Source(ones(4, 4), 1), shift=4),
            after(2),
        ),
        [
            "the map of layer 'a' is read by the layers 'b' and 'c'",
            "layer 'c' reads the map of an earlier layer instead of the map of layer 'b' in front "
            "of it",
            "layer 'c' has two sources",
        ],
    ),
    "image read later": (
        network(
            A,
            hidden("b", Source(ones(4, 2))),
            hidden("c", Source(ones(4, 4), 0), Source(ones(4, 4), 1)),
            after(2),
        ),
        [
            "the image is read by the layers 'a' and 'b'",
            "layer 'b' reads the image instead of the map of layer 'a' in front of it",
            "layer 'c' has two sources",
        ],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_the_engine_cannot_run_is_named(name):
    built, expected = GRAPHS[name]
    expected = [f"{sentence}, which the engine cannot run yet" for sentence in expected]
    assert not_runnable(built) == expected
    for compiled in (
        lambda: compile_network(built, EngineConfig(), tau=0, T=1),
        lambda: grow_to_fit(built, EngineConfig()),
    ):
        with pytest.raises(ResiduumError) as error:
            compiled()
        assert str(error.value) == expected[0]
    # The needs are known all the same.
    assert {need.parameter for need in fit(built, EngineConfig())} >= {"weight_rows", "layers"}


def test_the_committed_networks_run():
    assert [name for name in zoo_names() if not_runnable(load_network(name))] == []


def test_needs_of_the_committed_networks_are_what_the_compiler_says():
    """The first need that exceeds is the compiler's refusal, for all networks and presets."""
    for name, widths in zoo_names().items():
        for bits in widths:
            built = load_network(name, bits)
            if not_runnable(built):
                continue
            for preset, found in fit_presets(built).items():
                exceeded = [need.sentence for need in found if not need.fits]
                try:
                    compile_network(built, PRESETS[preset], tau=0, T=8)
                    assert not exceeded
                except ResiduumError as error:
                    assert str(error) == exceeded[0]  # noqa: PT017


def residual(blocks=3) -> IntegerNetwork:
    """The shapes of a ResNet-20 for 3x32x32 pictures with option-A shortcuts, in radix code."""
    layers = [hidden("stem", Source(ones(16, 3, 3), INPUT, padding=(1, 1, 1, 1)), bits=6)]
    channels = 16
    for wide in (16, 32, 64):
        for _ in range(blocks):
            step = wide // channels
            here = len(layers) - 1
            first = Source(ones(wide, channels, 3), here, (step, step), (1, 1, 1, 1))
            second = Source(ones(wide, wide, 3), here + 1, padding=(1, 1, 1, 1))
            identity = Source(ones(wide, channels), here, (step, step))
            layers += [
                hidden(f"{len(layers)}", first, bits=6),
                hidden(f"{len(layers) + 1}", second, identity, shift=4, bits=6),
            ]
            channels = wide
    layers.append(output(Source(ones(10, 64), len(layers) - 1, pool=(8, 8))))
    return network(*layers, shape=(3, 32, 32), code="radix")


def test_needs_of_a_residual_network():
    """Counted by hand: weight rows 27 + 7 x 9 x 16 .. + 64, with shortcuts of one row a channel."""
    needed = {need.parameter: need.needed for need in fit(residual(), PRESETS["85f"])}
    stages = 6 * 9 * 16, 9 * 16 + 5 * 9 * 32, 9 * 32 + 5 * 9 * 64
    shortcuts = 3 * 16 + 16 + 2 * 32 + 32 + 2 * 64
    assert needed["weight_rows"] == 27 + sum(stages) + shortcuts + 64 == 5995
    assert needed["layers"] == needed["channel_groups"] == 20
    assert needed["table_entries"] == 7 * 64 + 6 * 32 + 6 * 16 + 2
    assert needed["steps"] == 6
    # Two maps of 32 x 32 rows, each with its shared result: a sum is written over its identity.
    assert needed["feature_rows"] == 2 * (32 * 32 + 1)


def test_block_memories_are_those_of_the_built_boards():
    """EBR after place and route (docs/boards.md, docs/results.md)."""
    built = {"12f": 33, "25f": 41, "45f": 61, "85f": 117, "85f-4bit": 197}
    found = {name: sum(block_memories(config).values()) for name, config in PRESETS.items()}
    assert found == built


def test_an_engine_that_is_too_large_for_its_device():
    config = PRESETS["85f-4bit"].with_changes(weight_rows=8192)
    *_, need = fit(load_network("cifar10", 4), config, device="85")
    assert need.sentence == "this engine takes 213 block memories (EBR); an ECP5-85F has 208"
    assert need.cures == ("--weight-rows 6779", "--feature-rows 1346", "a larger device")
    with pytest.raises(ResiduumError, match="takes 213 block memories"):
        prepare(find("ulx3s"), preset_name="85f-4bit", sizes={"weight_rows": 8192})


def test_every_limit_comes_with_cures():
    config = EngineConfig(lanes=8, weight_rows=64, feature_rows=64, layers=2, table_entries=4)
    config = config.with_changes(channel_groups=1, accumulator_bits=9, potential_bits=14, steps=4)
    found = {need.parameter: need for need in fit(residual(), config)}
    for parameter in ("weight_rows", "feature_rows", "layers", "table_entries", "channel_groups"):
        need = found[parameter]
        assert not need.fits
        assert f"--{parameter.replace('_', '-')} {need.needed}" in need.cures
    assert "--bits-per-activation 4 when the network is converted" in found["steps"].cures
    assert "fewer weight bits (--bits) when the network is converted" in (
        found["potential_bits"].cures
    )


def test_an_engine_with_all_cures_fits():
    """Of a committed network that exceeds four sizes of the engine."""
    config = EngineConfig(lanes=8, weight_rows=64, feature_rows=64, layers=2, table_entries=4)
    built = load_network("mnist")
    changes = {need.parameter: need.needed for need in fit(built, config) if not need.fits}
    assert len(changes) > 3
    compile_network(built, config.with_changes(**changes), tau=0, T=8)


def test_smaller_pictures_fit_the_maps():
    config = EngineConfig(lanes=16, feature_rows=512)
    height, width = largest_size(residual(), config)
    assert 12 <= height == width < 32
    assert largest_size(residual(), config.with_changes(feature_rows=1 << 13)) is None


def test_grouped_convolutions_take_the_rows_of_dense_ones():
    grouped = network(A, hidden("b", Source(ones(4, 1, 3), 0, groups=4)), after(1, size=4))
    dense = network(A, hidden("b", Source(ones(4, 4, 3), 0)), after(1, size=4))
    rows = [
        next(need.needed for need in fit(built, EngineConfig()) if need.what == "weight rows")
        for built in (grouped, dense)
    ]
    assert rows[0] == rows[1]

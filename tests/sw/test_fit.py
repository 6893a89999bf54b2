"""What a network needs of an engine, and what the engine cannot run."""

from dataclasses import replace

import numpy as np
import pytest

from residuum.boards.build.bitstream import prepare
from residuum.boards.catalogue import find
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.memories import DEVICE_EBR, block_memories
from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.exact import as_run
from residuum.sw.compiler.fit import device_of, fit, fit_presets, largest_size
from residuum.sw.compiler.program import compile_network, grow_to_fit
from residuum.sw.compiler.runnable import not_runnable
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import INPUT, MaxPool, Source
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer
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


POINT = Source(ones(4, 4), 0)
GRAPHS = {
    "general second source": (
        network(
            A, hidden("b", POINT, Source(ones(4, 4, 3), 0, padding=(1,) * 4), shift=4), after(1)
        ),
        ["layer 'b' has a second source that is no 1 x 1 convolution without padding and pooling"],
    ),
    "two general sources": (
        network(A, hidden("b", *[Source(ones(4, 4, 3), 0, padding=(1,) * 4)] * 2), after(1)),
        ["layer 'b' has a second source that is no 1 x 1 convolution without padding and pooling"],
    ),
    "image in a sum": (
        network(A, hidden("b", POINT, Source(ones(4, 2))), after(1)),
        ["layer 'b' has the image as one of two sources in rate code"],
    ),
    "large max-pooling": (
        network(
            hidden("a", IMAGE, bits=4, max_pool=MaxPool((17, 17), (1, 1))),
            after(0, size=1),
            shape=(2, 17, 17),
            code="radix",
        ),
        ["layer 'a' has a max-pooling window larger than 16"],
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
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_the_engine_cannot_run_is_named(name):
    built, expected = GRAPHS[name]
    expected = [f"{sentence}, which the engine cannot run" for sentence in expected]
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


def test_a_general_source_becomes_the_first():
    """Without a shift, both sources are alike."""
    general = Source(ones(4, 4, 3), 0, padding=(1, 1, 1, 1))
    built = network(A, hidden("b", POINT, general), after(1))
    layer = as_run(built, EngineConfig()).layers[1]
    assert [source.kernel for source in layer.sources] == [(3, 3), (1, 1)]


@pytest.mark.parametrize(
    ("changes", "config", "sentence"),
    [
        ({"fraction_bits": 5}, {}, "layer 'b' has 5 fraction bits; this engine has 4"),
        (
            {"fraction_bits": 3, "strict": True},
            {},
            "layer 'b', channel 0: it fires strictly above an odd threshold and starts at half of "
            "it, which needs 4 fraction bits on this engine, not 3",
        ),
        (
            {"shift": 7},
            {},
            "layer 'b' has a second source with h = 7; this engine has 0 or 4",
        ),
        (
            {"shift": 8},
            {"shift_bits": 0},
            "layer 'b' has a second source with h = 8; this engine has 0",
        ),
    ],
)
def test_scales_that_the_engine_has_not(changes, config, sentence):
    built = hidden("b", POINT, Source(17 * ones(4, 4), 0))
    built = network(A, replace(built, **changes), after(1))
    with pytest.raises(ResiduumError) as error:
        compile_network(built, EngineConfig(**config), tau=0, T=1)
    assert str(error.value) == sentence


def test_an_image_in_a_sum_takes_all_its_bits_at_once():
    built = network(
        hidden("a", IMAGE, bits=4),
        hidden("b", POINT, Source(ones(4, 2)), bits=4),
        after(1),
        code="radix",
    )
    compile_network(built, EngineConfig(), tau=0, T=1)
    with pytest.raises(ResiduumError) as error:
        compile_network(built, EngineConfig(steps=4), tau=0, T=1)
    assert str(error.value) == (
        "layer 'b' adds the image to another map, which takes an engine of 8 steps; this engine "
        "has 4"
    )


def test_mask_and_strict_neurons():
    built = network(replace(A, strict=True, threshold=np.full(4, 8)), after(0))
    compile_network(built, EngineConfig(), tau=1, T=1, correction="carry")
    with pytest.raises(ResiduumError, match="layer 'a' fires strictly above its threshold"):
        compile_network(built, EngineConfig(), tau=1, T=1, correction="mask")
    with pytest.raises(ResiduumError, match="'offset'"):
        compile_network(built, EngineConfig(), tau=1, T=1, correction="offset")


def test_the_committed_networks_run():
    assert not [name for name in zoo_names() if not_runnable(load_network(name))]


def test_needs_of_the_committed_networks_are_what_the_compiler_says():
    """The first need that exceeds is the compiler's refusal, for all networks and presets."""
    for name, widths in zoo_names().items():
        for bits in widths:
            built = load_network(name, bits)
            for preset, found in fit_presets(built).items():
                config = PRESETS[preset]
                T = 1 if built.code == RADIX else config.steps
                exceeded = [need.sentence for need in found if not need.fits]
                try:
                    compile_network(built, config, tau=0, T=T)
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
    """Counted by hand, for 64 lanes in 4 tiles of 16."""
    needed = {need.parameter: need.needed for need in fit(residual(), PRESETS["85f"])}
    # Layers of 16 channels take 4 of 16 lanes, layers of 32 take 8: they share weight rows.
    wide = 9 * 32 + 5 * 9 * 64 + 32 + 2 * 64
    middle = 9 * 16 + 5 * 9 * 32 + 16 + 2 * 32
    narrow = 27 + 6 * 9 * 16 + 3 * 16 + 64
    assert wide + middle / 2 + narrow / 4 <= needed["weight_rows"] < wide + middle / 2 + narrow / 2
    assert needed["layers"] == 20
    assert needed["parameter_rows"] == 7 * 4 + 6 * 8 + 6 * 16 + 3
    assert needed["logit_rows"] == 3
    # One entry for each source, and the tables of each shape of layers once. All horizontal tables
    # of packed maps differ from the vertical ones.
    assert needed["table_entries"] < 19 + 9 + 1 + 7 * 64
    assert needed["steps"] == 6
    # Three packed maps of four positions in a row.
    assert needed["feature_rows"] == 3 * 32 * 32 // 4
    roomy = PRESETS["85f"].with_changes(feature_rows=4096)
    needed = {need.parameter: need.needed for need in fit(residual(), roomy)}
    # Two maps of 32 x 32 rows, and three shared results: a sum is written over its identity.
    assert needed["feature_rows"] == 2 * 32 * 32 + 3


def test_block_memories_are_those_of_the_built_boards():
    """EBR after place and route (docs/boards.md, docs/results.md)."""
    built = {"12f": 36, "12f-4bit": 34, "85f-4bit": 202}
    found = {name: sum(block_memories(PRESETS[name]).values()) for name in built}
    assert found == built


def test_presets_fit_their_devices():
    taken = {name: sum(block_memories(config).values()) for name, config in PRESETS.items()}
    assert all(count <= DEVICE_EBR[device_of(name)] for name, count in taken.items())


def test_a_residual_network_fits_the_presets_for_it():
    fitting = [
        name for name, needs in fit_presets(residual()).items() if all(n.fits for n in needs)
    ]
    assert fitting == ["85f-4bit", "85f-5bit", "85f-6bit", "85f-8bit"]


def test_an_engine_that_is_too_large_for_its_device():
    config = PRESETS["85f-4bit"].with_changes(feature_rows=2048)
    *_, need = fit(load_network("cifar10", 4), config, device="85")
    assert need.sentence == "this engine takes 218 block memories (EBR); an ECP5-85F has 208"
    assert need.cures == ("--weight-rows 6752", "--feature-rows 1282", "a larger device")
    with pytest.raises(ResiduumError, match="takes 218 block memories"):
        prepare(find("ulx3s"), preset_name="85f-4bit", sizes={"feature_rows": 2048})


def test_every_limit_comes_with_cures():
    config = EngineConfig(lanes=8, weight_rows=64, feature_rows=64, layers=2, table_entries=4)
    config = config.with_changes(
        parameter_rows=1, accumulator_bits=9, shift_bits=0, potential_bits=14, steps=4
    )
    found = {need.parameter: need for need in fit(residual(), config)}
    for parameter in ("weight_rows", "feature_rows", "layers", "table_entries", "parameter_rows"):
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

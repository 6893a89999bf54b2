"""Networks of random weights."""

import numpy as np
import pytest

from residuum.cli import main
from residuum.hw.isa.config import CHUNK_ROWS
from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.program import compile_network
from residuum.sw.golden.golden_model import firing_share, simulate
from residuum.sw.train.untrained import UNTRAINED, untrained_network

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)


@pytest.mark.parametrize("architecture", UNTRAINED)
def test_the_share_of_neurons_that_fire(architecture):
    network = untrained_network(architecture, IMAGES, firing=0.3)
    golden = simulate(network, IMAGES, tau=0, T=1)
    assert [firing_share(layer) for layer in golden.layers] == pytest.approx(
        [0.3] * (len(network.layers) - 1), abs=0.02
    )
    # Numbers up to the largest, and hardly more clipped ones than asked for.
    for layer in golden.layers:
        assert 0.001 < (layer.values == 15).mean() < 0.1


def test_a_seed_gives_the_same_network():
    one, other, third = (
        untrained_network("resnet20", IMAGES, bits=6, map_bits=3, seed=seed) for seed in (1, 1, 2)
    )
    weights = [network.layers[3].source.weight for network in (one, other, third)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    assert (one.weight_bits, one.layers[0].bits) == (6, 3)
    assert 20 < max(np.abs(layer.source.weight).max() for layer in one.layers) <= 31


@pytest.mark.parametrize("architecture", ["vgg16", "resnet18"])
def test_deep_networks_fit_the_preset_with_an_sdram(architecture):
    config = PRESETS["85f-sdram"]
    network = untrained_network(architecture, IMAGES)
    program = compile_network(network, config, tau=0, T=1)
    # Every lane of every row has a weight, but for the ends of chunks, the image and the classes;
    # and the zeros of identities are left out.
    weights = sum(source.weight.size for layer in network.layers for source in layer.sources)
    assert 0.97 * weights < len(program.external) * 4 < 1.05 * weights
    assert len(program.external) == program.weight_rows * config.row_words
    # The layers lie one after the other, and each starts with a chunk.
    firsts = [plan.descriptor.burst for plan in program.layers]
    chunks = [plan.descriptor.chunks * plan.groups for plan in program.layers]
    ends = np.cumsum(chunks)
    assert firsts == [0, *(ends[:-1] * config.row_words).tolist()]
    assert ends[-1] * CHUNK_ROWS == program.weight_rows
    assert max(plan.descriptor.chunks for plan in program.layers) * CHUNK_ROWS <= config.weight_rows


@pytest.mark.parametrize("bits", ["1", "17", "0", "40"])
def test_bits_of_random_weights_out_of_range(bits, capsys):
    assert main(["sim", "vgg16", "--sdram", "--bits", bits]) == 1
    assert f"--bits must be 2 to 16 for random weights, not {bits}" in capsys.readouterr().err

"""Which run has which correction."""

import numpy as np
import pytest

from residuum.hw.isa.host_map import Correction
from residuum.sw.compiler.exact import engine_code
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.bounds import bounds
from residuum.sw.network.corrections import (
    CARRY,
    CORRECTIONS,
    MASK,
    NONE,
    OFFSET,
    ON_ENGINE,
    check_correction,
    describe_run,
    longest_stage,
)
from residuum.sw.network.graph import Source
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer


def network(*, strict: bool = False, bits: int | None = None) -> IntegerNetwork:
    """One neuron, and an output."""
    one = np.ones((1, 1, 1, 1), np.int32)
    layers = (
        Layer("n", (Source(one),), np.zeros(1, int), np.array([9]), 0, strict=strict, bits=bits),
        Layer("out", (Source(one, 0),), np.zeros(1, int), None, 0),
    )
    return IntegerNetwork("one", (1, 1, 1), layers, 2, RADIX if bits else "rate")


def test_default_is_mask_where_there_is_a_probe() -> None:
    assert check_correction(network(), None, 4) == MASK
    assert check_correction(network(), None, 0) == NONE
    assert check_correction(network(bits=3), None, 0) == NONE
    assert check_correction(network(strict=True), None, 0) == NONE


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_nothing_is_corrected_without_a_probe(correction: str) -> None:
    assert check_correction(network(), correction, 0) == NONE


def test_strict_neurons_can_carry() -> None:
    assert check_correction(network(strict=True), CARRY, 4, engine=True) == CARRY


@pytest.mark.parametrize(
    ("kind", "correction", "tau", "engine", "sentence"),
    [
        (
            {},
            "maks",
            4,
            False,
            "there is no correction 'maks'; the corrections are none, ma",
        ),
        (
            {},
            NONE,
            4,
            False,
            "correction 'none' is for runs without a probe, tau = 0, and tau is",
        ),
        ({"bits": 3}, CARRY, 0, False, "is in radix code, which has no probe and so no correction"),
        ({"bits": 3}, MASK, 0, False, "leave the correction out"),
        ({"strict": True}, None, 4, False, "layer 'n' fires strictly above its threshold, where"),
        ({"strict": True}, MASK, 4, False, "so it has no correction 'mask': tau must be 0, not 4"),
        ({"strict": True}, OFFSET, 4, False, "no correction 'offset': tau must be 0, not 4"),
        ({}, OFFSET, 4, True, "the engine does not have the correction 'offset'"),
        ({}, OFFSET, 0, True, "the engine does not have the correction 'offset'"),
    ],
)
def test_refusals_are_one_sentence(
    kind: dict, correction: str | None, tau: int, engine: bool, sentence: str
) -> None:
    with pytest.raises(ResiduumError, match=sentence) as caught:
        check_correction(network(**kind), correction, tau, engine=engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("correction", ON_ENGINE)
def test_code_of_the_engine(correction: str) -> None:
    expected = {NONE: Correction.MASK, MASK: Correction.MASK, CARRY: Correction.CARRY}
    assert engine_code(correction) == expected[correction]


def test_runs_are_described() -> None:
    assert describe_run(network(), 4, 4, MASK) == "tau 4, T 4"
    assert describe_run(network(), 0, 8, NONE) == "tau 0, T 8"
    assert describe_run(network(), 4, 4, CARRY) == "tau 4, T 4, carry"
    assert describe_run(network(bits=3), 0, 1, NONE) == "radix code"


def test_hidden_layers_carry_their_potential_through_both_stages() -> None:
    """A current of 255 - 9 is left over in every step: the bounds of max(tau, T) are too small."""
    (hidden, output), tau, T = network().layers, 3, 2
    assert longest_stage(hidden, MASK, tau, T) == longest_stage(output, CARRY, tau, T) == 3
    assert longest_stage(hidden, CARRY, tau, T) == 5
    residual = {}
    for correction in (MASK, CARRY):
        steps = longest_stage(hidden, correction, tau, T)
        residual[correction] = int(bounds(network(), hidden, steps).potential_max[0])
    assert residual == {MASK: 4 + 3 * 255 - 2 * 9, CARRY: 4 + 5 * 255 - 4 * 9}


def test_carry_counts_the_steps_after_the_probe_only() -> None:
    """TH = 9 and pixel 3: spikes in steps 2, 5, 8 of v + I = 7, 10, 4, 7, 10, 4, 7, 10."""
    trace = simulate(network(), np.full((1, 1, 1, 1), 3), tau=4, T=4, correction=CARRY)
    assert np.flatnonzero(trace.layers[0].trains).tolist() == [1, 4, 7]
    assert trace.logits.tolist() == [[2]]
    assert trace.layers[0].residual.flatten().tolist() == [7]
    assert not trace.layers[0].silenced.any()

"""The netlist of an accelerator with its SDRAM controller, on the model of a chip."""

import numpy as np
import pytest

from residuum.sim.external.engine import SDRAM_BITS
from residuum.sim.link.simulated import ChildLink, build_link
from residuum.sim.netlist.netlist import (
    check,
    netlist_sources,
    place_and_route,
    small_config,
    synthesise_netlist,
)
from residuum.sw.compiler.program import compile_network
from residuum.sw.network.library import load_network

STEPS = {"tau": 2, "T": 2}
RING_ROWS = 512


@pytest.mark.long
def test_synthesised_and_routed(tmp_path):
    network = load_network("digits", 4)
    config = small_config(network).with_changes(weight_rows=RING_ROWS, external=SDRAM_BITS)
    program = compile_network(network, config, **STEPS)
    assert len(program.external) > 0
    images = np.random.default_rng(0).integers(0, 256, (2, *network.input_shape), np.uint8)
    for stage, make in (
        ("synthesised", lambda: synthesise_netlist(program, tmp_path)),
        ("routed", lambda: place_and_route(tmp_path)),
    ):
        sources = netlist_sources(make(), tmp_path)
        link = ChildLink(build_link(sources, name=f"netlist-sdram-{stage}"), name=stage)
        found = check(link, network, images, **STEPS, load=True)
        assert (stage, found.mismatches, found.first) == (stage, 0, "")

"""A routed netlist is equivalent to its source, for every slice mode that the flow can use."""

import functools
import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.boards.build.synth import synthesise
from residuum.sim.netlist.netlist import NAME, cells, netlist_sources, place_and_route
from residuum.sim.verilator.build import verilog_text
from tests.sim import vectors

WORDS = [random.Random(1).getrandbits(9) for _ in range(512)]
INPUTS = {"a": 8, "b": 8, "select": 5, "address": 9, "write": 1, "rst": 1}
OUTPUTS = {"total": 9, "chosen": 1, "looked_up": 4, "stored": 9, "held": 8}


class Mixture(wiring.Component):
    """An adder, a multiplexer with 32 inputs, a LUT memory, a block memory, registers."""

    a: In(8)
    b: In(8)
    select: In(5)
    address: In(9)
    write: In(1)
    total: Out(9)
    chosen: Out(1)
    looked_up: Out(4)
    stored: Out(9)
    held: Out(8, init=0xA5)

    def elaborate(self, platform):
        m = Module()
        many = Signal(32)
        m.d.sync += [
            many.eq(Cat(self.a, self.b, many)),
            self.total.eq(self.a + self.b + many[17]),
            self.chosen.eq(Array(many)[self.select]),
        ]
        with m.If(self.write & (self.select != 7)):
            m.d.sync += self.held.eq(self.a - self.b)

        m.submodules.small = small = memory.Memory(
            shape=4, depth=16, init=[w & 15 for w in WORDS[:16]]
        )
        m.submodules.large = large = memory.Memory(shape=9, depth=512, init=WORDS)
        for store, bits in ((small, 4), (large, 9)):
            port = store.write_port()
            m.d.comb += [
                port.addr.eq(Cat(self.b, self.a)[:bits]),
                port.data.eq(self.a),
                port.en.eq(self.write),
            ]
        at_once = small.read_port(domain="comb")
        clocked = large.read_port()
        m.d.comb += [
            at_once.addr.eq(self.address[:4]),
            clocked.addr.eq(self.address),
            clocked.en.eq(1),
            self.stored.eq(clocked.data),
        ]
        m.d.sync += self.looked_up.eq(at_once.data)
        return m


@functools.cache
def mixtures(folder) -> tuple[vectors.Bench, dict[str, int]]:
    """A bench with source and routed netlist, and the cells of the routed netlist."""
    synthesise(rtlil.convert(Mixture(), platform=None), name=NAME, folder=folder)
    routed = place_and_route(folder)
    sources = netlist_sources(routed, folder)
    sources["netlist.v"] = sources["netlist.v"].replace("module top(", "module routed(")
    sources["source.v"] = verilog_text(Mixture(), name="source")
    modules = [vectors.Module(name, INPUTS, OUTPUTS) for name in ("source", "routed")]
    return vectors.Bench("routed", sources, modules), cells(routed)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return mixtures(tmp_path_factory.mktemp("routed"))


def test_the_routed_netlist_computes_what_the_source_does(built):
    bench, _ = built
    rng = random.Random(2)
    steps = [
        {port: rng.getrandbits(width) for port, width in INPUTS.items()} | {"rst": step % 97 == 96}
        for step in range(1000)
    ]
    source, routed = (bench.run(name, steps) for name in ("source", "routed"))
    assert routed == source


def test_the_routed_netlist_has_all_kinds_of_cells(built):
    _, found = built
    assert set(found) == {
        "DCCA",
        "DP16KD",
        "TRELLIS_COMB",
        "TRELLIS_FF",
        "TRELLIS_IO_INPUT",
        "TRELLIS_IO_OUTPUT",
        "TRELLIS_RAMW",
    }

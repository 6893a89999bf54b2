"""The core with flat ports, as the top module of a Verilog file."""

from dataclasses import dataclass

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.core import Core


@dataclass(frozen=True)
class FlatPort:
    """A port of `FlatCore`, and what it is for."""

    name: str
    direction: str
    width: int
    meaning: str


class FlatCore(wiring.Component):
    """A `Core` whose ports are plain bits: `ports` lists and explains them."""

    def __init__(self, core: Core):
        self.core = core
        result, bus = core.results.payload, core.bus
        self.ports = (
            FlatPort("pixel_data", "input", 8, "a byte of an image: channel, line, position"),
            FlatPort("pixel_last", "input", 1, "it is the last byte of its image"),
            FlatPort("pixel_valid", "input", 1, "there is a byte"),
            FlatPort("pixel_ready", "output", 1, "it is taken in this cycle"),
            FlatPort("result_logit", "output", 32, "signed: a logit, in the order of the classes"),
            FlatPort(
                "result_class",
                "output",
                len(result.best),
                "class of the image (the largest logit); the same with each logit",
            ),
            FlatPort(
                "result_error",
                "output",
                1,
                "the image has no class; the only transfer of its result",
            ),
            FlatPort("result_last", "output", 1, "last transfer of the result"),
            FlatPort("result_valid", "output", 1, "there is a transfer"),
            FlatPort("result_ready", "input", 1, "it is taken in this cycle"),
            FlatPort("bus_address", "input", len(bus.address), "see the memory map"),
            FlatPort("bus_write_data", "input", len(bus.write_data), "word to write"),
            FlatPort("bus_write", "input", 1, "write; never together with bus_read"),
            FlatPort("bus_read", "input", 1, "read"),
            FlatPort("bus_ready", "output", 1, "the access is accepted in this cycle"),
            FlatPort("bus_read_data", "output", len(bus.read_data), "answer to a read, in order"),
            FlatPort("bus_read_valid", "output", 1, "there is an answer"),
            FlatPort("busy", "output", 1, "an image waits, runs, or its result is not yet taken"),
        )
        ways = {"input": In, "output": Out}
        super().__init__({port.name: ways[port.direction](port.width) for port in self.ports})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.core = core = self.core
        pixels, results, bus = core.pixels, core.results, core.bus
        m.d.comb += [
            pixels.payload.value.eq(self.pixel_data),
            pixels.payload.last.eq(self.pixel_last),
            pixels.valid.eq(self.pixel_valid),
            self.pixel_ready.eq(pixels.ready),
            self.result_logit.eq(results.payload.logit),
            self.result_class.eq(results.payload.best),
            self.result_error.eq(results.payload.error),
            self.result_last.eq(results.payload.last),
            self.result_valid.eq(results.valid),
            results.ready.eq(self.result_ready),
            bus.address.eq(self.bus_address),
            bus.write_data.eq(self.bus_write_data),
            bus.write.eq(self.bus_write),
            bus.read.eq(self.bus_read),
            self.bus_ready.eq(bus.ready),
            self.bus_read_data.eq(bus.read_data),
            self.bus_read_valid.eq(bus.read_valid),
            self.busy.eq(core.busy),
        ]
        return m

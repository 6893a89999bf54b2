"""Performance counters of a layer: cycles, events, spikes, windows, stalls."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import COUNTER_WORDS, HOST_WORD_BITS, Counter

# Bits of the counters that count once per cycle: 0.4 s of one layer at 150 MHz.
CYCLE_BITS = 26


class Counters(wiring.Component):
    """Counters run from one ``start`` to the next; stalls count only while ``counting``. The cycle
    counter starts with ``begin``; ``finish`` stores and restarts it, so that the cycles of all
    layers add up to those of the run.

    ``value`` is the counter that ``select`` names (a `Counter`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "start": In(1),
                "finish": In(1),
                "counting": In(1),
                "events": In(range(config.event_width + 1)),
                "spikes": In(range(config.event_width * config.steps + 1)),
                "windows": In(2),
                "drain_stall": In(1),
                "scan_stall": In(1),
                "weight_stall": In(1),
                "select": In(range(COUNTER_WORDS)),
                "value": Out(HOST_WORD_BITS),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()

        def counter(name: str, bits: int = CYCLE_BITS) -> Signal:
            return Signal(bits, name=name, reset_less=True)

        cycles = counter("cycles")
        taken = counter("cycles_taken")
        m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.begin):
            m.d.sync += cycles.eq(1)
        with m.If(self.finish):
            m.d.sync += [taken.eq(cycles), cycles.eq(1)]

        # Register gated and multi-bit increments first: no LUT before the carry chain.
        events = Signal(range(self.config.event_width + 1))
        spikes = Signal(range(self.config.event_width * self.config.steps + 1))
        windows = Signal(2)
        drain_stall, scan_stall, weight_stall = Signal(), Signal(), Signal()
        m.d.sync += [
            events.eq(self.events),
            spikes.eq(self.spikes),
            windows.eq(self.windows),
            drain_stall.eq(self.drain_stall & self.counting),
            scan_stall.eq(self.scan_stall & self.counting),
            weight_stall.eq(self.weight_stall & self.counting),
        ]
        amounts = {
            Counter.EVENTS: events,
            Counter.SPIKES: spikes,
            Counter.WINDOWS: windows,
            Counter.DRAIN_STALLS: drain_stall,
            Counter.SCAN_STALLS: scan_stall,
        }
        if self.config.external:
            amounts[Counter.WEIGHT_STALLS] = weight_stall
        values = {Counter.CYCLES: taken}
        for which, amount in amounts.items():
            bits = CYCLE_BITS + len(amount) - 1
            values[which] = value = counter(which.name.lower(), bits)
            m.d.sync += value.eq(value + amount)
            with m.If(self.start):
                m.d.sync += value.eq(0)

        with m.Switch(self.select):
            for which, value in values.items():
                with m.Case(which):
                    m.d.comb += self.value.eq(value)
        return m

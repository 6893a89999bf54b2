"""Lanes x steps accumulators of one tile, and the registers they drain through."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.adder import GatedAdder, XorAdder
from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import action_layout, slot_layout, weights_layout
from residuum.hw.logic import delayed, select


class LaneArray(wiring.Component):
    """sum[p][t] += weight[p] if train[t], for all lanes p and steps t of a tile in one cycle; with
    ``action.shifts``, += weight[p] << H. Of two events in a cycle, the first, the second or the sum
    of both weights is added, as their trains say.

    A flush copies all sums, and the next window may add its first event in the same cycle. The
    copies leave lane by lane: slot n, with ``lane`` n of 0 to ``last_lane``, is lane ``first_lane``
    + n, and ``sums`` gives its S sums `EngineConfig.sums_latency` cycles later. Tickets (windows
    without events) follow, one slot each. The scanner delays a flush until all earlier slots have
    left.

    With one event per cycle a flush also clears the sums: adding uses the clock enable, clearing
    without adding the synchronous reset, and clearing while adding the carry cell (`GatedAdder`),
    so that there is no LUT before the carry chain. With two events the carry cell takes part in the
    choice between them (`XorAdder`). The sums then go on through all windows of a layer, and the
    drain subtracts what a lane had at the end of the window before.

    The accumulators have no other reset, because it would add an OR to every reset net. Instead
    ``load``, at the start of a layer and after a reset, clears the sums and slots of the layer
    before, or of an aborted run. ``first_lane`` holds still from ``load`` on.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "weights": In(data.ArrayLayout(weights_layout(config), config.event_width)),
                "action": In(action_layout(config)),
                "first_lane": In(config.lane_bits),
                "last_lane": In(config.lane_bits),
                "load": In(1),
                "slot_valid": Out(1),
                "slot": Out(slot_layout(config)),
                "sums": Out(data.ArrayLayout(signed(config.accumulator_bits), config.steps)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config

        # Add, copy and clear have the fan-out of all accumulators: drive them from registers.
        action = Signal(action_layout(c), reset_less=True)
        add, clear = Signal(c.steps, reset_less=True), Signal(c.steps, reset_less=True)
        hand_over = Signal(reset_less=True)
        load = Signal(reset_less=True)
        used = Cat(
            Cat(train[step] for train in self.action.trains).any() for step in range(c.steps)
        )
        m.d.sync += [
            action.eq(self.action),
            add.eq(used),
            hand_over.eq(self.action.flush & ~self.action.empty),
            load.eq(self.load),
        ]
        for step in range(c.steps):
            flush = self.action.flush & ~used[step] if c.event_width == 1 else 0
            m.d.sync += clear[step].eq(self.load | flush)
        held = self._accumulate(m, action, add=add, clear=clear, hand_over=hand_over)
        selected = self._choose(m, held, self._drain(m, action, load))
        if c.event_width == 1:
            m.d.comb += [self.sums[step].eq(total) for step, total in enumerate(selected)]
        else:
            self._subtract(m, selected, load)
        return m

    def _accumulate(
        self, m: Module, action: data.View, *, add: Signal, clear: Signal, hand_over: Signal
    ) -> list[list[Signal]]:
        """The accumulators. Returns the copies that the drain reads, by lane and step."""
        c = self.config
        shape = signed(c.accumulator_bits)
        held: list[list[Signal]] = []
        for lane in range(c.tile_lanes):
            weights = self._weights(m, lane)
            held.append([])
            for step in range(c.steps):
                total = Signal(shape, name=f"sum_{lane}_{step}", reset_less=True)
                copy = Signal(shape, name=f"held_{lane}_{step}", reset_less=True)
                summed = self._sum(m, f"{lane}_{step}", total, weights, action, step)
                with m.If(hand_over):
                    m.d.sync += copy.eq(total)
                with m.If(clear[step]):
                    m.d.sync += total.eq(0)
                with m.Elif(add[step]):
                    m.d.sync += total.eq(summed)
                held[lane].append(copy)
        return held

    def _weights(self, m: Module, lane: int) -> list[Signal]:
        """Registers of what a lane may add: its weight, shifted or not; for two events as `_sum`
        needs it."""
        c = self.config
        values = []
        for row, shift in zip(self.weights, self.action.shifts, strict=True):
            weight = row[lane].as_signed()
            shifted = Mux(shift, weight << c.shift_bits, weight)
            values.append(shifted)
        if c.event_width == 2:
            first, second = values
            both = first + second
            values = [second, second ^ first, second ^ both]
        registers = []
        for index, value in enumerate(values):
            shape = signed(c.weight_bits + c.shift_bits + c.event_width - 1)
            register = Signal(shape, name=f"weight_{lane}_{index}", reset_less=True)
            m.d.sync += register.eq(value)
            registers.append(register)
        return registers

    def _sum(
        self,
        m: Module,
        name: str,
        total: Signal,
        weights: list[Signal],
        action: data.View,
        step: int,
    ) -> Value:
        """An accumulator plus what its lane adds in a step that spikes in at least one event."""
        c = self.config
        sizes: dict[str, Any] = {"width": c.accumulator_bits, "ecp5": c.memory == "ecp5"}
        if c.event_width == 1:
            (weight,) = weights
            m.submodules[f"adder_{name}"] = gated = GatedAdder(b_width=len(weight), **sizes)
            m.d.comb += [gated.a.eq(total), gated.b.eq(weight), gated.clear.eq(action.flush)]
            return gated.total
        second, to_first, to_both = weights
        m.submodules[f"adder_{name}"] = adder = XorAdder(operand_width=len(second), **sizes)
        with_first = Mux(action.trains[1][step], to_both, to_first)
        m.d.comb += [
            adder.a.eq(total),
            adder.b.eq(Mux(action.trains[0][step], with_first, 0)),
            adder.c.eq(second),
        ]
        return adder.total

    def _drain(self, m: Module, action: data.View, load: Signal) -> Signal:
        """Counts through the lanes of a window, then through the tickets. Returns a bit for each
        lane, set for the present one of a window."""
        c = self.config
        slot = Signal(slot_layout(c), reset_less=True)
        slot_valid = Signal(reset_less=True)
        first, present = (
            Signal(c.tile_lanes, name=name, reset_less=True) for name in ("first", "present")
        )
        m.d.sync += [
            first.eq(1 << self.first_lane),
            present.eq(Mux(action.flush, first, present << 1)),
        ]
        # A cycle brings one ticket and takes one slot: no more wait than a window has lanes.
        tickets = Signal(range(c.tile_lanes + 1), reset_less=True)
        with m.If(load):
            m.d.sync += [slot_valid.eq(0), tickets.eq(0), slot.last.eq(1)]
        with m.Elif(action.flush):
            m.d.sync += [
                slot_valid.eq(1),
                slot.lane.eq(0),
                slot.last.eq(action.empty | (self.last_lane == 0)),
                slot.empty.eq(action.empty),
                slot.how.eq(action.how),
                tickets.eq(action.ticket),
            ]
        with m.Elif(slot_valid & ~slot.last):
            m.d.sync += [
                slot.lane.eq(slot.lane + 1),
                slot.last.eq(slot.lane + 1 == self.last_lane),
                tickets.eq(tickets + action.ticket),
            ]
        with m.Else():
            waiting = (tickets != 0) | action.ticket
            m.d.sync += [
                slot_valid.eq(waiting),
                slot.last.eq(1),
                slot.empty.eq(1),
                slot.how.eq(0),
                tickets.eq(tickets + action.ticket - waiting),
            ]

        m.d.comb += [self.slot_valid.eq(slot_valid), self.slot.eq(slot)]
        return present

    def _choose(self, m: Module, held: list[list[Signal]], present: Signal) -> list[Signal]:
        """Selects the sums of a lane in two registered levels: an AND with its bit and an OR with
        the neighbour, which is one LUT for each bit of both, then an OR of all. Returns one for
        each step."""
        c = self.config
        selected = []
        for step in range(c.steps):
            column = [sums[step] for sums in held]
            pairs = []
            for low in range(0, c.tile_lanes, 2):
                pair = Signal.like(column[0], name=f"pair_{step}_{low}", reset_less=True)
                m.d.sync += pair.eq(select(present[low : low + 2], column[low : low + 2]))
                pairs.append(pair)
            one = Signal.like(column[0], name=f"chosen_{step}", reset_less=True)
            m.d.sync += one.eq(reduce(or_, pairs))
            selected.append(one)
        return selected

    def _subtract(self, m: Module, selected: list[Signal], load: Signal) -> None:
        """Subtracts what the lane had at the end of the window before, 0 in the first window of a
        layer, and remembers what it has now."""
        c = self.config
        bits = c.accumulator_bits
        place = delayed(m, self.slot.lane, 2, "place")
        coming, taken = Signal(2, reset_less=True), Signal(2, reset_less=True)
        later = Signal(reset_less=True)
        m.d.sync += [
            coming.eq(Cat(self.slot_valid & ~self.slot.empty, self.slot.last)),
            taken.eq(coming),
            later.eq(later | taken.all()),
        ]
        with m.If(load):
            m.d.sync += [coming.eq(0), taken.eq(0), later.eq(0)]
        m.submodules.before = before = memory.Memory(
            shape=unsigned(c.steps * bits), depth=c.bank_slots, init=[]
        )
        read, write = before.read_port(domain="comb"), before.write_port()
        m.d.comb += [
            read.addr.eq(place),
            write.addr.eq(place),
            write.en.eq(taken[0]),
            write.data.eq(Cat(selected)),
        ]
        for step, now in enumerate(selected):
            then = Mux(later, read.data.word_select(step, bits), 0)
            total = Signal.like(now, name=f"sums_{step}")
            m.d.sync += total.eq(now - then)
            m.d.comb += self.sums[step].eq(total)

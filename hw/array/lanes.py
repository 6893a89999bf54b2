"""Lanes x steps accumulators of one tile, and the registers they drain through."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.adder import GatedAdder
from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import action_layout, slot_layout, weights_layout

# Inputs of each first-level multiplexer of the drain.
NEIGHBOURS = 4


class LaneArray(wiring.Component):
    """sum[p][t] += weight[p] if train[t], for all lanes p and steps t of a tile in one cycle; with
    ``action.shifts``, += weight[p] << H. Of two events in a cycle, the first, the second or the sum
    of both weights is added, as their trains say.

    A flush copies all sums and clears them; the next window may add its first event in the same
    cycle. The copies leave lane by lane: slot n, with ``lane`` n of 0 to ``last_lane``, is lane
    ``first_lane`` + n, and ``sums`` gives its S sums two cycles later. Tickets (windows without
    events) follow, one slot each. The scanner delays a flush until all earlier slots have left.

    Adding uses the clock enable, clearing without adding uses the synchronous reset, and clearing
    while adding uses the carry cell (`GatedAdder`), so that there is no LUT before the carry chain.
    The accumulators have no other reset, because it would add an OR to every reset net. Instead
    ``load``, at the start of a layer and after a reset, clears the sums and slots that an aborted
    run may have left.
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

        # Add, clear and copy have the fan-out of all accumulators: drive them from registers.
        action = Signal(action_layout(c), reset_less=True)
        weights = [self._weights(m, lane) for lane in range(c.tile_lanes)]
        used = Cat(
            Cat(train[step] for train in self.action.trains).any() for step in range(c.steps)
        )
        add = Signal(c.steps, reset_less=True)
        clear = Signal(c.steps, reset_less=True)
        hand_over = Signal(reset_less=True)
        load = Signal(reset_less=True)
        m.d.sync += [
            action.eq(self.action),
            add.eq(used),
            hand_over.eq(self.action.flush & ~self.action.empty),
            load.eq(self.load),
        ]
        for step in range(c.steps):
            m.d.sync += clear[step].eq(self.load | (self.action.flush & ~used[step]))

        held = self._accumulate(m, action, weights, add=add, clear=clear, hand_over=hand_over)
        lane = self._drain(m, action, load)
        self._choose(m, held, lane)
        return m

    def _weights(self, m: Module, lane: int) -> list[Signal]:
        """Registers of what a lane may add: the weight of each event, shifted or not, and of two
        events the sum."""
        c = self.config
        shape = signed(c.weight_bits + c.shift_bits + c.event_width - 1)
        values = []
        for stream, row in enumerate(self.weights):
            weight = row[lane].as_signed()
            values.append(Mux(self.action.shifts[stream], weight << c.shift_bits, weight))
        if c.event_width == 2:
            values.append(values[0] + values[1])
        registers = []
        for index, value in enumerate(values):
            register = Signal(shape, name=f"weight_{lane}_{index}", reset_less=True)
            m.d.sync += register.eq(value)
            registers.append(register)
        return registers

    def _accumulate(
        self,
        m: Module,
        action: data.View,
        weights: list[list[Signal]],
        *,
        add: Signal,
        clear: Signal,
        hand_over: Signal,
    ) -> list[list[Signal]]:
        """The accumulators. Returns the copies that the drain reads, by lane and step."""
        c = self.config
        held: list[list[Signal]] = []
        for lane in range(c.tile_lanes):
            held.append([])
            for step in range(c.steps):
                shape = signed(c.accumulator_bits)
                total = Signal(shape, name=f"sum_{lane}_{step}", reset_less=True)
                copy = Signal(shape, name=f"held_{lane}_{step}", reset_less=True)
                m.submodules[f"adder_{lane}_{step}"] = adder = GatedAdder(
                    width=c.accumulator_bits,
                    b_width=len(weights[lane][0]),
                    ecp5=c.memory == "ecp5",
                )
                m.d.comb += [
                    adder.a.eq(total),
                    adder.b.eq(_added(weights[lane], [t[step] for t in action.trains])),
                    adder.clear.eq(action.flush),
                ]
                with m.If(hand_over):
                    m.d.sync += copy.eq(total)
                with m.If(clear[step]):
                    m.d.sync += total.eq(0)
                with m.Elif(add[step]):
                    m.d.sync += total.eq(adder.total)
                held[lane].append(copy)
        return held

    def _drain(self, m: Module, action: data.View, load: Signal) -> Signal:
        """Counts through the lanes of a window, then through the tickets. Returns the present
        lane."""
        c = self.config
        slot = Signal(slot_layout(c), reset_less=True)
        slot_valid = Signal(reset_less=True)
        # The lane drives the multiplexers of all sums, so it is no counter itself: it follows one
        # that is a cycle ahead. After the last lane of a window nobody uses it.
        lane = Signal(c.lane_bits, reset_less=True)
        lane_ahead = Signal(c.lane_bits, reset_less=True)
        m.d.sync += [lane.eq(lane_ahead), lane_ahead.eq(lane_ahead + 1)]
        with m.If(action.flush):
            m.d.sync += [lane.eq(self.first_lane), lane_ahead.eq(self.first_lane + 1)]
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
        return lane

    def _choose(self, m: Module, held: list[list[Signal]], lane: Signal) -> None:
        """Selects the sums of a lane in two registered levels: among `NEIGHBOURS` lanes, then among
        these groups."""
        c = self.config
        group = Signal(range(-(-c.tile_lanes // NEIGHBOURS)), reset_less=True)
        m.d.sync += group.eq(lane // NEIGHBOURS)
        for step in range(c.steps):
            column = [sums[step] for sums in held]
            chosen = []
            for low in range(0, c.tile_lanes, NEIGHBOURS):
                few = Signal.like(column[0], name=f"chosen_{step}_{low}")
                lanes = column[low : low + NEIGHBOURS]
                m.d.sync += few.eq(Array(lanes)[lane % NEIGHBOURS])
                chosen.append(few)
            one = Signal.like(column[0], name=f"chosen_{step}")
            m.d.sync += one.eq(Array(chosen)[group] if len(chosen) > 1 else chosen[0])
            m.d.comb += self.sums[step].eq(one)


def _added(weights: list[Signal], spikes: list[Value]) -> Value:
    """What a step adds, of a step that spikes in at least one event: five inputs for a bit of two
    events, two LUTs of ECP5."""
    if len(spikes) == 1:
        return weights[0]
    first, second, both = weights
    return Mux(spikes[0], Mux(spikes[1], both, first), second)

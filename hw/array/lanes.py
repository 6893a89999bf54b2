"""Lanes x steps accumulators of one tile, and the registers they drain through."""

from amaranth.hdl import Array, Elaboratable, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.config import EngineConfig
from hw.memory.weights import weights_layout
from hw.scanner.walker import end_layout


def action_layout(config: EngineConfig) -> data.StructLayout:
    """What the array does in one cycle: add a weight row to the steps in ``train`` (none: nothing),
    or, with ``flush``, hand over the sums. ``empty`` and ``how`` are those of the scanner's token."""
    return data.StructLayout(
        {"train": unsigned(config.steps), "flush": 1, "empty": 1, "how": end_layout()}
    )


def slot_layout(config: EngineConfig) -> data.StructLayout:
    """One lane of a drained window, or (``empty``) a window without events as a whole."""
    return data.StructLayout(
        {"lane": unsigned(config.lane_bits), "last": 1, "empty": 1, "how": end_layout()}
    )


class LaneArray(wiring.Component):
    """acc[p][t] += weight[p] if train[t], for all lanes p and steps t of a tile in one cycle.

    A flush copies all sums and clears them in one cycle; they are then given out lane by lane.
    ``slot`` tells the lane, ``sums`` its S sums one cycle later. Flushes come at least
    ``tile_lanes`` cycles apart, one cycle after an ``empty`` one.

    Clearing is a synchronous reset and adding a clock enable, so that no logic stands in front of
    the carry chain; nothing else is reset, since that would be ORed into every clear net.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "weights": In(weights_layout(config)),
                "action": In(action_layout(config)),
                "slot_valid": Out(1),
                "slot": Out(slot_layout(config)),
                "sums": Out(data.ArrayLayout(signed(config.accumulator_bits), config.steps)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        action = self.action

        held: list[list[Signal]] = []
        for lane in range(c.tile_lanes):
            weight = self.weights[lane].as_signed()
            held.append([])
            for step in range(c.steps):
                shape = signed(c.accumulator_bits)
                total = Signal(shape, name=f"sum_{lane}_{step}", reset_less=True)
                copy = Signal(shape, name=f"held_{lane}_{step}", reset_less=True)
                with m.If(action.flush):
                    m.d.sync += [copy.eq(total), total.eq(0)]
                with m.Elif(action.train[step]):
                    m.d.sync += total.eq(total + weight)
                held[lane].append(copy)

        slot = Signal(slot_layout(c), reset_less=True)
        last = c.tile_lanes - 1
        with m.If(action.flush):
            m.d.sync += [
                self.slot_valid.eq(1),
                slot.lane.eq(0),
                slot.last.eq(action.empty | (last == 0)),
                slot.empty.eq(action.empty),
                slot.how.eq(action.how),
            ]
        with m.Elif(slot.last):
            m.d.sync += self.slot_valid.eq(0)
        with m.Elif(self.slot_valid):
            m.d.sync += [slot.lane.eq(slot.lane + 1), slot.last.eq(slot.lane == last - 1)]

        for step in range(c.steps):
            column = Array(held[lane][step] for lane in range(c.tile_lanes))
            chosen = Signal(signed(c.accumulator_bits), name=f"chosen_{step}", reset_less=True)
            m.d.sync += chosen.eq(column[slot.lane])
            m.d.comb += self.sums[step].eq(chosen)
        m.d.comb += self.slot.eq(slot)
        return m

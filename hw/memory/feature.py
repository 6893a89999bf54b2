"""Feature memory: the spike trains of all neurons, and which neurons have a spike."""

from itertools import islice

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.memories import train_memories
from residuum.hw.layouts import write_layout
from residuum.hw.memory.block import BlockMemory


class FeatureBank(wiring.Component):
    """The slice of the feature memory that one tile of lanes writes.

    Lanes of a row are written in ascending order from lane 0; the occupancy of a row (bit n: lane n
    has a spike) is collected meanwhile and written with the last lane. An ``empty`` row is written
    in one cycle: its occupancy is that of the latest ``shared`` row, marked in the highest bit, and
    its trains are not written at all. Reading takes three cycles for an occupancy and four for a
    train, one of each per cycle; a row may be read from the fourth cycle after its last write.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        address_bits = config.feature_row_bits + config.lane_bits
        super().__init__(
            {
                "write": In(write_layout(config)),
                "write_valid": In(1),
                "occupancy_row": In(config.feature_row_bits),
                "occupancy": Out(config.bank_slots + 1),
                "train_address": In(address_bits),
                "train": Out(config.steps + 1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        ecp5 = c.memory == "ecp5"
        trains = [
            BlockMemory(
                width=width, depth=c.feature_rows * c.bank_slots, registered=True, ecp5=ecp5
            )
            for width in train_memories(c)
        ]
        for name, memory in zip(("trains", "masks"), trains, strict=False):
            m.submodules[name] = memory
        m.submodules.occupancies = occupancies = BlockMemory(
            width=c.bank_slots + 1, depth=c.feature_rows, ecp5=ecp5
        )

        taken_valid, valid = Signal(reset_less=True), Signal(reset_less=True)
        taken, write = (Signal(write_layout(c), reset_less=True) for _ in range(2))
        spiking = Signal(reset_less=True)
        m.d.sync += [
            taken_valid.eq(self.write_valid),
            taken.eq(self.write),
            valid.eq(taken_valid),
            write.eq(taken),
            spiking.eq(taken.train[: c.steps].any()),
        ]

        gathered = Signal(c.bank_slots, reset_less=True)
        occupancy = Signal(c.bank_slots)
        shared = Signal(c.bank_slots, reset_less=True)
        for lane in range(c.bank_slots):
            earlier = gathered[lane] & (write.lane > lane)
            m.d.comb += occupancy[lane].eq(Mux(write.lane == lane, spiking, earlier))
        with m.If(valid & ~write.empty):
            m.d.sync += gathered.eq(occupancy)
            with m.If(write.shared):
                m.d.sync += shared.eq(occupancy)

        # The EBR may be far away: write it from registers.
        row_done = Signal(reset_less=True)
        row = Signal(c.feature_row_bits, reset_less=True)
        row_occupancy = Signal(c.bank_slots + 1, reset_less=True)
        m.d.sync += [
            row_done.eq(valid & (write.last | write.empty)),
            row.eq(write.row),
            row_occupancy.eq(Cat(Mux(write.empty, shared, occupancy), write.empty)),
        ]

        # Addresses cross the device: register them at the memory.
        occupancy_row = Signal.like(self.occupancy_row, reset_less=True)
        train_address = Signal.like(self.train_address, reset_less=True)
        m.d.sync += [
            occupancy_row.eq(self.occupancy_row),
            train_address.eq(self.train_address),
        ]
        m.d.comb += [
            occupancies.write_enable.eq(row_done),
            occupancies.write_address.eq(row),
            occupancies.write_data.eq(row_occupancy),
            occupancies.read_address.eq(occupancy_row),
            self.occupancy.eq(occupancies.read_data),
            self.train.eq(Cat(memory.read_data for memory in trains)),
        ]
        bits = iter(write.train)
        for memory in trains:
            m.d.comb += [
                memory.write_enable.eq(valid & ~write.empty),
                memory.write_address.eq(Cat(write.lane, write.row)),
                memory.write_data.eq(Cat(islice(bits, memory.width))),
                memory.read_address.eq(train_address),
            ]
        return m

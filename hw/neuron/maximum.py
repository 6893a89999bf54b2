"""Max-pooling: the largest number of each lane over a window of the output map."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import slot_layout


class Maximum(wiring.Component):
    """The running maximum of each lane over the windows of a max-pooling, in radix code.

    ``slot_valid``, ``slot`` and ``train`` are a result of `NeuronPipeline`; the train is a number,
    its highest bit, *silenced*, aside. One result may enter per cycle. A result with ``how.more``
    is kept for the next one of its lane, which has ``how.later``, and does not leave. All others
    leave two cycles later, as ``result_valid``, ``result`` and ``maximum``: with ``how.later`` as
    the largest number since the last result without it, else as they are. Windows without events
    have neither flag.

    ``load``, at the start of a layer and after a reset, discards the result on its way.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "load": In(1),
                "slot_valid": In(1),
                "slot": In(slot_layout(config)),
                "train": In(config.steps + 1),
                "result_valid": Out(1),
                "result": Out(slot_layout(config)),
                "maximum": Out(config.steps + 1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        m.submodules.lanes = lanes = memory.Memory(
            shape=unsigned(c.steps), depth=c.bank_slots, init=[]
        )
        read, write = lanes.read_port(domain="comb"), lanes.write_port()

        # First cycle: the number that the lane has kept; second cycle: the larger one. The next
        # result of the same lane may follow at once.
        valid = Signal(reset_less=True)
        slot = Signal(slot_layout(c), reset_less=True)
        train = Signal(c.steps + 1, reset_less=True)
        stored = Signal(c.steps, reset_less=True)
        number, silenced = train[: c.steps], train[c.steps]
        largest = Signal(c.steps)
        m.d.comb += [
            largest.eq(Mux(slot.how.later & (stored > number), stored, number)),
            read.addr.eq(self.slot.lane),
            write.addr.eq(slot.lane),
            write.en.eq(valid & slot.how.more),
            write.data.eq(largest),
        ]
        m.d.sync += [
            valid.eq(self.slot_valid & ~self.load),
            slot.eq(self.slot),
            train.eq(self.train),
            stored.eq(Mux(write.en & (slot.lane == self.slot.lane), largest, read.data)),
        ]

        result_valid = Signal(reset_less=True)
        result = Signal(slot_layout(c), reset_less=True)
        maximum = Signal(c.steps + 1, reset_less=True)
        m.d.sync += [
            result_valid.eq(valid & ~slot.how.more & ~self.load),
            result.eq(slot),
            maximum.eq(Cat(largest, silenced)),
        ]
        m.d.comb += [
            self.result_valid.eq(result_valid),
            self.result.eq(result),
            self.maximum.eq(maximum),
        ]
        return m

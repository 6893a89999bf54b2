"""The largest logit of the output layer."""

from amaranth.hdl import Array, Elaboratable, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig

LOGIT_LATENCY = 4


class ArgMax(wiring.Component):
    """After a pulse on ``start``, reads logits 0 .. ``classes`` (a count less one) in two cycles
    each: the first compares a logit with the largest so far, the second replaces the largest if the
    logit is larger.

    ``best`` is the lowest index among the largest. ``done`` pulses 2 ``classes`` + 8 cycles after
    ``start``. ``row`` goes to the logit memories of all tiles; ``logits`` is their read data
    four cycles later. Class n has row n // tiles of tile n % tiles.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "classes": In(config.class_bits),
                "row": Out(config.logit_row_bits),
                "logits": In(data.ArrayLayout(signed(config.potential_bits), config.tiles)),
                "best": Out(config.class_bits),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        active = Signal()
        second = Signal()
        row = Signal(c.logit_row_bits)
        tile = Signal(c.bank_bits)
        index = Signal.like(self.classes)

        with m.If(self.start):
            m.d.sync += [active.eq(1), second.eq(0), row.eq(0), tile.eq(0), index.eq(0)]
        with m.Elif(active & ~second):
            m.d.sync += second.eq(1)
        with m.Elif(active):
            m.d.sync += [second.eq(0), index.eq(index + 1), tile.eq(tile + 1)]
            with m.If(tile == c.tiles - 1):
                m.d.sync += [tile.eq(0), row.eq(row + 1)]
            with m.If(index == self.classes):
                m.d.sync += active.eq(0)
        m.d.comb += self.row.eq(row)

        stage_layout = data.StructLayout(
            {
                "valid": 1,
                "second": 1,
                "first": 1,
                "last": 1,
                "tile": tile.shape(),
                "index": index.shape(),
            }
        )
        stage = Signal(stage_layout)
        m.d.comb += [
            stage.valid.eq(active),
            stage.second.eq(second),
            stage.first.eq(index == 0),
            stage.last.eq(index == self.classes),
            stage.tile.eq(tile),
            stage.index.eq(index),
        ]
        for delay in range(LOGIT_LATENCY + 1):
            delayed = Signal(stage_layout, name=f"stage_{delay}")
            m.d.sync += delayed.eq(stage)
            if delay == LOGIT_LATENCY:
                logit = Signal(signed(c.potential_bits))
                m.d.sync += logit.eq(
                    Array(self.logits)[stage.tile] if c.tiles > 1 else self.logits[0]
                )
            stage = delayed

        largest = Signal(signed(c.potential_bits))
        larger = Signal()
        m.d.sync += larger.eq(stage.first | (largest - logit)[-1])
        with m.If(stage.valid & stage.second & larger):
            m.d.sync += [largest.eq(logit), self.best.eq(stage.index)]
        m.d.sync += self.done.eq(stage.valid & stage.second & stage.last)
        return m

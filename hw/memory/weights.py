"""Weight store: the weight rows of the lane array."""

from collections.abc import Sequence

from amaranth.hdl import Elaboratable, Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import weights_layout
from residuum.hw.memory.block import BlockMemory


class WeightColumns(wiring.Component):
    """The weights of one tile's lanes: a row address in, that row out three cycles later.

    One row per cycle; with ``event_width`` 2 another one, at ``write_row``. The interface also
    suits a cache; `OnChipRefill` is its refill side for a store that holds every row. ``init`` are
    the first rows at power-up.
    """

    def __init__(self, config: EngineConfig, *, init: Sequence[int] = ()):
        self.config = config
        self.init = init
        super().__init__(
            {
                "row": In(config.weight_row_bits),
                "weights": Out(data.ArrayLayout(weights_layout(config), config.event_width)),
                "write_enable": In(1),
                "write_row": In(config.weight_row_bits),
                "write_data": In(weights_layout(config).size),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        m.submodules.rows = rows = BlockMemory(
            width=weights_layout(c).size,
            depth=max(2, c.weight_rows),
            dual=c.event_width == 2,
            registered=True,
            ecp5=c.memory == "ecp5",
            init=self.init,
        )
        m.d.comb += [
            rows.read_address.eq(self.row),
            self.weights[0].as_value().eq(rows.read_data),
            rows.write_enable.eq(self.write_enable),
            rows.write_address.eq(self.write_row),
            rows.write_data.eq(self.write_data),
        ]
        if c.event_width == 2:
            m.d.comb += self.weights[1].as_value().eq(rows.second_data)
        return m


class OnChipRefill(wiring.Component):
    """The refill side of a store that holds every row: each group of rows is accepted at once.

    ``groups`` carries the first weight row of the next group of output channels; the rows of the
    group may be read once it is accepted.
    """

    def __init__(self, config: EngineConfig):
        super().__init__({"groups": In(stream.Signature(unsigned(config.weight_row_bits)))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.d.comb += self.groups.ready.eq(1)
        return m

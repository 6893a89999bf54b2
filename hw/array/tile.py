"""A tile: some lanes with their weights, accumulators and neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.lanes import LaneArray
from residuum.hw.isa.config import EXTERNAL_WORD_BITS, EngineConfig
from residuum.hw.isa.memories import LUT_ROWS
from residuum.hw.layouts import (
    action_layout,
    mode_layout,
    parameter_layout,
    refill_layout,
    target_layout,
    weight_rows_layout,
    weights_layout,
    write_layout,
)
from residuum.hw.logic import Statements, delayed
from residuum.hw.memory.block import BlockMemory
from residuum.hw.memory.weights import WeightColumns
from residuum.hw.neuron.maximum import Maximum
from residuum.hw.neuron.pipeline import NeuronPipeline


@dataclass(frozen=True)
class EventBus:
    """Signals that pass from tile to tile, one register per tile: events and the start of a
    layer."""

    weight_rows: data.View
    action: data.View
    load: Value
    mode: data.View
    target: data.View
    refill: data.View

    def into(self, tile: "Tile") -> Statements:
        return [
            tile.weight_rows.eq(self.weight_rows),
            tile.action.eq(self.action),
            tile.load.eq(self.load),
            tile.mode.eq(self.mode),
            tile.target.eq(self.target),
            tile.refill.eq(self.refill),
        ]

    @classmethod
    def after(cls, tile: "Tile") -> "EventBus":
        return cls(
            tile.weight_rows_next,
            tile.action_next,
            tile.load_next,
            tile.mode_next,
            tile.target_next,
            tile.refill_next,
        )


class Tile(wiring.Component):
    """``tile_lanes`` lanes from weight row to spike train.

    ``action`` arrives three cycles after the ``weight_rows`` that it uses. Both pass through a
    register to the next tile, so wire length does not grow with the number of tiles. ``load``
    starts a layer with ``mode`` and ``target`` and passes through the tiles in the same way, as
    does ``refill``. ``load`` also clears the state of a run that a reset aborted. A tile has no
    other reset, because its net would span the device.

    Results go through ``write`` to the tile's bank of the feature memory, a row for each position
    of the output map. In a packed map, positions of a line share a row: each takes
    ``target.position_lanes`` lanes, and the next row begins where another position would not fit,
    and with each line. Results of an output layer go to the logit memory instead, which is read
    through ``logit_row`` with three cycles of latency. ``done`` pulses with the layer's last
    result.

    While the engine is ``idle`` the host reads through the array's ports: ``parameter`` is the word
    stored at ``parameter_write_row``. ``weights`` always is the row stored at the first of the
    ``weight_rows``, four cycles later. ``weight_write``, ``host_idle`` and ``host_row`` are one
    cycle ahead of the word that is written, and of ``idle``: the row takes the way of the second
    weight row.

    Parameters
    ----------
    config : EngineConfig
        All sizes.
    weights, parameters : sequence of int
        The first weight rows and parameters at power-up.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        weights: Sequence[int] = (),
        parameters: Sequence[int] = (),
    ):
        self.config = config
        self._init = weights, parameters
        super().__init__(
            {
                "weight_rows": In(weight_rows_layout(config)),
                "action": In(action_layout(config)),
                "weight_rows_next": Out(weight_rows_layout(config)),
                "action_next": Out(action_layout(config)),
                "load": In(1),
                "mode": In(mode_layout(config)),
                "target": In(target_layout(config)),
                "load_next": Out(1),
                "mode_next": Out(mode_layout(config)),
                "target_next": Out(target_layout(config)),
                "refill": In(refill_layout(config)),
                "refill_next": Out(refill_layout(config)),
                "write_valid": Out(1),
                "write": Out(write_layout(config)),
                "done": Out(1),
                "logit_row": In(config.logit_row_bits),
                "logit": Out(signed(config.potential_bits)),
                "weight_write": In(1),
                "host_idle": In(1),
                "host_row": In(config.weight_row_bits),
                "weight_write_data": In(weights_layout(config).size),
                "parameter_write": In(1),
                "parameter_write_row": In(config.parameter_row_bits),
                "parameter_write_data": In(parameter_layout(config)),
                "idle": In(1),
                "weights": Out(weights_layout(config)),
                "parameter": Out(parameter_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        init_weights, init_parameters = self._init
        m.submodules.weights = weights = WeightColumns(c, init=init_weights)
        m.submodules.lanes = lanes = LaneArray(c)
        m.submodules.neurons = neurons = NeuronPipeline(c, init=init_parameters)
        m.submodules.maximum = maximum = Maximum(c)

        rows_next = Signal(weight_rows_layout(c), reset_less=True)
        second_row = Signal(c.weight_row_bits, reset_less=True)
        action_next = Signal(action_layout(c), reset_less=True)
        load_next = Signal(reset_less=True)
        mode_next = Signal(mode_layout(c), reset_less=True)
        target_next = Signal(target_layout(c), reset_less=True)
        m.d.sync += [
            rows_next.eq(self.weight_rows),
            second_row.eq(Mux(self.host_idle, self.host_row, self.weight_rows[-1])),
            action_next.eq(self.action),
            load_next.eq(self.load),
            mode_next.eq(self.mode),
            target_next.eq(self.target),
        ]
        m.d.comb += [
            self.weight_rows_next.eq(rows_next),
            self.action_next.eq(action_next),
            self.load_next.eq(load_next),
            self.mode_next.eq(mode_next),
            self.target_next.eq(target_next),
            weights.row.eq(rows_next[0]),
            weights.write_row.eq(second_row),
            lanes.weights.eq(weights.weights),
            lanes.action.eq(action_next),
            lanes.first_lane.eq(target_next.first_lane),
            lanes.last_lane.eq(target_next.last_lane),
            lanes.load.eq(load_next),
            neurons.slot_valid.eq(lanes.slot_valid),
            neurons.slot.eq(lanes.slot),
            neurons.sums.eq(lanes.sums),
            neurons.load.eq(load_next),
            neurons.mode.eq(mode_next),
            neurons.parameter_row.eq(target_next.parameter_row),
            neurons.last_lane.eq(target_next.last_lane),
            neurons.write_enable.eq(self.parameter_write),
            neurons.write_address.eq(self.parameter_write_row),
            neurons.write_data.eq(self.parameter_write_data),
            neurons.idle.eq(self.idle),
            self.weights.eq(weights.weights[0]),
            self.parameter.eq(neurons.parameter),
            maximum.load.eq(load_next),
            maximum.slot_valid.eq(neurons.result_valid),
            maximum.slot.eq(neurons.result),
            maximum.train.eq(neurons.train),
        ]
        self._write_weights(m, weights)
        self._store_logits(m, neurons, load_next, mode_next)
        self._place_results(m, maximum, load_next, mode_next, target_next)
        return m

    def _write_weights(self, m: Module, weights: WeightColumns) -> None:
        """Writes of the host, and rows from the external memory. The tile holds as many of the last
        words as it has in a row, and hands over the one before them."""
        # The block memories are far apart: a register enables them.
        enable = Signal(name="weight_enable", reset_less=True)
        m.d.comb += [
            weights.write_enable.eq(enable),
            weights.write_data.eq(self.weight_write_data),
        ]
        if not self.config.external:
            m.d.sync += enable.eq(self.weight_write)
            return
        refill, after = self.refill, Signal(refill_layout(self.config), reset_less=True)
        m.d.sync += enable.eq(self.weight_write | refill.write)
        words = [
            Signal(EXTERNAL_WORD_BITS, name=f"word_{index}", reset_less=True)
            for index in range(self.config.tile_words)
        ]
        m.d.sync += [after.write.eq(refill.write), after.valid.eq(refill.valid)]
        with m.If(refill.valid):
            m.d.sync += [
                word.eq(following)
                for word, following in zip([after.word, *words], [*words, refill.word], strict=True)
            ]
        m.d.comb += self.refill_next.eq(after)
        with m.If(after.write):
            m.d.comb += weights.write_data.eq(Cat(words))

    def _store_logits(
        self, m: Module, neurons: NeuronPipeline, load: Value, mode: data.View
    ) -> None:
        """Writes potentials of an output layer to the logit memory, one row after another."""
        c = self.config
        row = Signal(c.logit_row_bits, reset_less=True)
        with m.If(neurons.result_valid):
            m.d.sync += row.eq(row + 1)
        with m.If(load):
            m.d.sync += row.eq(0)
        read_row = Signal.like(self.logit_row, reset_less=True)
        m.d.sync += read_row.eq(self.logit_row)
        write_enable = neurons.result_valid & mode.output
        if c.logit_rows > LUT_ROWS:
            m.submodules.logits = logits = BlockMemory(
                width=c.potential_bits, depth=c.logit_rows, ecp5=c.memory == "ecp5"
            )
            m.d.comb += [
                logits.write_enable.eq(write_enable),
                logits.write_address.eq(row),
                logits.write_data.eq(neurons.potential),
                logits.read_address.eq(read_row),
                self.logit.eq(logits.read_data),
            ]
            return
        m.submodules.logits = few = memory.Memory(
            shape=signed(c.potential_bits), depth=max(2, c.logit_rows), init=[]
        )
        write, read = few.write_port(), few.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(write_enable),
            write.addr.eq(row),
            write.data.eq(neurons.potential),
            read.addr.eq(read_row),
            self.logit.eq(delayed(m, read.data, 2, "logit")),
        ]

    def _place_results(
        self, m: Module, maximum: Maximum, load: Value, mode: data.View, target: data.View
    ) -> None:
        """Writes results to their row of the feature memory."""
        c = self.config
        result, how = maximum.result, maximum.result.how
        row = Signal(c.feature_row_bits, reset_less=True)
        first_row = Signal(c.feature_row_bits, reset_less=True)
        empty_row = Signal(c.feature_row_bits, reset_less=True)
        window_done = maximum.result_valid & result.last & ~how.shared

        # The first lane of the present position and of the next one; a packed row holds whole
        # positions, and the present one may be its last (`full`).
        position_lanes = target.position_lanes
        lane = Signal(c.lane_bits, reset_less=True)
        next_lane = Signal(range(c.tile_lanes + 1), reset_less=True)
        full, alone, loaded = (Signal(name=n, reset_less=True) for n in ("full", "alone", "loaded"))
        last_begin = Signal(range(c.tile_lanes + 1), reset_less=True)
        m.d.sync += [
            loaded.eq(load),
            alone.eq((position_lanes == 0) | (position_lanes == c.tile_lanes)),
            last_begin.eq(c.tile_lanes - position_lanes),
        ]
        row_done = how.line_last | full
        with m.If(window_done):
            m.d.sync += [
                lane.eq(next_lane),
                next_lane.eq(next_lane + position_lanes),
                full.eq(alone | (next_lane == last_begin)),
            ]
            with m.If(row_done):
                m.d.sync += row.eq(row + target.pitch)
            with m.If(how.group_last):
                m.d.sync += [
                    row.eq(first_row + 1),
                    first_row.eq(first_row + 1),
                    empty_row.eq(empty_row + 1),
                ]
        with m.If(loaded | (window_done & row_done)):
            m.d.sync += [lane.eq(0), next_lane.eq(position_lanes), full.eq(alone)]
        with m.If(load):
            m.d.sync += [
                row.eq(target.row),
                first_row.eq(target.row),
                empty_row.eq(target.empty_row),
            ]

        m.d.comb += [
            self.write_valid.eq(maximum.result_valid & ~mode.output),
            self.write.row.eq(Mux(how.shared, empty_row, row)),
            self.write.lane.eq(result.lane + lane),
            self.write.train.eq(maximum.maximum),
            self.write.last.eq(result.last & row_done),
            self.write.empty.eq(result.empty),
            self.write.shared.eq(how.shared),
        ]
        done = Signal(reset_less=True)
        m.d.sync += done.eq(window_done & how.layer_last & ~load)
        m.d.comb += self.done.eq(done)

"""A tile: some lanes with their weights, accumulators and neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.lanes import LaneArray
from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import (
    action_layout,
    mode_layout,
    parameter_layout,
    target_layout,
    weights_layout,
    write_layout,
)
from residuum.hw.logic import Statements
from residuum.hw.memory.block import BlockMemory
from residuum.hw.memory.weights import WeightColumns
from residuum.hw.neuron.pipeline import NeuronPipeline


@dataclass(frozen=True)
class EventBus:
    """Signals that pass from tile to tile, one register per tile: events and the start of a
    layer."""

    weight_row: Value
    action: data.View
    load: Value
    mode: data.View
    target: data.View

    def into(self, tile: "Tile") -> Statements:
        return [
            tile.weight_row.eq(self.weight_row),
            tile.action.eq(self.action),
            tile.load.eq(self.load),
            tile.mode.eq(self.mode),
            tile.target.eq(self.target),
        ]

    @classmethod
    def after(cls, tile: "Tile") -> "EventBus":
        return cls(
            tile.weight_row_next,
            tile.action_next,
            tile.load_next,
            tile.mode_next,
            tile.target_next,
        )


class Tile(wiring.Component):
    """``tile_lanes`` lanes from weight row to spike train.

    ``action`` arrives three cycles after the ``weight_row`` that it uses. Both pass through a
    register to the next tile, so wire length does not grow with the number of tiles. ``load``
    starts a layer with ``mode`` and ``target`` and passes through the tiles in the same way.
    ``load`` also clears the state of a run that a reset aborted. A tile has no other reset, because
    its net would span the device.

    Results go through ``write`` to the tile's bank of the feature memory. Results of an output
    layer go to the logit memory instead, which is read through ``logit_address`` with three cycles
    of latency. ``done`` pulses with the layer's last result.

    While the engine is ``idle`` the host reads through the array's ports: ``parameter`` is the word
    stored at ``parameter_write_address``. ``weights`` always is the row stored at ``weight_row``,
    four cycles later.

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
        address_bits = config.group_bits + config.lane_bits
        super().__init__(
            {
                "weight_row": In(config.weight_row_bits),
                "action": In(action_layout(config)),
                "weight_row_next": Out(config.weight_row_bits),
                "action_next": Out(action_layout(config)),
                "load": In(1),
                "mode": In(mode_layout(config)),
                "target": In(target_layout(config)),
                "load_next": Out(1),
                "mode_next": Out(mode_layout(config)),
                "target_next": Out(target_layout(config)),
                "write_valid": Out(1),
                "write": Out(write_layout(config)),
                "done": Out(1),
                "logit_address": In(address_bits),
                "logit": Out(signed(config.potential_bits)),
                "weight_write": In(1),
                "weight_write_row": In(config.weight_row_bits),
                "weight_write_data": In(weights_layout(config).size),
                "parameter_write": In(1),
                "parameter_write_address": In(address_bits),
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

        row_next = Signal(c.weight_row_bits, reset_less=True)
        action_next = Signal(action_layout(c), reset_less=True)
        load_next = Signal(reset_less=True)
        mode_next = Signal(mode_layout(c), reset_less=True)
        target_next = Signal(target_layout(c), reset_less=True)
        m.d.sync += [
            row_next.eq(self.weight_row),
            action_next.eq(self.action),
            load_next.eq(self.load),
            mode_next.eq(self.mode),
            target_next.eq(self.target),
        ]
        m.d.comb += [
            self.weight_row_next.eq(row_next),
            self.action_next.eq(action_next),
            self.load_next.eq(load_next),
            self.mode_next.eq(mode_next),
            self.target_next.eq(target_next),
            weights.row.eq(row_next),
            weights.write_enable.eq(self.weight_write),
            weights.write_row.eq(self.weight_write_row),
            weights.write_data.eq(self.weight_write_data),
            lanes.weights.eq(weights.weights),
            lanes.action.eq(action_next),
            lanes.last_lane.eq(target_next.last_lane),
            lanes.load.eq(load_next),
            neurons.slot_valid.eq(lanes.slot_valid),
            neurons.slot.eq(lanes.slot),
            neurons.sums.eq(lanes.sums),
            neurons.load.eq(load_next),
            neurons.mode.eq(mode_next),
            neurons.parameter_group.eq(target_next.parameter_group),
            neurons.write_enable.eq(self.parameter_write),
            neurons.write_address.eq(self.parameter_write_address),
            neurons.write_data.eq(self.parameter_write_data),
            neurons.idle.eq(self.idle),
            self.weights.eq(weights.weights),
            self.parameter.eq(neurons.parameter),
        ]
        self._place_results(m, neurons, load_next, mode_next, target_next)
        return m

    def _place_results(
        self, m: Module, neurons: NeuronPipeline, load: Value, mode: data.View, target: data.View
    ) -> None:
        """Writes results to their row of the feature memory, or to the logit memory."""
        c = self.config
        result, how = neurons.result, neurons.result.how
        row = Signal(c.feature_row_bits, reset_less=True)
        first_row = Signal(c.feature_row_bits, reset_less=True)
        empty_row = Signal(c.feature_row_bits, reset_less=True)
        group = Signal(c.group_bits, reset_less=True)

        window_done = neurons.result_valid & result.last & ~how.shared
        with m.If(window_done):
            m.d.sync += row.eq(row + target.pitch)
            with m.If(how.group_last):
                m.d.sync += [
                    row.eq(first_row + 1),
                    first_row.eq(first_row + 1),
                    empty_row.eq(empty_row + 1),
                    group.eq(group + 1),
                ]
        with m.If(load):
            m.d.sync += [
                row.eq(target.row),
                first_row.eq(target.row),
                empty_row.eq(target.empty_row),
                group.eq(0),
            ]

        m.d.comb += [
            self.write_valid.eq(neurons.result_valid & ~mode.output),
            self.write.row.eq(Mux(how.shared, empty_row, row)),
            self.write.lane.eq(result.lane),
            self.write.train.eq(neurons.train),
            self.write.last.eq(result.last),
            self.write.empty.eq(result.empty),
            self.write.shared.eq(how.shared),
        ]
        done = Signal(reset_less=True)
        m.d.sync += done.eq(window_done & how.layer_last & ~load)
        m.d.comb += self.done.eq(done)

        logit_address = Signal.like(self.logit_address, reset_less=True)
        m.submodules.logits = logits = BlockMemory(
            width=c.potential_bits,
            depth=max(2, c.channel_groups << c.lane_bits),
            ecp5=c.memory == "ecp5",
        )
        m.d.sync += logit_address.eq(self.logit_address)
        m.d.comb += [
            logits.write_enable.eq(neurons.result_valid & mode.output),
            logits.write_address.eq(Cat(result.lane, group)),
            logits.write_data.eq(neurons.potential),
            logits.read_address.eq(logit_address),
            self.logit.eq(logits.read_data),
        ]

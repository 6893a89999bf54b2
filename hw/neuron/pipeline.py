"""Integrate-and-fire neurons, one per cycle, one pipeline stage per time step."""

from collections.abc import Sequence
from typing import TypeAlias

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, ShapeLike, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.layouts import mode_layout, parameter_layout, slot_layout
from residuum.hw.memory.block import BlockMemory

# Cycles from a slot to its parameters: an address register, a memory, a register.
PARAMETER_LATENCY = 4

# A valid bit, and the slot.
Stage: TypeAlias = tuple[Value, data.View]


class NeuronPipeline(wiring.Component):
    """Membrane potentials of the neurons of a tile (Bu et al., ICLR 2022; Hao et al., AAAI 2023;
    radix code: Wang et al., arXiv:2105.06943).

    For a neuron with sums acc[t], bias B and threshold TH, in rate code::

        I[t] = (acc[t] << f) + B                              spikes as input
        I[t] = (sum over planes k of acc[k] << k) [<< f] + B  numbers as input, the same in every
                                                              step; << f with ``fraction``
        V0 = TH >> 1, or 0 with ``start_zero``
        v starts as V0 at the first active step, and, without ``carry``, again at the first
        inference step
        a = v + I[t];  b = a - TH;  spike s[t] = (b >= 0)
        v = b if s[t] else a
        silenced = (v < 0) at the end of the probe, if there is one, and without ``carry``
        train[t] = s[t] and active[t] and not (inference[t] and silenced)

    With ``radix`` the current enters in the first active step only, and the threshold is halved
    after every active step: with B + (TH >> 1) and TH << (K-1) as parameters, K active steps and
    ``start_zero``, the steps are a restoring division. The highest bit is found first; bit k of the
    quotient is in slot k of the train.

    With ``strict`` and B - 1 as the bias, neurons fire at v > TH: v starts one lower. The bias
    enters in every step, so all steps but the first add 1 to it.

    In an output layer, neurons never fire, TH = 0 makes V0 = 0, and v after the last step is the
    logit.

    ``slot`` and, `EngineConfig.sums_latency` cycles later, ``sums`` come from `LaneArray`; results
    leave in order, one neuron per cycle: ``result`` describes the lane, ``train`` holds slot t in
    bit t and ``silenced`` above. A step takes two cycles: first the selection of v and the sum a,
    then b. The pipeline has no feedback.

    The parameters of lane n are at row ``parameter_row`` + n; each group of output channels takes
    ``last_lane`` + 1 rows. ``load``, at the start of a layer and after a reset, goes back to
    ``parameter_row`` and discards all neurons in the pipeline.

    While the engine is ``idle``, ``parameter`` is the word stored at ``write_address``, four
    cycles later. ``init`` are the first parameters at power-up.
    """

    def __init__(self, config: EngineConfig, *, init: Sequence[int] = ()):
        self.config = config
        self.init = init
        super().__init__(
            {
                "mode": In(mode_layout(config)),
                "load": In(1),
                "parameter_row": In(config.parameter_row_bits),
                "last_lane": In(config.lane_bits),
                "slot_valid": In(1),
                "slot": In(slot_layout(config)),
                "sums": In(data.ArrayLayout(signed(config.accumulator_bits), config.steps)),
                "write_enable": In(1),
                "write_address": In(config.parameter_row_bits),
                "write_data": In(parameter_layout(config)),
                "idle": In(1),
                "parameter": Out(parameter_layout(config)),
                "result_valid": Out(1),
                "result": Out(slot_layout(config)),
                "train": Out(config.steps + 1),
                "potential": Out(signed(config.potential_bits)),
            }
        )

    @property
    def _tree_levels(self) -> int:
        return max(1, bits_for_count(self.config.planes))

    @property
    def _numbers_delay(self) -> int:
        """Cycles by which the parameters wait for the sum over bit-planes."""
        found = self.config.sums_latency + self._tree_levels
        return found + 1 - PARAMETER_LATENCY

    @property
    def latency(self) -> int:
        """Cycles from a slot to its result, spikes as input."""
        return PARAMETER_LATENCY + 2 + 2 * self.config.steps

    @property
    def latency_numbers(self) -> int:
        """Cycles from a slot to its result, numbers as input."""
        return self.latency + self._numbers_delay

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        slots = self._delayed(
            m, "slot", self.slot_valid, self.slot, self.config.sums_latency + self._tree_levels
        )
        planes = self._scale(m, self._sum_planes(m))

        # For numbers, use the slot delayed until the sum over bit-planes is ready.
        late_valid, late_slot = slots[self._numbers_delay]
        valid = Signal(reset_less=True)
        slot = Signal(slot_layout(self.config), reset_less=True)
        next_valid, next_slot = Signal(), Signal(slot_layout(self.config))
        # A copy that can lie near; the mode is long settled at the first slot.
        numbers = Signal(reset_less=True)
        m.d.sync += numbers.eq(self.mode.numbers)
        m.d.comb += [
            next_valid.eq(Mux(numbers, late_valid, self.slot_valid)),
            next_slot.eq(Mux(numbers, late_slot, self.slot)),
        ]
        m.d.sync += [valid.eq(next_valid & ~self.load), slot.eq(next_slot)]
        lane = self._lane(m, late_slot)
        constant, threshold = self._read_parameters(m, next_valid, next_slot, lane, planes)
        self._integrate(m, constant, threshold)
        *_, (end_valid, end_slot) = self._delayed(m, "end", valid, slot, self.latency - 1)
        m.d.comb += [self.result_valid.eq(end_valid), self.result.eq(end_slot)]
        return m

    def _sum_planes(self, m: Module) -> Value:
        """sum over k of sums[k] << k, as a registered adder tree."""
        c = self.config
        terms = [(self.sums[k], 1) for k in range(c.planes)]
        for level in range(self._tree_levels):
            summed = []
            for index in range(0, len(terms) - 1, 2):
                (low, planes), (high, more) = terms[index], terms[index + 1]
                # The high half is weighted by 2**planes.
                width = min(c.potential_bits, c.accumulator_bits + planes + more)
                node = Signal(signed(width), name=f"planes_{level}_{index}", reset_less=True)
                m.d.sync += node.eq(low + (high << planes))
                summed.append((node, planes + more))
            if len(terms) % 2:
                last, planes = terms[-1]
                node = Signal(last.shape(), name=f"planes_{level}_rest", reset_less=True)
                m.d.sync += node.eq(last)
                summed.append((node, planes))
            terms = summed
        return terms[0][0]

    def _scale(self, m: Module, total: Value) -> Signal:
        """The current that all steps share: the sum over bit-planes, 0 for spikes as input."""
        scaled = Signal(signed(self.config.potential_bits), name="planes", reset_less=True)
        fraction = total << self.config.fraction_bits
        m.d.sync += scaled.eq(Mux(self.mode.fraction, fraction, total))
        with m.If(~self.mode.numbers):
            m.d.sync += scaled.eq(0)
        return scaled

    def _lane(self, m: Module, late_slot: data.View) -> Value:
        """The lane of the next slot, 0 while the engine is idle; its choice has registers of its
        own, next to the address of the parameters."""
        here, late = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            here.eq(~self.mode.numbers & ~self.idle),
            late.eq(self.mode.numbers & ~self.idle),
        ]
        return Mux(here, self.slot.lane, 0) | Mux(late, late_slot.lane, 0)

    def _read_parameters(
        self, m: Module, valid: Value, slot: data.View, lane: Value, planes: Value
    ) -> tuple[Signal, Signal]:
        """The constant current and the threshold of the neuron in each cycle."""
        c = self.config
        m.submodules.parameters = parameters = BlockMemory(
            width=parameter_layout(c).size,
            depth=max(2, c.parameter_rows),
            ecp5=c.memory == "ecp5",
            init=self.init,
        )
        group = Signal(c.parameter_row_bits, reset_less=True)
        with m.If(valid & slot.last & slot.how.group_last):
            m.d.sync += group.eq(group + self.last_lane + 1)
        with m.If(self.idle):
            m.d.sync += group.eq(self.write_address)
        with m.If(self.load):
            m.d.sync += group.eq(self.parameter_row)
        word = Signal(parameter_layout(c))
        constant = Signal(signed(c.potential_bits), reset_less=True)
        threshold = Signal(signed(c.potential_bits), reset_less=True)
        address = Signal.like(self.write_address, reset_less=True)
        m.d.sync += address.eq(group + lane)
        m.d.comb += [
            parameters.read_address.eq(address),
            parameters.write_enable.eq(self.write_enable),
            parameters.write_address.eq(self.write_address),
            parameters.write_data.eq(self.write_data),
            word.eq(parameters.read_data),
            self.parameter.eq(word),
        ]
        late = Signal(parameter_layout(c), reset_less=True)
        m.d.sync += [
            late.eq(word),
            constant.eq(late.bias + planes),
            threshold.eq(late.threshold),
        ]
        return constant, threshold

    def _integrate(self, m: Module, constant: Signal, threshold: Signal) -> None:
        c = self.config
        mode = self.mode
        shape = signed(c.potential_bits)

        def register(name: str, value: Value, of: ShapeLike = shape) -> Signal:
            signal = Signal(of, name=name, reset_less=True)
            m.d.sync += signal.eq(value)
            return signal

        # After a step, v is `reduced` if the neuron has fired, else `kept`. The comparison is at
        # the end of one cycle, the multiplexer at the start of the next.
        kept = register("start", Mux(mode.start_zero, 0, threshold >> 1))
        reduced = Signal(shape, name="none_reduced")
        fired = Signal(name="not_fired")
        train = Signal(0, name="no_train")
        silenced = Signal(name="never")
        constant_next = constant
        threshold_now = register("threshold_start", threshold)
        for step in range(c.steps):
            # Sums wait for the parameters and for the steps before; numbers enter as a constant.
            waiting = self.sums[step]
            for stage in range(PARAMETER_LATENCY + 1 - c.sums_latency + 2 * step):
                held = Signal(
                    signed(c.accumulator_bits), name=f"wait_{step}_{stage}", reset_less=True
                )
                m.d.sync += held.eq(waiting)
                if stage == 0:
                    with m.If(mode.numbers):
                        m.d.sync += held.eq(0)
                waiting = held
            earlier = mode.active[step - 1] if step else Const(0)
            one_more = register(f"one_more_{step}", mode.strict & earlier, 1)
            current = register(f"current_{step}", (waiting << c.fraction_bits) + constant_next)

            potential = Mux(fired, reduced, kept)
            before = register(f"before_{step}", _sum(potential, current, one_more))
            threshold_here = register(f"threshold_{step}", threshold_now)
            silenced_here = register(f"silenced_{step}", silenced, 1)
            train_here = register(f"train_{step}", train, step)

            after = Signal(shape, name=f"after_{step}")
            m.d.comb += after.eq(before - threshold_here)
            spike = register(f"spike_{step}", ~after[-1] & ~mode.output, 1)
            spoken = register(
                f"spoken_{step}",
                mode.active[step] & ~(mode.inference[step] & silenced_here),
                1,
            )
            keeping, verdict = before, silenced_here
            if step + 1 < c.steps:
                now, then = mode.active[step : step + 2], mode.inference[step : step + 2]
                run_begins = ~now[0] & now[1]
                mask_begins = now[0] & ~then[0] & then[1] & ~mode.carry
                probe_ends = register(f"probe_ends_{step}", mask_begins, 1)
                restart = register(f"restart_{step}", run_begins | mask_begins, 1)
                divides = register(f"divides_{step}", mode.radix & now[0], 1)
                start = Mux(mode.start_zero, 0, threshold_here >> 1)
                keeping = Mux(restart, start, before)
                if c.masks:
                    verdict = Mux(probe_ends, before[-1], silenced_here)
                fired = spike & ~restart
                reduced = register(f"reduced_{step}", after)
                train = Cat(register(f"train_next_{step}", train_here, step), spike & spoken)
                threshold_now = register(
                    f"threshold_next_{step}", Mux(divides, threshold_here >> 1, threshold_here)
                )
                constant_next = register(
                    f"constant_{step}",
                    register(f"constant_next_{step}", Mux(divides, 0, constant_next)),
                )
            kept = register(f"kept_{step}", keeping)
            silenced = register(f"verdict_{step}", verdict, 1)

        # In radix code the first step gives the highest bit. All bits but those of the first and
        # the last step are put in order before their registers, which keeps the multiplexer off the
        # path to the maximum.
        slots: Value = spike & spoken
        if c.steps > 1:
            first = register("train_first", train_here[0], 1)
            between = Mux(mode.radix, train_here[:0:-1], train_here[1:])
            low, high = Mux(mode.radix, Cat(slots, first), Cat(first, slots))
            slots = Cat(low, register("train_between", between, c.steps - 2), high)
        # The neurons of an output layer never fire.
        m.d.comb += [self.potential.eq(kept), self.train.eq(Cat(slots, silenced))]

    def _delayed(
        self, m: Module, name: str, valid: Value, slot: data.View, cycles: int
    ) -> list[Stage]:
        """(valid, slot) after 0, 1, ... cycles; `load` clears all valid bits."""
        stages = [(valid, slot)]
        for index in range(cycles):
            valid_next = Signal(name=f"{name}_valid_{index}", reset_less=True)
            slot_next = Signal(slot.shape(), name=f"{name}_{index}", reset_less=True)
            m.d.sync += [valid_next.eq(valid & ~self.load), slot_next.eq(slot)]
            valid, slot = valid_next, slot_next
            stages.append((valid, slot))
        return stages


def _sum(a: Value, b: Value, carry: Value) -> Value:
    """a + b + carry, modulo 2**width, in one carry chain: its lowest bit makes the carry."""
    return (Cat(Const(1, 1), a) + Cat(carry, b))[1 : len(a) + 1]

"""One stream of events: the spiking neurons of queued rows, one per cycle."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import end_layout, event_layout
from residuum.hw.logic import Statements, select
from residuum.hw.queue import QUEUE_DEPTH, Queue, change


def entry_layout(config: EngineConfig) -> data.StructLayout:
    """A scanned row with at least one spiking neuron in the banks of a stream, or the last row of a
    window.

    ``occupancy`` is grouped by bank. These fields are computed from it before the queue, so that
    picking fits in one cycle: the ``first`` bank with a spike and the ``others`` (one bit each),
    the number of spikes of each bank (``counts``), whether the lower half of its slots has any
    (``low``) or more than one (``more_low``), whether there is any spike in the row (``spiking``),
    and in no more than one bank (``single``).
    """
    banks = config.stream_banks
    return data.StructLayout(
        {
            "occupancy": unsigned(banks * config.bank_slots),
            "first": unsigned(banks),
            "others": unsigned(banks),
            "counts": data.ArrayLayout(range(config.bank_slots + 1), banks),
            "low": unsigned(banks),
            "more_low": unsigned(banks),
            "spiking": 1,
            "single": 1,
            "row": unsigned(config.feature_row_bits),
            "weight": unsigned(config.weight_row_bits),
            "shift": 1,
            "end": 1,
            "how": end_layout(),
        }
    )


def bank_layout(config: EngineConfig) -> data.StructLayout:
    """The spiking neurons (``slots``, ``count`` of them) of one bank of a row, and those after the
    first (``left``; ``low``: some are in the lower half; ``final``: there are none). Without
    ``spiking`` there is none: the entry only ends a window (``end``, ``how``)."""
    return data.StructLayout(
        {
            "spiking": 1,
            "final": 1,
            "slots": unsigned(config.bank_slots),
            "left": unsigned(config.bank_slots),
            "low": 1,
            "count": range(config.bank_slots + 1),
            "bank": unsigned(config.stream_bank_bits),
            "row": unsigned(config.feature_row_bits),
            "weight": unsigned(config.weight_row_bits),
            "shift": 1,
            "end": 1,
            "how": end_layout(),
        }
    )


class EventPicker(wiring.Component):
    """Queues rows that hold spikes, and picks their bits one by one.

    ``room`` tells that one more row may be requested in the next cycle: from ``start`` to ``stop``,
    while the queue has a free place. Each request (``advance``) later gives an ``entry`` with
    ``write``, or is ``dropped``.

    ``event`` is the present event; it is ``valid`` only if the array is ``clear`` for it.
    ``ending`` from the last event of a window on, until ``complete`` takes the picker to the next
    window; ``how`` is then how the window ends. ``found``: there is something to pick, or such an
    end; ``spiking``: if so, there is an event.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "room": Out(1),
                "advance": In(1),
                "dropped": In(1),
                "write": In(1),
                "entry": In(entry_layout(config)),
                "clear": In(1),
                "complete": In(1),
                "found": Out(1),
                "spiking": Out(1),
                "event": Out(event_layout(config)),
                "ending": Out(1),
                "how": Out(end_layout()),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.queue = queue = Queue(entry_layout(self.config).size)
        m.d.comb += [queue.write.eq(self.write), queue.write_data.eq(self.entry)]
        self._reserve(m, queue)
        waiting = self._pick_bank(m, queue)
        self._pick_slot(m, waiting)
        return m

    def _reserve(self, m: Module, queue: Queue) -> None:
        """Limits the requests in flight and the queued rows to the places of the queue. Between
        layers the queue counts as full, so that a single bit enables requests."""
        outstanding = Signal(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH)
        following = Signal(range(QUEUE_DEPTH + 1))
        taken = Signal()
        m.d.comb += following.eq(outstanding + change(self.advance, self.dropped, taken))
        with m.If(self.start):
            m.d.comb += following.eq(0)
        with m.Elif(self.stop):
            m.d.comb += following.eq(QUEUE_DEPTH)
        m.d.sync += [outstanding.eq(following), taken.eq(queue.valid & queue.take)]
        m.d.comb += self.room.eq(~following[-1])

    def _pick_bank(self, m: Module, queue: Queue) -> "_Waiting":
        """Moves the banks of a queued row that hold spikes, one per cycle, into two registers in
        turn."""
        c = self.config
        entry = Signal(entry_layout(c))
        m.d.comb += entry.eq(queue.data)

        chosen, last, begin = self._next_bank(m, entry)
        found = Signal(bank_layout(c))
        slots = [entry.occupancy.word_select(b, c.bank_slots) for b in range(c.stream_banks)]
        m.d.comb += [
            found.spiking.eq(entry.spiking),
            found.final.eq(found.count[1:] == 0),
            found.slots.eq(select(chosen, slots)),
            found.left.eq(rest_of_halves(found.slots, (chosen & entry.low).any())),
            found.low.eq((chosen & entry.more_low).any()),
            found.count.eq(select(chosen, entry.counts)),
            found.bank.eq(_index_of(chosen)),
            found.row.eq(entry.row),
            found.weight.eq(entry.weight),
            found.shift.eq(entry.shift),
            found.end.eq(entry.end & last),
            found.how.eq(entry.how),
        ]

        # A register takes what is found while it is free. So `_pick_slot`, which takes a bank late
        # in a cycle, only frees a register, and moves no data.
        registers = [Signal(bank_layout(c), name=f"waiting_{i}", reset_less=True) for i in range(2)]
        used, push, taken = Signal(2), Signal(), Signal()
        writing, reading = Signal(), Signal()
        present, free = Mux(reading, used[1], used[0]), ~Mux(writing, used[1], used[0])
        m.d.comb += [push.eq(queue.valid & free), queue.take.eq(push & last)]
        m.d.sync += [writing.eq(writing ^ push), reading.eq(reading ^ (present & taken))]
        with m.If(push):
            m.d.sync += begin
        for index, register in enumerate(registers):
            with m.If(~used[index]):
                m.d.sync += [register.eq(found), used[index].eq(push & (writing == index))]
            with m.Elif(taken & (reading == index)):
                m.d.sync += used[index].eq(0)
        waiting = Signal(bank_layout(c))
        m.d.comb += waiting.eq(Mux(reading, *reversed(registers)))
        return _Waiting(present, waiting, taken)

    def _next_bank(self, m: Module, entry: Signal) -> tuple[Value, Value, Statements]:
        """The next bank with a spike of a row (one bit for each), whether it is the last one, and
        what taking it changes."""
        banks = self.config.stream_banks
        if banks == 1:
            return Const(1), Const(1), []
        # For the second and later banks of a row: the bank itself, the banks after it, and whether
        # it is the last.
        begun = Signal()
        bank = Signal(banks, name="next_bank", reset_less=True)
        after = Signal(banks, name="next_others", reset_less=True)
        single = Signal(name="next_single", reset_less=True)
        others = Mux(begun, after, entry.others)
        last = Signal()
        m.d.comb += last.eq(Mux(begun, single, entry.single))
        begin = [
            bank.eq(lowest(others)),
            after.eq(rest(others)),
            single.eq(rest(others) == 0),
            begun.eq(~last),
        ]
        return Mux(begun, bank, entry.first), last, begin

    def _pick_slot(self, m: Module, waiting: "_Waiting") -> None:
        """The spiking neurons of a bank, one per cycle, and the ends of windows between them."""
        c = self.config
        valid = Signal()
        bank = Signal(bank_layout(c), reset_less=True)
        # `last`: the present neuron is the last one. `passing`: the bank is then followed by the
        # next one in any case; `ending`: by the end of a window, where the picker waits. Counting
        # is faster than looking at what is left.
        last, passing = Signal(reset_less=True), Signal()
        ending = Signal()

        # If a window ends with a row without spikes, mark the end at the present bank, provided
        # that this bank has another spike after this cycle. Otherwise the end takes a separate
        # cycle.
        take, merge, event = Signal(), Signal(), Signal()
        m.d.comb += [
            event.eq(valid & bank.spiking & self.clear),
            take.eq(~valid | (passing & self.clear) | self.complete),
            merge.eq(waiting.valid & ~waiting.bank.spiking & valid & ~last & ~bank.end),
            waiting.taken.eq(take | merge),
        ]
        end_next = bank.end | merge
        with m.If(take):
            m.d.sync += [
                valid.eq(waiting.valid),
                bank.eq(waiting.bank),
                last.eq(waiting.bank.final),
                passing.eq(waiting.bank.final & ~waiting.bank.end),
                ending.eq(waiting.valid & waiting.bank.final & waiting.bank.end),
            ]
        with m.Else():
            with m.If(event):
                lone = Signal()
                m.d.comb += lone.eq((bank.count == 1) | (bank.count == 2))
                m.d.sync += [
                    bank.slots.eq(bank.left),
                    bank.left.eq(rest_of_halves(bank.left, bank.low)),
                    bank.low.eq(rest(lower_half(bank.left)).any()),
                    bank.count.eq(bank.count - 1),
                    bank.spiking.eq(~last),
                    last.eq(lone),
                    passing.eq(lone & ~end_next),
                    ending.eq(lone & end_next),
                ]
            with m.If(merge):
                m.d.sync += [bank.end.eq(1), bank.how.eq(waiting.bank.how)]

        m.d.comb += [
            self.found.eq(valid),
            self.spiking.eq(bank.spiking),
            self.ending.eq(ending),
            self.how.eq(bank.how),
            self.event.valid.eq(event),
            self.event.shift.eq(bank.shift),
            self.event.row.eq(bank.row),
            self.event.lane.eq(_index_of(bank.slots & ~bank.left)),
            self.event.bank.eq(bank.bank),
            self.event.weight.eq(bank.weight),
        ]


@dataclass
class _Waiting:
    """The next bank for `_pick_slot`, and the signal that takes it."""

    valid: Value
    bank: data.View
    taken: Signal


def lowest(bits: Value) -> Value:
    """The lowest set bit alone, in LUTs: a subtraction would use a carry chain."""
    return Cat(bits[index] & ~bits[:index].any() for index in range(len(bits)))


def rest(bits: Value) -> Value:
    """All set bits but the lowest."""
    return Cat(bits[index] & bits[:index].any() for index in range(len(bits)))


def lower_half(bits: Value) -> Value:
    return bits[: len(bits) // 2]


def rest_of_halves(bits: Value, low: Value) -> Value:
    """As `rest`, in fewer levels of LUTs; ``low``: whether the lower half has a set bit."""
    upper = bits[len(bits) // 2 :]
    return Cat(rest(lower_half(bits)), Mux(low, upper, rest(upper)))


def _index_of(one_hot: Value) -> Value:
    """The index of the only set bit, as wide as needed (0 bits for a single one)."""
    width = len(one_hot)
    bits = (width - 1).bit_length()
    return Cat(
        Cat(*(one_hot[index] for index in range(width) if index >> bit & 1)).any()
        for bit in range(bits)
    )

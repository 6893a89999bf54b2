"""Event scanner: from rows of the feature memory to events, one per cycle, zeros skipped."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import end_layout, token_layout
from residuum.hw.scanner.queue import QUEUE_DEPTH, Queue, change
from residuum.hw.scanner.walker import request_layout

# Cycles from ``occupancy_row`` to ``occupancy``.
OCCUPANCY_LATENCY = 3


def entry_layout(config: EngineConfig) -> data.StructLayout:
    """A scanned row with at least one spiking neuron, or the last row of a pass.

    ``occupancy`` is grouped by bank. These fields are computed from it before the queue, so that
    picking fits in one cycle: the ``first`` bank with a spike and the ``others`` (one bit each),
    the banks with a ``lone`` spike, whether there is any spike (``spiking``), and in no more than
    one bank (``single``).
    """
    return data.StructLayout(
        {
            "occupancy": unsigned(config.row_slots),
            "first": unsigned(config.banks),
            "others": unsigned(config.banks),
            "lone": unsigned(config.banks),
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
    """The spiking neurons (``slots``) of one bank of a row. Without ``spiking`` there is none: the
    entry only ends a pass (``end``, ``how``). ``final``: at most one neuron is left. ``skips``: if
    the window has had no events, it shares the result of all such windows."""
    return data.StructLayout(
        {
            "spiking": 1,
            "final": 1,
            "skips": 1,
            "slots": unsigned(config.bank_slots),
            "bank": unsigned(config.bank_bits),
            "row": unsigned(config.feature_row_bits),
            "weight": unsigned(config.weight_row_bits),
            "shift": 1,
            "end": 1,
            "how": end_layout(),
        }
    )


class EventScanner(wiring.Component):
    """Reads occupancies ahead, queues rows that hold spikes, and picks their bits one by one.

    The queue lets the reading of empty rows overlap with events: the array waits only where rows
    without events outnumber the events before them. A window is handed over together with the first
    event of the next window, or earlier if the array is idle. The drain is then busy for
    ``last_lane`` + 1 cycles, and a window that ends in this time waits. A window without events
    (with ``skip_empty``) takes one cycle of the array, and one cycle of the drain, at the same time
    or later.

    ``ready`` tells the walker that a request is accepted in this cycle: from ``start`` to ``stop``,
    while the queue has a free place. ``request`` is valid when ``advance`` is high. ``drain_stall``
    and ``scan_stall`` mark cycles without an event because the drain is busy, or because no event
    has been found; like ``token``, they are registered.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "ready": Out(1),
                "advance": In(1),
                "request": In(request_layout(config)),
                "skip_empty": In(1),
                "last_lane": In(config.lane_bits),
                "occupancy_row": Out(config.feature_row_bits),
                "occupancy": In(config.row_slots),
                "occupancy_empty": In(1),
                "token": Out(token_layout(config)),
                "drain_stall": Out(1),
                "scan_stall": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        queue_out = self._read(m)
        waiting = self._pick_bank(m, queue_out)
        self._pick_slot(m, waiting)
        return m

    def _read(self, m: Module) -> Queue:
        """Writes the occupancy of the requested rows, masked to the window, to the queue."""
        c = self.config
        m.d.comb += self.occupancy_row.eq(self.request.row)

        # The occupancy takes three cycles. Meanwhile, find the slots outside the window.
        valid = [self.advance]
        request = [self.request]
        for index in range(OCCUPANCY_LATENCY + 2):
            valid.append(Signal(name=f"valid_{index}"))
            request.append(Signal(request_layout(c), name=f"request_{index}", reset_less=True))
            m.d.sync += [valid[-1].eq(valid[-2]), request[-1].eq(request[-2])]

        inside = Signal(c.row_slots, reset_less=True)
        early = request[OCCUPANCY_LATENCY - 1]
        for index in range(c.row_slots):
            bank, lane = divmod(index, c.bank_slots)
            slot = lane * c.tiles + bank
            after_head = ~early.first | (slot >= early.head)
            before_tail = ~early.last | (slot <= early.tail)
            m.d.sync += inside[index].eq(after_head & before_tail & ~early.how.shared)

        occupancy = Signal(c.row_slots, reset_less=True)
        row = Signal(c.feature_row_bits, reset_less=True)
        read = request[OCCUPANCY_LATENCY]
        m.d.sync += [
            occupancy.eq(self.occupancy & inside),
            row.eq(Mux(self.occupancy_empty, read.empty_row, read.row)),
        ]

        entry, useful, dropped = self._entry(m, occupancy, row, request[-1], valid[-1])
        m.submodules.queue = queue = Queue(entry_layout(c).size)
        m.d.comb += [queue.write.eq(useful), queue.write_data.eq(entry)]
        self._reserve(m, dropped, queue)
        return queue

    def _entry(
        self, m: Module, occupancy: Signal, row: Signal, late: data.View, late_valid: Signal
    ) -> tuple[data.View, Signal, Signal]:
        """A queue entry for a row: first cycle, the banks with spikes; second cycle, the first of
        these.

        Returns the entry, whether it is useful (it has a spike or ends a pass), and whether a row
        is dropped because it is not.
        """
        c = self.config
        found = Signal(c.row_slots, reset_less=True)
        found_row = Signal(c.feature_row_bits, reset_less=True)
        banks = Signal(c.banks, reset_less=True)
        lone = Signal(c.banks, reset_less=True)
        m.d.sync += [found.eq(occupancy), found_row.eq(row)]
        for bank in range(c.banks):
            slots = occupancy.word_select(bank, c.bank_slots)
            m.d.sync += [banks[bank].eq(slots.any()), lone[bank].eq(_rest(slots) == 0)]

        entry = Signal(entry_layout(c), reset_less=True)
        useful, dropped = Signal(), Signal()
        m.d.sync += [
            entry.occupancy.eq(found),
            entry.first.eq(_lowest(banks)),
            entry.others.eq(_rest(banks)),
            entry.lone.eq(lone),
            entry.spiking.eq(banks.any()),
            entry.single.eq(_rest(banks) == 0),
            entry.row.eq(found_row),
            entry.weight.eq(late.weight),
            entry.shift.eq(late.shift),
            entry.end.eq(late.end),
            entry.how.eq(late.how),
            useful.eq(late_valid & (banks.any() | late.end)),
            dropped.eq(late_valid & ~(banks.any() | late.end)),
        ]

        return entry, useful, dropped

    def _reserve(self, m: Module, dropped: Signal, queue: Queue) -> None:
        """Limits the requests in flight and the queued rows to the places of the queue. Between
        layers the queue counts as full, so that a single bit enables requests."""
        outstanding = Signal(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH)
        taken = Signal()
        m.d.sync += [
            outstanding.eq(outstanding + change(self.advance, dropped, taken)),
            taken.eq(queue.valid & queue.take),
        ]
        with m.If(self.start):
            m.d.sync += outstanding.eq(0)
        with m.Elif(self.stop):
            m.d.sync += outstanding.eq(QUEUE_DEPTH)
        m.d.comb += self.ready.eq(~outstanding[-1])

    def _pick_bank(self, m: Module, queue: Queue) -> "_Waiting":
        """Moves the banks of a queued row that hold spikes, one per cycle, into two registers. With
        two registers, the selection of a bank does not depend on whether `_pick_slot` takes a bank
        in the same cycle."""
        c = self.config
        entry = Signal(entry_layout(c))
        m.d.comb += entry.eq(queue.data)

        # For the second and later banks of a row: the bank itself, the banks after it, and whether
        # it is the last.
        begun = Signal()
        next_bank = Signal(c.banks, reset_less=True)
        next_others = Signal(c.banks, reset_less=True)
        next_single = Signal(reset_less=True)
        chosen = Mux(begun, next_bank, entry.first)
        others = Mux(begun, next_others, entry.others)
        last = Signal()
        m.d.comb += last.eq(Mux(begun, next_single, entry.single))

        found = Signal(bank_layout(c))
        occupancies = [entry.occupancy.word_select(bank, c.bank_slots) for bank in range(c.banks)]
        m.d.comb += [
            found.spiking.eq(entry.spiking),
            found.final.eq((chosen & entry.lone).any() | ~entry.spiking),
            found.skips.eq(~entry.spiking & self.skip_empty & ~entry.how.shared),
            found.slots.eq(_select(chosen, occupancies)),
            found.bank.eq(_index_of(chosen)),
            found.row.eq(entry.row),
            found.weight.eq(entry.weight),
            found.shift.eq(entry.shift),
            found.end.eq(entry.end & last),
            found.how.eq(entry.how),
        ]

        first, second = (Signal(bank_layout(c), reset_less=True) for _ in range(2))
        first_valid, second_valid, taken = Signal(), Signal(), Signal()
        push = Signal()
        m.d.comb += [push.eq(queue.valid & ~second_valid), queue.take.eq(push & last)]
        with m.If(push):
            m.d.sync += [
                next_bank.eq(_lowest(others)),
                next_others.eq(_rest(others)),
                next_single.eq(_rest(others) == 0),
                begun.eq(~last),
            ]
        with m.If(~second_valid):
            m.d.sync += second.eq(found)
        with m.If(taken | ~first_valid):
            m.d.sync += [
                first.eq(Mux(second_valid, second, found)),
                first_valid.eq(second_valid | push),
                second_valid.eq(0),
            ]
        with m.Elif(push):
            m.d.sync += second_valid.eq(1)
        return _Waiting(first_valid, first, taken)

    def _pick_slot(self, m: Module, waiting: "_Waiting") -> None:
        """The spiking neurons of a bank, one per cycle, and the ends of windows between them."""
        c = self.config
        valid = Signal()
        bank = Signal(bank_layout(c), reset_less=True)
        how = bank.how
        take = Signal()
        # `silent`: a window without events ends here, with the shared result. `last`: the bank has
        # no other neuron, or, if silent, the window is the last of its group. Two bits for all
        # cases, decided beforehand, keep the inputs of `take` few.
        silent, last = Signal(reset_less=True), Signal(reset_less=True)

        # If a window ends with a row without spikes, mark the end at the present bank, provided
        # that this bank has another spike after this cycle. Otherwise the end takes a separate
        # cycle.
        merge = waiting.valid & ~waiting.bank.spiking & valid & ~silent & ~last & ~bank.end
        m.d.comb += waiting.taken.eq(take | merge)

        # `due`: a window is complete and its sums are still in the accumulators. `busy`: cycles
        # until the drain can take the next flush; `free`: there are none. `seen`: the window has
        # had an event. A ticket need not wait for the drain, which gives out one per cycle.
        due = Signal()
        due_how = Signal(end_layout(), reset_less=True)
        seen = Signal()
        busy = Signal(range(c.tile_lanes + 1))
        free = Signal(init=1)

        event, flush, empty, ticket, close = (
            Signal(name=name) for name in ("event", "flush", "empty", "ticket", "close")
        )
        # An event or an end may proceed: no sums are due, or they can be handed over now.
        clear = ~due | free
        m.d.comb += [
            event.eq(valid & bank.spiking & clear),
            ticket.eq(valid & silent & ~last & clear),
            empty.eq(valid & silent & last & ~due),
            flush.eq(free & (due | empty)),
            close.eq(valid & last & ~silent & bank.end & clear),
            take.eq(~valid | (last & ~silent & clear) | ticket | (empty & free)),
        ]

        seen_next, silent_next = Signal(), Signal()
        m.d.comb += [
            seen_next.eq((seen | event) & ~close),
            silent_next.eq(waiting.bank.skips & ~seen_next),
        ]
        m.d.sync += [seen.eq(seen_next), due.eq(close | (due & ~free))]
        with m.If(close):
            m.d.sync += due_how.eq(how)
        with m.If(due & free):
            m.d.sync += [
                busy.eq(self.last_lane + ticket),
                free.eq((self.last_lane == 0) & ~ticket),
            ]
        with m.Elif(~free & ~ticket):
            m.d.sync += [busy.eq(busy - 1), free.eq(busy == 1)]
        with m.If(take):
            m.d.sync += [
                valid.eq(waiting.valid),
                bank.eq(waiting.bank),
                silent.eq(silent_next),
                last.eq(Mux(silent_next, waiting.bank.how.group_last, waiting.bank.final)),
            ]
        with m.Else():
            with m.If(event):
                m.d.sync += [
                    bank.slots.eq(_rest(bank.slots)),
                    last.eq(_rest(_rest(bank.slots)) == 0),
                ]
            with m.If(merge):
                m.d.sync += [bank.end.eq(1), how.eq(waiting.bank.how)]

        token = Signal(token_layout(c))
        m.d.sync += [
            token.event.eq(event),
            token.shift.eq(bank.shift),
            token.flush.eq(flush),
            token.empty.eq(empty),
            token.ticket.eq(ticket),
            token.how.eq(Mux(due, due_how, how)),
            token.row.eq(bank.row),
            token.lane.eq(_index_of(_lowest(bank.slots))),
            token.bank.eq(bank.bank),
            token.weight.eq(bank.weight),
            self.drain_stall.eq(valid & ~take & ~event),
            self.scan_stall.eq(~valid),
        ]
        m.d.comb += self.token.eq(token)


@dataclass
class _Waiting:
    """The next bank for `_pick_slot`, and the signal that takes it."""

    valid: Signal
    bank: Signal
    taken: Signal


def _lowest(bits: Value) -> Value:
    """The lowest set bit alone, in LUTs: a subtraction would use a carry chain."""
    return Cat(bits[index] & ~bits[:index].any() for index in range(len(bits)))


def _rest(bits: Value) -> Value:
    """All set bits but the lowest."""
    return Cat(bits[index] & bits[:index].any() for index in range(len(bits)))


def _select(one_hot: Value, values: Sequence[Value]) -> Value:
    """The value whose bit is set, 0 if none is: an OR of ANDs, no priority."""
    result: Value = Const(0, len(values[0]))
    for index, value in enumerate(values):
        result = result | Mux(one_hot[index], value, 0)
    return result


def _index_of(one_hot: Value) -> Value:
    """The index of the only set bit, as wide as needed (0 bits for a single one)."""
    width = len(one_hot)
    bits = (width - 1).bit_length()
    return Cat(
        Cat(*(one_hot[index] for index in range(width) if index >> bit & 1)).any()
        for bit in range(bits)
    )

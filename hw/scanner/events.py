"""Event scanner: from rows of the feature memory to events, zeros skipped."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.layouts import end_layout, token_layout
from residuum.hw.scanner.picker import EventPicker, entry_layout, lower_half, lowest, rest
from residuum.hw.scanner.walker import request_layout

# Cycles from ``occupancy_row`` to ``occupancy``.
OCCUPANCY_LATENCY = 3


class EventScanner(wiring.Component):
    """Reads occupancies ahead and gives one event per cycle, or with ``event_width`` 2 one of the
    even banks and one of the odd ones.

    Each stream of events has a queue of rows, which lets the reading of empty rows overlap with
    events, and goes through a window at its own pace; at the end of the window it waits for the
    other one. A window is handed over together with the first event of the next window, or earlier
    if the array is idle. The drain is then busy for ``last_lane`` + 1 cycles, and a window that
    ends in this time waits. A window without events (with ``skip_empty``) takes one cycle of the
    streams, and one cycle of the drain, at the same time or later.

    ``ready`` tells the walker that a request is accepted in this cycle: from ``start`` to ``stop``,
    while the queues have a free place. ``request`` is valid when ``advance`` is high.
    After ``hold`` the next token but one has no second event. ``drain_stall`` and ``scan_stall``
    mark cycles without an event because the drain is busy, or because no event has been found; like
    ``token``, they are registered.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "stop": In(1),
                "hold": In(1),
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
        pickers = [EventPicker(self.config) for _ in range(self.config.event_width)]
        for index, picker in enumerate(pickers):
            m.submodules[f"picker_{index}"] = picker
            m.d.comb += [
                picker.start.eq(self.start),
                picker.stop.eq(self.stop),
                picker.advance.eq(self.advance),
            ]
        m.d.sync += self.ready.eq(Cat(picker.room for picker in pickers).all())
        self._read(m, pickers)
        self._end_windows(m, pickers)
        return m

    def _read(self, m: Module, pickers: list[EventPicker]) -> None:
        """Gives the occupancy of the requested rows, masked to the window, to the pickers."""
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
        row_late = Signal.like(row, reset_less=True)
        m.d.sync += row_late.eq(row)
        for stream, picker in enumerate(pickers):
            banks = range(stream, c.banks, c.event_width)
            own = Cat(occupancy.word_select(bank, c.bank_slots) for bank in banks)
            self._enter(m, stream, picker, own, row_late, request[-1], valid[-1])

    def _enter(
        self,
        m: Module,
        stream: int,
        picker: EventPicker,
        own: Cat,
        row: Signal,
        late: data.View,
        late_valid: Signal,
    ) -> None:
        """The entry of a row for one picker: first cycle, its ``own`` banks with spikes, and the
        spikes of up to four slots each; second cycle, the first of these banks, and the spikes of
        each. The row is dropped if it has no spike and does not end a window."""
        c = self.config

        def register(width: int, name: str) -> Signal:
            return Signal(width, name=f"{name}_{stream}", reset_less=True)

        found = register(c.stream_banks * c.bank_slots, "found")
        banks = register(c.stream_banks, "banks")
        m.d.sync += found.eq(own)
        # The spikes of the lower half of each bank's slots, and of the upper half.
        halves: list[list[Value]] = []
        for bank in range(len(own) // c.bank_slots):
            slots = own.word_select(bank, c.bank_slots)
            m.d.sync += banks[bank].eq(slots.any())
            halves.append([])
            for side, half in enumerate((lower_half(slots), slots[c.bank_slots // 2 :])):
                few = [
                    Signal(range(5), name=f"few_{stream}_{bank}_{side}_{low}", reset_less=True)
                    for low in range(0, len(half), 4)
                ]
                m.d.sync += [count.eq(sum(half[4 * i :][:4])) for i, count in enumerate(few)]
                halves[-1].append(sum(few, Const(0)))

        entry = Signal(entry_layout(c), name=f"entry_{stream}", reset_less=True)
        useful, dropped = Signal(name=f"useful_{stream}"), Signal(name=f"dropped_{stream}")
        m.d.sync += [
            entry.occupancy.eq(found),
            entry.first.eq(lowest(banks)),
            entry.others.eq(rest(banks)),
            *(entry.counts[bank].eq(low + upper) for bank, (low, upper) in enumerate(halves)),
            entry.low.eq(Cat(low.any() for low, _ in halves)),
            entry.more_low.eq(Cat(low[1:].any() for low, _ in halves)),
            entry.spiking.eq(banks.any()),
            entry.single.eq(rest(banks) == 0),
            entry.row.eq(row),
            entry.weight.eq(late.weight),
            entry.shift.eq(late.shift),
            entry.end.eq(late.end),
            entry.how.eq(late.how),
            useful.eq(late_valid & (banks.any() | late.end)),
            dropped.eq(late_valid & ~(banks.any() | late.end)),
        ]
        m.d.comb += [
            picker.entry.eq(entry),
            picker.write.eq(useful),
            picker.dropped.eq(dropped),
        ]

    def _end_windows(self, m: Module, pickers: list[EventPicker]) -> None:
        """Ends a window when all streams have ended it, and hands it to the drain. Gives the
        token."""
        c = self.config
        # `due`: a window is complete, and its sums are still in the accumulators (`due_empty`: it
        # had no events, and there are none). `busy`: cycles until the drain can take the next
        # flush; `free`: there are none. `clear`: events and ends may proceed, because no sums are
        # due, or they can be handed over now. `seen`: the window has had an event. A ticket need
        # not wait for the drain, which gives out one per cycle.
        due = Signal()
        due_empty = Signal(reset_less=True)
        due_how = Signal(end_layout(), reset_less=True)
        seen = Signal()
        busy = Signal(range(c.tile_lanes + 1))
        free, clear = Signal(init=1), Signal(init=1)
        # `clear` of each stream: the second one may be held.
        clears = [clear, *(Signal(init=1, name="second_clear") for _ in pickers[1:])]

        complete, silent, ticket, flush = (
            Signal(name=name) for name in ("complete", "silent", "ticket", "flush")
        )
        how = pickers[0].how
        spiking = Cat(picker.spiking for picker in pickers).any()
        events = Cat(picker.event.valid for picker in pickers).any()
        found = Cat(picker.found for picker in pickers).all()
        m.d.comb += [
            complete.eq(Cat(picker.ending for picker in pickers).all() & clears[-1]),
            silent.eq(self.skip_empty & ~how.shared & ~seen & ~spiking),
            ticket.eq(complete & silent & ~how.group_last),
            flush.eq(due & clear),
        ]
        for picker, own in zip(pickers, clears, strict=True):
            m.d.comb += [picker.clear.eq(own), picker.complete.eq(complete)]

        # `clear` decides everything in the next cycle, so it is a register. A window that is
        # complete now is due then, unless it becomes a ticket.
        last_lane = Mux(due_empty, 0, self.last_lane)
        # `ticket` comes late: it chooses between two numbers, and adds nothing.
        lanes = Signal.like(busy, reset_less=True)
        m.d.sync += lanes.eq(self.last_lane + 1)
        ended = Mux(flush, last_lane == 0, free | (busy == 1))
        m.d.sync += [
            seen.eq((seen | events) & ~complete),
            due.eq((complete & ~ticket) | (due & ~clear)),
        ]
        following = ended | Mux(complete, silent & ~how.group_last, clear | ~due)
        m.d.sync += [
            clear.eq(following),
            *(second.eq(following & ~self.hold) for second in clears[1:]),
        ]
        with m.If(complete):
            m.d.sync += [due_how.eq(how), due_empty.eq(silent)]
        with m.If(flush):
            m.d.sync += [
                busy.eq(Mux(ticket, Mux(due_empty, 1, lanes), last_lane)),
                free.eq((last_lane == 0) & ~ticket),
            ]
        with m.Elif(~free & ~ticket):
            m.d.sync += [busy.eq(busy - 1), free.eq(busy == 1)]

        token = Signal(token_layout(c))
        m.d.sync += [
            *(token.events[index].eq(picker.event) for index, picker in enumerate(pickers)),
            token.flush.eq(flush),
            token.empty.eq(due_empty),
            token.ticket.eq(ticket),
            token.how.eq(due_how),
            self.drain_stall.eq(~clear & found),
            self.scan_stall.eq(~events & ~found),
        ]
        m.d.comb += self.token.eq(token)

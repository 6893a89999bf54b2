"""Event scanner: from rows of the feature memory to events, one per cycle, zeros skipped."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.config import EngineConfig
from hw.scanner.walker import end_layout, request_layout

QUEUE_DEPTH = 16

# Windows without events that may wait for the drain.
MAX_TICKETS = 15


def token_layout(config: EngineConfig) -> data.StructLayout:
    """What the scanner gives the array in one cycle, if anything.

    An event (``event``): the train in lane ``lane`` of bank ``bank`` of row ``row`` meets the
    weight row of its slot, ``weight`` being that of slot 0. The end of a window (``flush``): the
    array hands its sums to the drain, before it adds the event of the same cycle; ``how`` belongs
    to it. A window without events that shares its result with all such windows is a ``ticket``,
    which the drain queues, or, if it is the last of its group, an ``empty`` flush.
    """
    return data.StructLayout(
        {
            "event": 1,
            "flush": 1,
            "empty": 1,
            "ticket": 1,
            "how": end_layout(),
            "row": unsigned(config.feature_row_bits),
            "lane": unsigned(config.lane_bits),
            "bank": unsigned(config.bank_bits),
            "weight": unsigned(config.weight_row_bits),
        }
    )


def entry_layout(config: EngineConfig) -> data.StructLayout:
    """A scanned row with at least one spiking neuron, or the last row of a pass; ``occupancy`` by
    bank, ``banks`` those with a spike."""
    return data.StructLayout(
        {
            "occupancy": unsigned(config.row_slots),
            "banks": unsigned(config.banks),
            "row": unsigned(config.feature_row_bits),
            "weight": unsigned(config.weight_row_bits),
            "end": 1,
            "how": end_layout(),
        }
    )


class EventScanner(wiring.Component):
    """Reads occupancies ahead, queues rows that hold spikes, and picks their bits one by one.

    The queue lets the reading of empty rows overlap with events: the array waits only where rows
    without events outnumber the events before them. A window is handed over together with the first
    event of the next one, or as soon as there is nothing else to do; the drain then is busy for
    ``last_lane`` + 1 cycles, and a window that ends within them waits. A window without events
    (with ``skip_empty``) takes one cycle of the drain, and one of the array, which need not be the
    same.

    ``ready`` tells the walker that a request is taken in this cycle; ``request`` counts when
    ``advance`` is high. ``drain_stall`` and ``scan_stall`` mark cycles in which the array gets
    nothing because the drain is busy, or because no event has been found.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "ready": Out(1),
                "advance": In(1),
                "request": In(request_layout(config)),
                "empty_row": In(config.feature_row_bits),
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
        picked = self._pick_bank(m, queue_out)
        self._pick_slot(m, picked)
        return m

    def _read(self, m: Module) -> fifo.SyncFIFOBuffered:
        """Occupancy of the requested rows, masked to the window, into the queue."""
        c = self.config
        m.d.comb += self.occupancy_row.eq(self.request.row)

        # Two cycles of memory latency, in which the slots outside the window are found.
        valid = [self.advance]
        request = [self.request]
        for index in range(4):
            valid.append(Signal(name=f"valid_{index}"))
            request.append(Signal(request_layout(c), name=f"request_{index}", reset_less=True))
            m.d.sync += [valid[-1].eq(valid[-2]), request[-1].eq(request[-2])]

        inside = Signal(c.row_slots, reset_less=True)
        early = request[1]
        for index in range(c.row_slots):
            bank, lane = divmod(index, c.bank_slots)
            slot = lane * c.tiles + bank
            after_head = ~early.first | (slot >= early.head)
            before_tail = ~early.last | (slot <= early.tail)
            m.d.sync += inside[index].eq(after_head & before_tail & ~early.how.shared)

        occupancy = Signal(c.row_slots, reset_less=True)
        row = Signal(c.feature_row_bits, reset_less=True)
        m.d.sync += [
            occupancy.eq(self.occupancy & inside),
            row.eq(Mux(self.occupancy_empty, self.empty_row + request[2].index, request[2].row)),
        ]

        entry = Signal(entry_layout(c), reset_less=True)
        banks = [
            occupancy[low : low + c.bank_slots].any() for low in range(0, c.row_slots, c.bank_slots)
        ]
        useful = Signal(reset_less=True)
        late = request[3]
        m.d.sync += [
            entry.occupancy.eq(occupancy),
            entry.banks.eq(Cat(*banks)),
            entry.row.eq(row),
            entry.weight.eq(late.weight),
            entry.end.eq(late.end),
            entry.how.eq(late.how),
            useful.eq(Cat(*banks).any() | late.end),
        ]

        m.submodules.queue = queue = fifo.SyncFIFOBuffered(
            width=entry_layout(c).size, depth=QUEUE_DEPTH
        )
        m.d.comb += [queue.w_en.eq(valid[4] & useful), queue.w_data.eq(entry)]

        # Requests in flight and queued rows never outnumber the queue.
        outstanding = Signal(range(QUEUE_DEPTH + 1))
        dropped = valid[4] & ~useful
        m.d.sync += outstanding.eq(outstanding + self.advance - dropped - queue.r_en)
        m.d.comb += self.ready.eq(outstanding < QUEUE_DEPTH)
        return queue

    def _pick_bank(self, m: Module, queue: fifo.SyncFIFOBuffered) -> dict[str, Signal]:
        """The banks of a queued row that hold spikes, one per step."""
        c = self.config
        entry = Signal(entry_layout(c))
        m.d.comb += entry.eq(queue.r_data)

        done = Signal(c.banks)
        left = entry.banks & ~done
        chosen = Signal(c.banks)
        m.d.comb += chosen.eq(left & (-left)[: c.banks])
        last = Signal()
        m.d.comb += last.eq((left & (left - 1)[: c.banks]) == 0)

        picked = {
            "valid": Signal(name="picked_valid"),
            "slots": Signal(c.bank_slots, name="picked_slots", reset_less=True),
            "bank": Signal(c.bank_bits, name="picked_bank", reset_less=True),
            "row": Signal(c.feature_row_bits, name="picked_row", reset_less=True),
            "weight": Signal(c.weight_row_bits, name="picked_weight", reset_less=True),
            "end": Signal(name="picked_end", reset_less=True),
            "how": Signal(end_layout(), name="picked_how", reset_less=True),
            "take": Signal(name="picked_take"),
            "more": Signal(name="picked_more"),
        }
        # The end of a window that comes as a row without spikes goes to the bank before it, if that
        # one still has a spike to give after this cycle; else it takes a cycle of its own.
        take = picked["take"] & queue.r_rdy
        merge = queue.r_rdy & ~entry.banks.any() & picked["more"] & ~picked["end"]
        m.d.comb += queue.r_en.eq((take & last) | merge)
        with m.If(merge):
            m.d.sync += [picked["end"].eq(1), picked["how"].eq(entry.how)]
        with m.If(picked["take"]):
            m.d.sync += picked["valid"].eq(queue.r_rdy)
        with m.If(take):
            m.d.sync += [
                done.eq(Mux(last, 0, done | chosen)),
                picked["row"].eq(entry.row),
                picked["weight"].eq(entry.weight),
                picked["end"].eq(entry.end & last),
                picked["how"].eq(entry.how),
                picked["slots"].eq(
                    _select(
                        chosen,
                        [
                            entry.occupancy[low : low + c.bank_slots]
                            for low in range(0, c.row_slots, c.bank_slots)
                        ],
                    )
                ),
                picked["bank"].eq(_index_of(chosen)),
            ]
        return picked

    def _pick_slot(self, m: Module, picked: dict[str, Signal]) -> None:
        """The spiking neurons of a bank, one per cycle, and the ends of windows between them."""
        c = self.config
        valid, slots, end, how = (picked[n] for n in ("valid", "slots", "end", "how"))

        # `due`: a window is complete and its sums still are in the accumulators.
        due = Signal()
        due_how = Signal(end_layout(), reset_less=True)
        seen = Signal()
        busy = Signal(range(c.tile_lanes + MAX_TICKETS + 1))
        free = busy == 0

        first = slots & (-slots)[: c.bank_slots]
        rest = slots & (slots - 1)[: c.bank_slots]
        event, flush, empty, ticket, close = (
            Signal(name=name) for name in ("event", "flush", "empty", "ticket", "close")
        )
        flush_how = Signal(end_layout())
        m.d.comb += [
            flush_how.eq(due_how),
            self.drain_stall.eq(valid & ~picked["take"] & ~event),
            self.scan_stall.eq(~valid),
        ]
        with m.If(valid & slots.any()):
            m.d.comb += [
                event.eq(~due | free),
                flush.eq(due & free),
                picked["take"].eq(event & (rest == 0)),
                picked["more"].eq(rest != 0),
                close.eq(event & (rest == 0) & end),
            ]
        with m.Elif(valid & ~seen & self.skip_empty & ~how.shared & how.group_last):
            m.d.comb += [flush.eq(free), empty.eq(~due), picked["take"].eq(free & ~due)]
            with m.If(~due):
                m.d.comb += flush_how.eq(how)
        with m.Elif(valid & ~seen & self.skip_empty & ~how.shared):
            m.d.comb += [
                flush.eq(due & free),
                ticket.eq(Mux(due, free, busy < MAX_TICKETS)),
                picked["take"].eq(ticket),
            ]
        with m.Elif(valid):
            m.d.comb += [
                flush.eq(due & free),
                close.eq(~due | free),
                picked["take"].eq(~due | free),
            ]
        with m.Else():
            m.d.comb += [flush.eq(due & free), picked["take"].eq(1)]

        # Cycles until all slots given out so far leave room for the next flush.
        with m.If(flush & ~empty):
            m.d.sync += [busy.eq(self.last_lane + ticket), due.eq(0)]
        with m.Elif(~free):
            m.d.sync += busy.eq(busy - ~ticket)
        with m.If(event):
            m.d.sync += seen.eq(1)
        with m.If(close):
            m.d.sync += [due.eq(1), due_how.eq(how), seen.eq(0)]
        with m.If(event & ~picked["take"]):
            m.d.sync += slots.eq(rest)

        token = Signal(token_layout(c))
        m.d.sync += [
            token.event.eq(event),
            token.flush.eq(flush),
            token.empty.eq(empty),
            token.ticket.eq(ticket),
            token.how.eq(flush_how),
            token.row.eq(picked["row"]),
            token.lane.eq(_index_of(first)),
            token.bank.eq(picked["bank"]),
            token.weight.eq(picked["weight"]),
        ]
        m.d.comb += self.token.eq(token)


def _select(one_hot, values):  # type: ignore[no-untyped-def]
    """The value whose bit is set, 0 if none is: an OR of ANDs, no priority."""
    result = Const(0, len(values[0]))
    for index, value in enumerate(values):
        result = result | Mux(one_hot[index], value, 0)
    return result


def _index_of(one_hot):  # type: ignore[no-untyped-def]
    """The index of the only set bit, as wide as needed (0 bits for a single one)."""
    width = len(one_hot)
    bits = (width - 1).bit_length()
    return Cat(
        Cat(*(one_hot[index] for index in range(width) if index >> bit & 1)).any()
        for bit in range(bits)
    )

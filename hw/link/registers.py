"""Registers that several states of the host link share, in groups with their logic.

States control a group through its single-bit signals, and set some of its registers directly.
Registers have a leading underscore in the netlist and in timing reports.
"""

import enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, HostMap, Region
from residuum.hw.isa.protocol import (
    HEADER_WORDS,
    IDENTITY_WORDS,
    MAX_FRAME_WORDS,
    WORD_BYTES,
    Command,
    Status,
)
from residuum.hw.link.frames import INDEX_BITS
from residuum.hw.link.request import request_layout

BUFFER_WORDS = 512
# The buffer has two places for the head (the first words) of a frame. One place keeps the head of
# the last RUN, for its reply and for comparison with a repeated RUN; later requests use the other
# place.
HEAD_BITS = 3
SECOND_HEAD = -(-MAX_FRAME_WORDS >> HEAD_BITS)
# The end of the buffer is initialised with the identity.
IDENTITY_PLACE = BUFFER_WORDS - (1 << bits_for_count(IDENTITY_WORDS))


def buffer_address(index: Value, second: Value) -> Value:
    """The buffer address of a word of a frame."""
    head = index[HEAD_BITS:] == 0
    return Cat(index[:HEAD_BITS], Mux(head & second, SECOND_HEAD, index[HEAD_BITS:]))


class Source(enum.IntEnum):
    """The source of a word of a reply; sources of the header first."""

    FIRST = 0  # the first word of the request, with the status
    BUFFER = 1  # the request, or the identity
    COUNT = 2
    ENGINE = 3
    CYCLES = 4
    DROPPED = 5
    REFUSED = 6


class Execution:
    """The request that is being executed, and its progress.

    ``status``: the status of the reply; ``running``: a run is in progress; ``remembered``: the last
    executed request is the RUN whose head the buffer keeps; ``same``: the present request repeats
    this RUN; ``step``: cycles in a state that counts them.
    """

    def __init__(self, config: EngineConfig):
        self.request = Signal(request_layout(config), name="_request")
        self.status = Signal(Status, name="_status")
        self.running = Signal(name="_running")
        self.remembered = Signal(name="_remembered")
        self.same = Signal(name="_same")
        self.step = Signal(3, name="_step")


class Cursor:
    """The word of the buffer that is read: ``index`` in the present frame, or in the frame of the
    last RUN (``of_run``).

    ``second`` selects the place for the head of the next frame. ``next``, ``clear`` and
    ``to_identity`` move the index.
    """

    def __init__(self) -> None:
        self.second = Signal(name="_second")
        self.of_run = Signal(name="_of_run")
        self.index = Signal(INDEX_BITS, name="_index")
        self.next, self.clear, self.to_identity = Signal(), Signal(), Signal()

    @property
    def address(self) -> Value:
        return buffer_address(self.index, self.second ^ self.of_run)

    def add_to(self, m: Module) -> None:
        with m.If(self.next):
            m.d.sync += self.index.eq(self.index + 1)
        with m.If(self.clear):
            m.d.sync += self.index.eq(0)
        with m.If(self.to_identity):
            m.d.sync += self.index.eq(IDENTITY_PLACE)


class Countdown:
    """Remaining words of the payload: ``next`` counts them down.

    ``none_left``: the count is 0, one cycle late. ``through``: the count was 0 before the last
    ``next``.
    """

    def __init__(self) -> None:
        self.next, self.none_left = Signal(), Signal(name="_none_left")
        self.through = Signal(name="_through")

    def add_to(self, m: Module, count: Value) -> None:
        m.d.sync += self.none_left.eq(count == 0)
        with m.If(self.next):
            m.d.sync += Cat(count, self.through).eq(count - 1)


class Target:
    """The address at the host port: the address of the request, or of a control word.

    ``next`` increments the address. ``to_control`` switches to the control word ``control``,
    ``to_request`` back to the address of the request.
    """

    def __init__(self) -> None:
        self.next, self.to_control = Signal(), Signal()
        self.to_request = Signal(name="_address_request")
        self.control = Signal(Control, name="_control")

    def add_to(
        self, m: Module, address: Value, host: wiring.PureInterface, host_map: HostMap
    ) -> None:
        offset = address[: host_map.offset_bits]
        with m.If(host.write | self.next):
            m.d.sync += offset.eq(offset + 1)
        at_control = Signal()
        control = Signal(Control)
        with m.If(self.next):
            m.d.sync += control.eq(control + 1)
        with m.If(self.to_control):
            m.d.sync += [at_control.eq(1), control.eq(self.control)]
        with m.If(self.to_request):
            m.d.sync += at_control.eq(0)
        m.d.comb += host.address.eq(
            Mux(at_control, host_map.address(Region.CONTROL) | control, address)
        )


class Writer:
    """Writes words of the buffer to the engine, one in each cycle in which ``issue`` is high;
    ``written`` is high when the last word has been written.

    The buffer has a latency of two cycles; the host port gets the word one cycle later.
    """

    def __init__(self) -> None:
        self.issue, self.written = Signal(), Signal()

    def add_to(
        self,
        m: Module,
        data: Value,
        host: wiring.PureInterface,
        command: Value,
        cursor: Cursor,
        through: Value,
    ) -> None:
        byte = Signal(range(WORD_BYTES))
        byte_late = [Signal.like(byte, name=f"byte_{stage}") for stage in range(2)]
        issued = Signal(2)
        as_bytes = Signal()
        m.d.sync += [
            as_bytes.eq(command == Command.WRITE_BYTES),
            byte.eq(0),
            byte_late[0].eq(byte),
            byte_late[1].eq(byte_late[0]),
            issued.eq(Cat(self.issue, issued)),
            host.write.eq(issued[1]),
            host.write_data.eq(Mux(as_bytes, data.word_select(byte_late[1], 8), data)),
        ]
        with m.If(self.issue):
            m.d.sync += byte.eq(byte + as_bytes)
            with m.If(~as_bytes | (byte == WORD_BYTES - 1)):
                m.d.comb += cursor.next.eq(1)
        m.d.comb += self.written.eq(through & ~issued.any() & ~host.write)


class Tally:
    """Cycles of the last run, frames dropped, frames refused.

    ``clear_cycles`` marks the start of a run; ``refuse`` counts a refused frame.
    """

    def __init__(self) -> None:
        self.engine_busy = Signal(name="_engine_busy")
        self.cycles = Signal(HOST_WORD_BITS)
        self.dropped = Signal(HOST_WORD_BITS)
        self.refused = Signal(HOST_WORD_BITS)
        self.clear_cycles, self.refuse = Signal(), Signal()

    def add_to(self, m: Module, *, busy: Value, dropped: Value, error: Signal) -> None:
        m.d.sync += self.engine_busy.eq(busy)
        with m.If(self.engine_busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.clear_cycles):
            m.d.sync += self.cycles.eq(0)
        with m.If(dropped):
            m.d.sync += [self.dropped.eq(self.dropped + 1), error.eq(1)]
        with m.If(self.refuse):
            m.d.sync += self.refused.eq(self.refused + 1)


class ReplyWord:
    """The next word of a reply, from its ``source``; `Source.BUFFER` between replies.

    ``part`` is the word of the header, or `HEADER_WORDS` for the payload. ``hold`` keeps the word.
    """

    def __init__(self) -> None:
        self.word, self.hold = Signal(HOST_WORD_BITS, name="_word", reset_less=True), Signal()
        self.part = Signal(range(HEADER_WORDS + 1), name="_part")
        self.source = Signal(Source, name="_source")

    def add_to(
        self, m: Module, data: Value, read_data: Value, execution: Execution, tally: Tally
    ) -> None:
        status = Cat(execution.status, Const(0, 8 - len(execution.status)))
        in_header = self.part != HEADER_WORDS
        values = {
            Source.FIRST: Cat(data[:8], status, data[16:]),
            Source.BUFFER: data,
            Source.COUNT: Mux(in_header, execution.request.count, execution.running),
            Source.ENGINE: read_data,
            Source.CYCLES: tally.cycles,
            Source.DROPPED: tally.dropped,
            Source.REFUSED: tally.refused,
        }
        with m.If(~self.hold), m.Switch(self.source):
            for source, value in values.items():
                with m.Case(source):
                    m.d.sync += self.word.eq(value)


class Registers:
    """All register groups of the host link."""

    def __init__(self, config: EngineConfig):
        self.execution = Execution(config)
        self.cursor = Cursor()
        self.count = Countdown()
        self.target = Target()
        self.writer = Writer()
        self.tally = Tally()
        self.reply = ReplyWord()

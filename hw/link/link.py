"""The host link: requests in, effects on the engine, replies out (``docs/protocol.md``)."""

import enum

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, HostMap, Region
from residuum.hw.isa.protocol import (
    HEADER_WORDS,
    IDENTITY_WORDS,
    MAX_FRAME_WORDS,
    MIN_FRAME_WORDS,
    RUN_WORDS,
    STATUS_WORDS,
    WORD_BYTES,
    Command,
    Identity,
    Status,
)
from residuum.hw.link.frames import INDEX_BITS, Framer
from residuum.hw.link.request import RequestCheck, request_layout
from residuum.hw.memory.block import BlockMemory

BUFFER_WORDS = 512
# The first words of a frame have two places in the buffer, in turn: those of the last RUN stay
# until the next one, for its reply and to know a repeated one, while other requests come in.
HEAD_BITS = 3
SECOND_HEAD = -(-MAX_FRAME_WORDS >> HEAD_BITS)
# The end of the buffer holds the identity from the start.
IDENTITY_PLACE = BUFFER_WORDS - (1 << bits_for_count(IDENTITY_WORDS))


class Source(enum.IntEnum):
    """Where a word of a reply comes from; those of the header first."""

    FIRST = 0  # the first word of the request, with the status
    BUFFER = 1  # the request, or the identity
    COUNT = 2
    ENGINE = 3
    CYCLES = 4
    DROPPED = 5
    REFUSED = 6


class HostLink(wiring.Component):
    """Executes requests, one at a time, each only after its frame was found whole.

    Parameters
    ----------
    identity : Identity
        What is told to a host that asks; its ``config`` is that of the engine.

    Members
    -------
    rx : In(stream of bytes), rx_damaged : In(1), tx : Out(stream of bytes)
        The wire. ``rx`` is always ready; ``rx_damaged`` is high where a byte was lost or wrong.
    host : Out(HostPort), engine_busy : In(1), engine_reset : Out(1)
        The engine. ``engine_reset`` comes from a register.
    busy : Out(1)
        A request is being checked, executed or answered. When low, nothing changes until ``rx``
        brings another byte.
    error : Out(1)
        The last frame was dropped or refused.
    """

    def __init__(self, identity: Identity):
        if not isinstance(identity, Identity):
            raise TypeError(f"identity must be an Identity, not {identity!r}")
        address_bits = HostMap(identity.config).address_bits
        if address_bits > HOST_WORD_BITS:
            raise ValueError(
                f"host addresses must fit {HOST_WORD_BITS} bits, "
                f"but those of this engine have {address_bits}"
            )
        self.identity = identity
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_damaged": In(1),
                "tx": Out(stream.Signature(8)),
                "host": Out(HostPort(identity.config)),
                "engine_busy": In(1),
                "engine_reset": Out(1),
                "busy": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.identity.config
        m.submodules.framer = self._framer = framer = Framer()
        m.submodules.buffer = buffer = BlockMemory(
            width=HOST_WORD_BITS,
            depth=BUFFER_WORDS,
            ecp5=config.memory == "ecp5",
            init=(0,) * IDENTITY_PLACE + self.identity.words(),
        )
        m.submodules.check = self._check = check = RequestCheck(config)
        wiring.connect(m, wiring.flipped(self.rx), framer.rx)
        wiring.connect(m, framer.tx, wiring.flipped(self.tx))

        self._second = Signal()  # where the next frame has its head
        self._of_run = Signal()  # read the frame of the last RUN
        self._index = Signal(INDEX_BITS)  # of the word that is read
        self._read_data = buffer.read_data
        self._request = Signal(request_layout(config))
        self._word = Signal(HOST_WORD_BITS, reset_less=True)
        self._status = Signal(Status)
        self._running = Signal()
        self._remembered = Signal()  # the last request that was executed is the RUN in the buffer
        self._same = Signal()  # this request is that RUN
        self._step = Signal(3)  # cycles in a state that counts them
        self._none_left = Signal()  # count is zero, one cycle late
        self._through = Signal()  # count was zero before it was counted down the last time
        self._part = Signal(range(HEADER_WORDS + 1))  # of a reply: word of the header, or payload
        self._source = Signal(Source)
        m.d.comb += [
            framer.rx_damaged.eq(self.rx_damaged),
            buffer.write_enable.eq(framer.write),
            buffer.write_address.eq(_buffer_address(framer.index, self._second)),
            buffer.write_data.eq(framer.word),
            buffer.read_address.eq(_buffer_address(self._index, self._second ^ self._of_run)),
            check.request.eq(self._request),
            check.words.eq(framer.length),
            check.running.eq(self._running),
        ]

        # What the states ask of the registers that several of them use.
        self._index_next, self._index_clear, self._index_identity = Signal(), Signal(), Signal()
        self._address_next, self._address_control = Signal(), Signal()
        self._address_request = Signal()
        self._control = Signal(Control)
        self._count_next, self._hold = Signal(), Signal()
        self._issue, self._written = Signal(), Signal()
        self._cycles_clear, self._refuse = Signal(), Signal()
        m.d.sync += [self._step.eq(0), self.engine_reset.eq(0), self.host.read.eq(0)]
        self._count(m)
        self._choose(m)
        self._write(m)
        with m.FSM() as fsm:
            self._fetch(m)
            self._execute(m)
            self._reply(m)
        self._point(m)
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE") | self._running | framer.active)
        return m

    def _point(self, m: Module) -> None:
        """The place in the buffer, and that in the engine."""
        host_map = HostMap(self.identity.config)
        index, address = self._index, self._request.address
        offset = address[: host_map.offset_bits]
        with m.If(self._index_next):
            m.d.sync += index.eq(index + 1)
        with m.If(self._index_clear):
            m.d.sync += index.eq(0)
        with m.If(self._index_identity):
            m.d.sync += index.eq(IDENTITY_PLACE)
        m.d.sync += self._none_left.eq(self._request.count == 0)
        with m.If(self._count_next):
            count = self._request.count
            m.d.sync += Cat(count, self._through).eq(count - 1)
        with m.If(self.host.write | self._address_next):
            m.d.sync += offset.eq(offset + 1)
        # Control words have addresses of their own; that of the request waits.
        at_control = Signal()
        control = Signal(Control)
        with m.If(self._address_next):
            m.d.sync += control.eq(control + 1)
        with m.If(self._address_control):
            m.d.sync += [at_control.eq(1), control.eq(self._control)]
        with m.If(self._address_request):
            m.d.sync += at_control.eq(0)
        m.d.comb += self.host.address.eq(
            Mux(at_control, host_map.address(Region.CONTROL) | control, address)
        )

    def _choose(self, m: Module) -> None:
        """The next word of a reply; after its source, words of the buffer as they come."""
        data, word = self._read_data, self._word
        with m.If(~self._hold), m.Switch(self._source):
            with m.Case(Source.FIRST):
                status = Cat(self._status, Const(0, 8 - len(self._status)))
                m.d.sync += word.eq(Cat(data[:8], status, data[16:]))
            with m.Case(Source.BUFFER):
                m.d.sync += word.eq(data)
            with m.Case(Source.COUNT):
                in_header = self._part != HEADER_WORDS
                m.d.sync += word.eq(Mux(in_header, self._request.count, self._running))
            with m.Case(Source.ENGINE):
                m.d.sync += word.eq(self.host.read_data)
            with m.Case(Source.CYCLES):
                m.d.sync += word.eq(self._cycles)
            with m.Case(Source.DROPPED):
                m.d.sync += word.eq(self._dropped)
            with m.Case(Source.REFUSED):
                m.d.sync += word.eq(self._refused)

    def _write(self, m: Module) -> None:
        """Words of the buffer to the engine, one in each cycle in which ``issue`` is high.

        A word of the buffer is there two cycles after its index, at the host port one later.
        """
        byte = Signal(range(WORD_BYTES))
        byte_late = [Signal.like(byte, name=f"byte_{stage}") for stage in range(2)]
        issued = Signal(2)
        as_bytes = Signal()
        data = self._read_data
        m.d.sync += [
            as_bytes.eq(self._request.command == Command.WRITE_BYTES),
            byte.eq(0),
            byte_late[0].eq(byte),
            byte_late[1].eq(byte_late[0]),
            issued.eq(Cat(self._issue, issued)),
            self.host.write.eq(issued[1]),
            self.host.write_data.eq(Mux(as_bytes, data.word_select(byte_late[1], 8), data)),
        ]
        with m.If(self._issue):
            m.d.sync += byte.eq(byte + as_bytes)
            with m.If(~as_bytes | (byte == WORD_BYTES - 1)):
                m.d.comb += self._index_next.eq(1)
        m.d.comb += self._written.eq(self._through & ~issued.any() & ~self.host.write)

    def _count(self, m: Module) -> None:
        """Counters, and what the LED of errors shows."""
        self._engine_busy = Signal()
        self._cycles, self._dropped, self._refused = (
            Signal(HOST_WORD_BITS, name=name) for name in ("cycles", "dropped", "refused")
        )
        m.d.sync += self._engine_busy.eq(self.engine_busy)
        with m.If(self._engine_busy):
            m.d.sync += self._cycles.eq(self._cycles + 1)
        with m.If(self._cycles_clear):
            m.d.sync += self._cycles.eq(0)
        with m.If(self._framer.dropped):
            m.d.sync += [self._dropped.eq(self._dropped + 1), self.error.eq(1)]
        with m.If(self._refuse):
            m.d.sync += self._refused.eq(self._refused + 1)

    def _fetch(self, m: Module) -> None:
        """A request out of the buffer, and what the check says to it."""
        word, request = self._word, self._request
        host_map = HostMap(self.identity.config)
        half = HOST_WORD_BITS // 2
        difference = Signal(HOST_WORD_BITS, reset_less=True)  # between the CRCs
        same_half = Signal(2)
        m.d.sync += same_half.eq(Cat(difference[:half] == 0, difference[half:] == 0))
        with m.State("IDLE"):
            m.d.comb += [self._index_clear.eq(1), self._address_request.eq(1)]
            m.d.sync += [self._of_run.eq(0), self._source.eq(Source.BUFFER)]
            with m.If(self._running & ~self._engine_busy):
                m.d.sync += [self._running.eq(0), request.command.eq(Command.RUN)]
                m.next = "RESULT"
            with m.Elif(self._framer.full):
                m.next = "FETCH"

        # Words 0 to 4, and word 4 of the last RUN: its CRC.
        with m.State("FETCH"):
            m.d.sync += self._step.eq(self._step + 1)
            with m.If(self._step < MIN_FRAME_WORDS):
                m.d.comb += self._index_next.eq(1)
            with m.Else():
                m.d.sync += self._of_run.eq(1)
            # Taken from a register: what lies behind an EBR has no time left for a long comparison.
            high_plain = ~word[half:].any()
            with m.Switch(self._step):
                with m.Case(3):
                    bits = len(request.command)
                    m.d.sync += [
                        request.command.eq(word),
                        request.command_plain.eq(~word[bits:half].any()),
                    ]
                with m.Case(4):
                    m.d.sync += [
                        request.address.eq(word),
                        request.address_plain.eq(~word[host_map.address_bits :].any()),
                    ]
                with m.Case(5):
                    bits = len(request.count)
                    m.d.sync += [
                        request.count.eq(word),
                        request.count_plain.eq(high_plain & ~word[bits:half].any()),
                    ]
                with m.Case(6):
                    m.d.sync += request.steps_plain.eq(high_plain)
                with m.Case(7):
                    m.d.sync += [difference.eq(word ^ self._read_data), self._of_run.eq(0)]
                    m.next = "CHECK"

        with m.State("CHECK"):
            m.d.sync += [
                self._step.eq(self._step + 1),
                self._status.eq(self._check.status),
                self._same.eq(same_half.all()),
            ]
            # The payload comes next.
            m.d.comb += [
                self._index_clear.eq(self._step == 0),
                self._index_next.eq(self._step != 0),
            ]
            with m.If(self._step == 3):
                m.next = "EXECUTE"
                # The reply to a run in progress comes at its end.
                with m.If(self._running & (request.command == Command.RUN) & self._same):
                    m.d.comb += self._framer.release.eq(1)
                    m.next = "IDLE"

    def _execute(self, m: Module) -> None:
        request, of_run = self._request, self._of_run
        with m.State("EXECUTE"):
            m.d.comb += [
                self._address_control.eq(request.command == Command.RUN),
                self._control.eq(Control.STEPS),
            ]
            m.next = "REPLY"
            with m.If(self._status == Status.OK):
                with m.If(request.command != Command.STATUS):
                    m.d.sync += self._remembered.eq(request.command == Command.RUN)
                with m.Switch(request.command):
                    with m.Case(Command.WRITE, Command.WRITE_BYTES):
                        m.d.comb += self._count_next.eq(1)
                        m.next = "WRITE"
                    with m.Case(Command.RUN):
                        m.d.comb += self._framer.release.eq(1)
                        m.d.sync += of_run.eq(1)
                        m.next = "RESULT"
                        with m.If(~(self._remembered & self._same)):
                            m.d.sync += [self._second.eq(~self._second), self._running.eq(1)]
                            m.d.comb += self._count_next.eq(1)
                            m.next = "WRITE"
                    with m.Case(Command.RESET):
                        m.d.sync += [self.engine_reset.eq(1), self._running.eq(0)]
        with m.State("WRITE"):
            m.d.comb += [self._issue.eq(~self._through), self._count_next.eq(~self._through)]
            with m.If(self._written):
                m.d.comb += self._index_clear.eq(1)
                m.next = "REPLY"
                with m.If(of_run):
                    m.next = "START"
        # The address of the request is the word that starts the engine. Ends when the engine can be
        # seen to be busy.
        with m.State("START"):
            m.d.sync += self._step.eq(self._step + 1)
            m.d.comb += [
                self._index_next.eq(self._step == 0),
                self._issue.eq(self._step == 1),
                self._cycles_clear.eq(self._step == 1),
                self._address_control.eq(1),
                self._control.eq(Control.RUN),
            ]
            with m.If(self._step == 7):
                m.next = "IDLE"

        # Whether the engine took the run, then the reply.
        with m.State("RESULT"):
            m.d.sync += [of_run.eq(1), self.host.read.eq(1)]
            m.d.comb += [self._address_control.eq(1), self._control.eq(Control.STATUS)]
            m.next = "TAKEN"
        with m.State("TAKEN"):
            m.d.sync += self._status.eq(Mux(self.host.read_data[1], Status.REFUSED, Status.OK))
            with m.If(self.host.read_valid):
                m.next = "REPLY"

    def _reply(self, m: Module) -> None:
        command, index, source, part = self._request.command, self._index, self._source, self._part
        waited = Signal()
        with m.State("REPLY"):
            good = self._status == Status.OK
            m.d.sync += [part.eq(0), self.error.eq(~good)]
            m.d.comb += [self._index_clear.eq(1), self._refuse.eq(~good)]
            payload = Signal(range(IDENTITY_WORDS + 1))
            with m.Switch(command):
                with m.Case(Command.IDENTIFY):
                    m.d.comb += payload.eq(IDENTITY_WORDS)
                with m.Case(Command.RUN):
                    m.d.comb += payload.eq(RUN_WORDS)
                with m.Case(Command.STATUS):
                    m.d.comb += payload.eq(STATUS_WORDS)
            with m.If(~good | (command != Command.READ)):
                m.d.sync += self._request.count.eq(Mux(good, payload, 0))
            m.next = "CHOOSE"

        with m.State("CHOOSE"):
            m.d.sync += waited.eq(0)
            m.next = "LOAD"
            with m.If(part != HEADER_WORDS):
                m.d.sync += source.eq(part)
            with m.Else(), m.Switch(command):
                with m.Case(Command.IDENTIFY):
                    m.d.sync += source.eq(Source.BUFFER)
                with m.Case(Command.STATUS):
                    places = Array([Source.COUNT, Source.DROPPED, Source.REFUSED])
                    m.d.sync += source.eq(places[index[:2]])
                with m.Default():
                    is_cycles = (command == Command.RUN) & index[1]
                    m.d.sync += [
                        source.eq(Mux(is_cycles, Source.CYCLES, Source.ENGINE)),
                        self.host.read.eq(~is_cycles),
                    ]

        with m.State("LOAD"):
            m.d.sync += waited.eq(1)
            of_engine = source == Source.ENGINE
            with m.If(Mux(of_engine, self.host.read_valid, waited)):
                m.d.comb += self._address_next.eq(of_engine)
                m.next = "SEND"
        with m.State("SEND"):
            words = self._framer.words
            last = part[1] & self._none_left
            m.d.comb += [
                self._hold.eq(1),
                words.valid.eq(1),
                words.payload.word.eq(self._word),
                words.payload.last.eq(last),
            ]
            with m.If(words.ready):
                m.d.comb += [self._index_next.eq(1), self._count_next.eq(part[1])]
                with m.If(part != HEADER_WORDS):
                    m.d.sync += part.eq(part + 1)
                with m.If(part == HEADER_WORDS - 1):
                    m.d.comb += [
                        self._index_clear.eq(1),
                        self._index_identity.eq(command == Command.IDENTIFY),
                    ]
                m.next = "CHOOSE"
                with m.If(last):
                    m.d.comb += self._framer.release.eq(~self._of_run)
                    m.next = "IDLE"


def _buffer_address(index, second):  # type: ignore[no-untyped-def]
    """Where a word of a frame lies in the buffer."""
    head = index[HEAD_BITS:] == 0
    return Cat(index[:HEAD_BITS], Mux(head & second, SECOND_HEAD, index[HEAD_BITS:]))

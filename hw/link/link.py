"""The host link: requests in, effects on the engine, replies out (``docs/protocol.md``)."""

import enum

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.link.frames import INDEX_BITS, Framer
from hw.link.host import HostPort
from hw.link.protocol import (
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
from hw.link.request import RequestCheck, request_layout
from hw.memory.block import BlockMemory
from hw.program import HOST_WORD_BITS, Control, HostMap, Region

BUFFER_WORDS = 512
# The first words of a frame have two places in the buffer, in turn: those of the last RUN stay
# until the next one, for its reply and to know a repeated one, while other requests come in.
HEAD_BITS = 3
SECOND_HEAD = -(-MAX_FRAME_WORDS >> HEAD_BITS)


class Source(enum.IntEnum):
    """Where a word of a reply comes from."""

    FIRST = 0  # the first word of the request, with the status
    REQUEST = 1
    COUNT = 2
    IDENTITY = 3
    ENGINE = 4
    CYCLES = 5
    DROPPED = 6
    REFUSED = 7


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
            width=HOST_WORD_BITS, depth=BUFFER_WORDS, ecp5=config.memory == "ecp5"
        )
        m.submodules.check = self._check = check = RequestCheck(config)
        wiring.connect(m, wiring.flipped(self.rx), framer.rx)
        wiring.connect(m, framer.tx, wiring.flipped(self.tx))

        self._second = second = Signal()  # where the next frame has its head
        self._of_run = of_run = Signal()  # read the frame of the last RUN
        self._index = index = Signal(INDEX_BITS)
        self._read_data = buffer.read_data
        self._request = request = Signal(request_layout(config))
        self._running = running = Signal()
        self._remembered = Signal()  # the last request that was executed is the RUN in the buffer
        self._same = Signal()  # this request is that RUN
        self._status = Signal(Status)
        self._word = Signal(HOST_WORD_BITS, reset_less=True)
        self._step = step = Signal(3)
        m.d.comb += [
            framer.rx_damaged.eq(self.rx_damaged),
            buffer.write_enable.eq(framer.write),
            buffer.write_address.eq(_buffer_address(framer.index, second)),
            buffer.write_data.eq(framer.word),
            buffer.read_address.eq(_buffer_address(index, second ^ of_run)),
            check.request.eq(request),
            check.words.eq(framer.length),
            check.running.eq(running),
        ]
        m.d.sync += [step.eq(0), self.engine_reset.eq(0), self.host.read.eq(0)]
        self._count(m)
        written = self._write(m)
        with m.FSM() as fsm:
            self._fetch(m)
            self._execute(m, written)
            self._reply(m)
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE") | running | framer.active)
        return m

    def _count(self, m: Module) -> None:
        """Counters, and what the LED of errors shows."""
        self._engine_busy = Signal()
        self._cycles, self._dropped, self._refused = (
            Signal(HOST_WORD_BITS, name=name) for name in ("cycles", "dropped", "refused")
        )
        self._cycles_clear, self._refuse = Signal(), Signal()
        m.d.sync += self._engine_busy.eq(self.engine_busy)
        with m.If(self._engine_busy):
            m.d.sync += self._cycles.eq(self._cycles + 1)
        with m.If(self._cycles_clear):
            m.d.sync += self._cycles.eq(0)
        with m.If(self._framer.dropped):
            m.d.sync += [self._dropped.eq(self._dropped + 1), self.error.eq(1)]
        with m.If(self._refuse):
            m.d.sync += self._refused.eq(self._refused + 1)

    def _write(self, m: Module) -> Signal:
        """Words of the buffer to the engine, one per cycle while ``issue``; whether all are there.

        A word of the buffer is there two cycles after its index, at the host port one later.
        """
        self._issue, self._address_next = Signal(), Signal()
        index, count = self._index, self._request.count
        byte = Signal(range(WORD_BYTES))
        byte_late = [Signal.like(byte, name=f"byte_{stage}") for stage in range(2)]
        issued = Signal(2)
        as_bytes = Signal()
        issue = self._issue & (count != 0)
        m.d.sync += [
            as_bytes.eq(self._request.command == Command.WRITE_BYTES),
            byte.eq(0),
            byte_late[0].eq(byte),
            byte_late[1].eq(byte_late[0]),
            issued.eq(Cat(issue, issued)),
            self.host.write.eq(issued[1]),
            self.host.write_data.eq(
                Mux(as_bytes, self._read_data.word_select(byte_late[1], 8), self._read_data)
            ),
        ]
        with m.If(issue):
            m.d.sync += [count.eq(count - 1), byte.eq(Mux(as_bytes, byte + 1, 0))]
            with m.If(~as_bytes | (byte == WORD_BYTES - 1)):
                m.d.sync += index.eq(index + 1)
        offset = self._request.address[: HostMap(self.identity.config).offset_bits]
        with m.If(self.host.write | self._address_next):
            m.d.sync += offset.eq(offset + 1)
        m.d.comb += self.host.address.eq(self._request.address)
        return (count == 0) & ~issued.any() & ~self.host.write

    def _control(self, m: Module, word: Control) -> None:
        """Points to a control register of the engine."""
        place = HostMap(self.identity.config).address(Region.CONTROL, word=word)
        m.d.sync += self._request.address.eq(place)

    def _fetch(self, m: Module) -> None:
        """A request out of the buffer, and what the check says to it."""
        data, request = self._read_data, self._request
        host_map = HostMap(self.identity.config)
        with m.State("IDLE"):
            m.d.sync += [self._index.eq(0), self._of_run.eq(0)]
            with m.If(self._running & ~self._engine_busy):
                m.d.sync += [self._running.eq(0), request.command.eq(Command.RUN)]
                m.next = "RESULT"
            with m.Elif(self._framer.full):
                m.next = "FETCH"

        # Words 0 to 4, and word 4 of the last RUN: its CRC.
        with m.State("FETCH"):
            m.d.sync += self._step.eq(self._step + 1)
            with m.If(self._step < MIN_FRAME_WORDS):
                m.d.sync += self._index.eq(self._index + 1)
            with m.Else():
                m.d.sync += self._of_run.eq(1)
            half = HOST_WORD_BITS // 2
            high_plain = ~data[half:].any()
            with m.Switch(self._step):
                with m.Case(2):
                    bits = len(request.command)
                    m.d.sync += [
                        request.command.eq(data),
                        request.command_plain.eq(~data[bits:half].any()),
                    ]
                with m.Case(3):
                    m.d.sync += [
                        request.address.eq(data),
                        request.address_plain.eq(~data[host_map.address_bits :].any()),
                    ]
                with m.Case(4):
                    bits = len(request.count)
                    m.d.sync += [
                        request.count.eq(data),
                        request.count_plain.eq(high_plain & ~data[bits:half].any()),
                    ]
                with m.Case(5):
                    m.d.sync += request.steps_plain.eq(high_plain)
                with m.Case(6):
                    m.d.sync += self._word.eq(data)
                with m.Case(7):
                    m.d.sync += [self._same.eq(self._word == data), self._of_run.eq(0)]
                    m.next = "CHECK"

        with m.State("CHECK"):
            m.d.sync += [self._step.eq(self._step + 1), self._status.eq(self._check.status)]
            with m.If(self._step == 3):
                m.next = "EXECUTE"
                # The reply to a run in progress comes at its end.
                with m.If(self._running & (request.command == Command.RUN) & self._same):
                    m.d.comb += self._framer.release.eq(1)
                    m.next = "IDLE"

    def _execute(self, m: Module, written: Signal) -> None:
        request, of_run = self._request, self._of_run
        with m.State("EXECUTE"):
            m.next = "REPLY"
            with m.If(self._status == Status.OK):
                with m.If(request.command != Command.STATUS):
                    m.d.sync += self._remembered.eq(request.command == Command.RUN)
                with m.Switch(request.command):
                    with m.Case(Command.WRITE, Command.WRITE_BYTES):
                        m.d.sync += self._index.eq(HEADER_WORDS)
                        m.next = "WRITE"
                    with m.Case(Command.RUN):
                        m.d.comb += self._framer.release.eq(1)
                        m.d.sync += [of_run.eq(1), self._index.eq(HEADER_WORDS)]
                        m.next = "RESULT"
                        with m.If(~(self._remembered & self._same)):
                            m.d.sync += [self._second.eq(~self._second), self._running.eq(1)]
                            self._control(m, Control.STEPS)
                            m.next = "WRITE"
                    with m.Case(Command.RESET):
                        m.d.sync += [self.engine_reset.eq(1), self._running.eq(0)]
        with m.State("WRITE"):
            m.d.comb += self._issue.eq(1)
            with m.If(written):
                m.next = "REPLY"
                with m.If(of_run):
                    # The address of the request is the word that starts the engine.
                    m.d.sync += [self._index.eq(1), request.count.eq(1)]
                    self._control(m, Control.RUN)
                    m.next = "START"
        with m.State("START"):
            m.d.comb += [self._issue.eq(1), self._cycles_clear.eq(1)]
            with m.If(written):
                m.next = "STARTED"
        # Until the engine can be seen to be busy.
        with m.State("STARTED"):
            m.d.sync += self._step.eq(self._step + 1)
            with m.If(self._step == 7):
                m.next = "IDLE"

        # Whether the engine took the run, then the reply.
        with m.State("RESULT"):
            m.d.sync += [of_run.eq(1), self.host.read.eq(1)]
            self._control(m, Control.STATUS)
            m.next = "TAKEN"
        with m.State("TAKEN"):
            m.d.sync += self._status.eq(Mux(self.host.read_data[1], Status.REFUSED, Status.OK))
            with m.If(self.host.read_valid):
                m.next = "REPLY"

    def _reply(self, m: Module) -> None:
        command, index, left = self._request.command, self._index, self._request.count
        part = Signal(range(HEADER_WORDS + 1))  # word of the header, or the payload
        waited = Signal()
        source = Signal(Source)
        with m.State("REPLY"):
            good = self._status == Status.OK
            m.d.sync += [index.eq(0), part.eq(0), self.error.eq(~good)]
            m.d.comb += self._refuse.eq(~good)
            with m.If(~good):
                m.d.sync += left.eq(0)
            with m.Elif(command == Command.IDENTIFY):
                m.d.sync += left.eq(IDENTITY_WORDS)
            with m.Elif(command == Command.RUN):
                m.d.sync += left.eq(RUN_WORDS)
            with m.Elif(command == Command.STATUS):
                m.d.sync += left.eq(STATUS_WORDS)
            m.next = "CHOOSE"

        with m.State("CHOOSE"):
            m.d.sync += waited.eq(0)
            m.next = "LOAD"
            with m.If(part != HEADER_WORDS):
                m.d.sync += source.eq(part)
            with m.Else(), m.Switch(command):
                with m.Case(Command.IDENTIFY):
                    m.d.sync += source.eq(Source.IDENTITY)
                with m.Case(Command.STATUS):
                    places = Array([Source.COUNT, Source.DROPPED, Source.REFUSED])
                    m.d.sync += source.eq(places[index[:2]])
                with m.Default():
                    is_cycles = (command == Command.RUN) & index[1]
                    m.d.sync += [
                        source.eq(Mux(is_cycles, Source.CYCLES, Source.ENGINE)),
                        self.host.read.eq(~is_cycles),
                    ]

        identity = Array(Const(value, HOST_WORD_BITS) for value in self.identity.words())
        with m.State("LOAD"):
            m.d.sync += waited.eq(1)
            word = self._word
            with m.Switch(source):
                with m.Case(Source.FIRST):
                    tag = self._read_data[16:]
                    status = Cat(self._status, Const(0, 8 - len(self._status)))
                    m.d.sync += word.eq(Cat(self._read_data[:8], status, tag))
                with m.Case(Source.REQUEST):
                    m.d.sync += word.eq(self._read_data)
                with m.Case(Source.COUNT):
                    m.d.sync += word.eq(Mux(part == HEADER_WORDS, self._running, left))
                with m.Case(Source.IDENTITY):
                    m.d.sync += word.eq(identity[index])
                with m.Case(Source.ENGINE):
                    m.d.sync += word.eq(self.host.read_data)
                with m.Case(Source.CYCLES):
                    m.d.sync += word.eq(self._cycles)
                with m.Case(Source.DROPPED):
                    m.d.sync += word.eq(self._dropped)
                with m.Case(Source.REFUSED):
                    m.d.sync += word.eq(self._refused)
            with m.If(Mux(source == Source.ENGINE, self.host.read_valid, waited)):
                m.d.comb += self._address_next.eq(source == Source.ENGINE)
                m.next = "SEND"
        with m.State("SEND"):
            words = self._framer.words
            last = part[1] & (left == 0)
            m.d.comb += [
                words.valid.eq(1),
                words.payload.word.eq(self._word),
                words.payload.last.eq(last),
            ]
            with m.If(words.ready):
                m.d.sync += index.eq(index + 1)
                with m.If(part[1]):
                    m.d.sync += left.eq(left - 1)
                with m.If(part != HEADER_WORDS):
                    m.d.sync += part.eq(part + 1)
                with m.If(part == HEADER_WORDS - 1):
                    m.d.sync += index.eq(0)
                m.next = "CHOOSE"
                with m.If(last):
                    m.d.comb += self._framer.release.eq(~self._of_run)
                    m.next = "IDLE"


def _buffer_address(index, second):  # type: ignore[no-untyped-def]
    """Where a word of a frame lies in the buffer."""
    head = index[HEAD_BITS:] == 0
    return Cat(index[:HEAD_BITS], Mux(head & second, SECOND_HEAD, index[HEAD_BITS:]))

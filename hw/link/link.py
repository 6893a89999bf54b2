"""The host link: requests in, effects on the engine, replies out (``docs/protocol.md``)."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.link.frames import INDEX_BITS, FrameReceiver, FrameSender
from hw.link.host import HostPort
from hw.link.protocol import (
    HEADER_WORDS,
    IDENTITY_WORDS,
    MAX_BYTES,
    MAX_FRAME_WORDS,
    MAX_WORDS,
    MIN_FRAME_WORDS,
    RUN_WORDS,
    STATUS_WORDS,
    WORD_BYTES,
    Command,
    Identity,
    Status,
)
from hw.memory.block import BlockMemory
from hw.program import HOST_WORD_BITS, READABLE, WRITABLE, Control, HostMap, Region

BUFFER_WORDS = 512
# The first words of a frame have two places in the buffer, in turn: those of the last RUN stay
# until the next one, for its reply and to know a repeated one, while other requests come in.
HEAD_BITS = 3
SECOND_HEAD = -(-MAX_FRAME_WORDS >> HEAD_BITS)


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
                f"a frame has room for {HOST_WORD_BITS} address bits, "
                f"but this engine has {address_bits}"
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
        host_map = HostMap(config)

        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.sender = sender = FrameSender()
        m.submodules.buffer = buffer = BlockMemory(
            width=HOST_WORD_BITS, depth=BUFFER_WORDS, ecp5=config.memory == "ecp5"
        )
        wiring.connect(m, wiring.flipped(self.rx), receiver.coded)
        wiring.connect(m, sender.coded, wiring.flipped(self.tx))

        second = Signal()  # where the next frame has its head
        of_run = Signal()  # read the frame of the last RUN
        index = Signal(INDEX_BITS)
        m.d.comb += [
            receiver.coded_damaged.eq(self.rx_damaged),
            buffer.write_enable.eq(receiver.write),
            buffer.write_address.eq(_buffer_address(receiver.index, second)),
            buffer.write_data.eq(receiver.word),
            buffer.read_address.eq(_buffer_address(index, second ^ of_run)),
        ]
        read_data = buffer.read_data

        command = Signal(Command)
        status = Signal(Status)
        address = Signal(max(host_map.address_bits, 16))
        count = Signal(range(MAX_BYTES + 1))
        known = Signal()
        word = Signal(HOST_WORD_BITS, reset_less=True)
        # Bits of the request that must be zero: they have no place in the registers.
        address_plain, layers_plain, count_plain, steps_plain = (
            Signal(name=f"{name}_plain") for name in ("address", "layers", "count", "steps")
        )
        same = Signal()

        length_good, range_good = self._checks(
            m, command=command, address=address, count=count, words=receiver.length
        )

        running, remembered = Signal(), Signal()
        engine_busy = Signal()
        dropped, refused, cycles = (
            Signal(HOST_WORD_BITS, name=name) for name in ("dropped", "refused", "cycles")
        )
        m.d.sync += [
            engine_busy.eq(self.engine_busy),
            self.engine_reset.eq(0),
            self.host.read.eq(0),
            cycles.eq(cycles + engine_busy),
        ]
        m.d.comb += self.host.address.eq(address)
        with m.If(receiver.dropped):
            m.d.sync += [dropped.eq(dropped + 1), self.error.eq(1)]

        # Writes: a word of the buffer is there two cycles after its index, the host port one later.
        left = Signal(range(MAX_BYTES + 1))
        byte = Signal(range(WORD_BYTES))
        byte_late = [Signal.like(byte, name=f"byte_{stage}") for stage in range(2)]
        issue = Signal()
        issued = Signal(2)
        as_bytes = Signal()
        m.d.sync += [
            as_bytes.eq(command == Command.WRITE_BYTES),
            issued.eq(Cat(issue, issued)),
            byte_late[0].eq(byte),
            byte_late[1].eq(byte_late[0]),
            self.host.write.eq(issued[1]),
            self.host.write_data.eq(
                Mux(as_bytes, read_data.word_select(byte_late[1], 8), read_data)
            ),
        ]
        with m.If(issue):
            m.d.sync += left.eq(left - 1)
            with m.If(as_bytes):
                m.d.sync += byte.eq(byte + 1)
            with m.If(~as_bytes | (byte == WORD_BYTES - 1)):
                m.d.sync += index.eq(index + 1)
        advance = Signal()
        with m.If(self.host.write | advance):
            offset = address[: host_map.offset_bits]
            m.d.sync += offset.eq(offset + 1)
        written = (left == 0) & ~issued.any() & ~self.host.write

        def write_words(words, *, start: int, place=None) -> None:  # type: ignore[no-untyped-def]
            m.d.sync += [index.eq(start), left.eq(words), byte.eq(0)]
            if place is not None:
                m.d.sync += address.eq(place)

        def control(place: Control) -> int:
            return host_map.address(Region.CONTROL, word=place)

        step = Signal(3)
        m.d.sync += step.eq(0)
        part = Signal(range(HEADER_WORDS + 1))
        waited = Signal()
        identity = Array(Const(value, HOST_WORD_BITS) for value in self.identity.words())
        of_engine = (part == HEADER_WORDS) & (
            (command == Command.READ) | ((command == Command.RUN) & ~index[1])
        )

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), of_run.eq(0)]
                with m.If(running & ~engine_busy):
                    m.d.sync += [running.eq(0), command.eq(Command.RUN)]
                    m.next = "RESULT"
                with m.Elif(receiver.full):
                    m.next = "FETCH"

            # Words 0 to 4 of the request, word 4 of the last RUN: its CRC.
            with m.State("FETCH"):
                m.d.sync += step.eq(step + 1)
                with m.If(step < MIN_FRAME_WORDS):
                    m.d.sync += index.eq(index + 1)
                with m.Else():
                    m.d.sync += of_run.eq(1)
                with m.Switch(step):
                    with m.Case(2):
                        m.d.sync += [
                            command.eq(read_data[:3]),
                            known.eq(read_data[:3].any() & ~read_data[3:16].any()),
                        ]
                    with m.Case(3):
                        m.d.sync += [
                            address.eq(read_data),
                            address_plain.eq(~read_data[host_map.address_bits :].any()),
                            layers_plain.eq(~read_data[16:].any()),
                        ]
                    with m.Case(4):
                        m.d.sync += [
                            count.eq(read_data),
                            count_plain.eq(~read_data[len(count) :].any()),
                        ]
                    with m.Case(5):
                        m.d.sync += steps_plain.eq(~read_data[16:].any())
                    with m.Case(6):
                        m.d.sync += word.eq(read_data)
                    with m.Case(7):
                        m.d.sync += [same.eq(word == read_data), of_run.eq(0)]
                        m.next = "CHECK"

            with m.State("CHECK"):
                m.d.sync += step.eq(step + 1)
                is_run = known & (command == Command.RUN)
                always = known & ((command == Command.STATUS) | (command == Command.RESET))
                plain = Mux(command == Command.RUN, layers_plain, address_plain)
                with m.If(running & ~always):
                    m.d.sync += status.eq(Status.BUSY)
                with m.Elif(~known):
                    m.d.sync += status.eq(Status.UNKNOWN)
                with m.Elif(~(length_good & count_plain)):
                    m.d.sync += status.eq(Status.LENGTH)
                with m.Elif(~(range_good & plain)):
                    m.d.sync += status.eq(Status.RANGE)
                with m.Elif(is_run & ~steps_plain):
                    m.d.sync += status.eq(Status.REFUSED)
                with m.Else():
                    m.d.sync += status.eq(Status.OK)
                with m.If(step == 3):
                    m.next = "EXECUTE"
                    with m.If(running & is_run & same):
                        m.d.comb += receiver.release.eq(1)
                        m.next = "IDLE"

            with m.State("EXECUTE"):
                m.next = "REPLY"
                with m.If(status == Status.OK):
                    with m.If(command != Command.STATUS):
                        m.d.sync += remembered.eq(command == Command.RUN)
                    with m.Switch(command):
                        with m.Case(Command.WRITE, Command.WRITE_BYTES):
                            write_words(count, start=HEADER_WORDS)
                            m.next = "WRITE"
                        with m.Case(Command.RUN):
                            m.d.comb += receiver.release.eq(1)
                            m.d.sync += of_run.eq(1)
                            m.next = "RESULT"
                            with m.If(~(remembered & same)):
                                m.d.sync += [second.eq(~second), running.eq(1)]
                                write_words(1, start=HEADER_WORDS, place=control(Control.STEPS))
                                m.next = "WRITE"
                        with m.Case(Command.RESET):
                            m.d.sync += [self.engine_reset.eq(1), running.eq(0)]

            with m.State("WRITE"):
                m.d.comb += issue.eq(left != 0)
                with m.If(written):
                    m.next = "REPLY"
                    with m.If(of_run):
                        write_words(1, start=1, place=control(Control.RUN))
                        m.next = "START"
            with m.State("START"):
                m.d.comb += issue.eq(left != 0)
                m.d.sync += cycles.eq(0)
                with m.If(written):
                    m.next = "STARTED"
            # Until the engine can be seen to be busy.
            with m.State("STARTED"):
                m.d.sync += step.eq(step + 1)
                with m.If(step == 7):
                    m.next = "IDLE"

            # Whether the engine took the run, then the reply.
            with m.State("RESULT"):
                m.d.sync += [
                    of_run.eq(1),
                    address.eq(control(Control.STATUS)),
                    self.host.read.eq(1),
                ]
                m.next = "REFUSED"
            with m.State("REFUSED"):
                m.d.sync += status.eq(Mux(self.host.read_data[1], Status.REFUSED, Status.OK))
                with m.If(self.host.read_valid):
                    m.next = "REPLY"

            with m.State("REPLY"):
                m.d.sync += [index.eq(0), part.eq(0), left.eq(0), self.error.eq(0)]
                with m.If(status != Status.OK):
                    m.d.sync += [self.error.eq(1), refused.eq(refused + 1)]
                with m.Else(), m.Switch(command):
                    with m.Case(Command.IDENTIFY):
                        m.d.sync += left.eq(IDENTITY_WORDS)
                    with m.Case(Command.READ):
                        m.d.sync += left.eq(count)
                    with m.Case(Command.RUN):
                        m.d.sync += left.eq(RUN_WORDS)
                    with m.Case(Command.STATUS):
                        m.d.sync += left.eq(STATUS_WORDS)
                m.next = "ASK"
            with m.State("ASK"):
                m.d.sync += [self.host.read.eq(of_engine), waited.eq(0)]
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += waited.eq(1)
                m.d.comb += advance.eq(of_engine & self.host.read_valid)
                with m.Switch(part):
                    with m.Case(0):
                        m.d.sync += word.eq(Cat(read_data[:8], Const(0, 8), read_data[16:]))
                        m.d.sync += word[8:16].eq(status)
                    with m.Case(1):
                        m.d.sync += word.eq(read_data)
                    with m.Case(2):
                        m.d.sync += word.eq(left)
                    with m.Default(), m.Switch(command):
                        with m.Case(Command.IDENTIFY):
                            m.d.sync += word.eq(identity[index])
                        with m.Case(Command.STATUS):
                            counters = Array([running, dropped, refused])
                            m.d.sync += word.eq(counters[index[:2]])
                        with m.Default():
                            m.d.sync += word.eq(Mux(of_engine, self.host.read_data, cycles))
                with m.If(Mux(of_engine, self.host.read_valid, waited)):
                    m.next = "SEND"
            with m.State("SEND"):
                last = part[1] & (left == 0)
                m.d.comb += [
                    sender.words.valid.eq(1),
                    sender.words.payload.word.eq(word),
                    sender.words.payload.last.eq(last),
                ]
                with m.If(sender.words.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(part != HEADER_WORDS):
                        m.d.sync += part.eq(part + 1)
                    with m.If(part == HEADER_WORDS - 1):
                        m.d.sync += index.eq(0)
                    with m.If(part[1]):
                        m.d.sync += left.eq(left - 1)
                    m.next = "ASK"
                    with m.If(last):
                        m.d.comb += receiver.release.eq(~of_run)
                        m.next = "IDLE"

        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE") | running | receiver.active | sender.active)
        return m

    def _checks(self, m: Module, *, command, address, count, words):  # type: ignore[no-untyped-def]
        """Whether count and range are good, two cycles after the registers of the request."""
        config = self.identity.config
        host_map = HostMap(config)

        expected = Signal(range(MAX_WORDS + 1))
        limit = Signal(range(MAX_BYTES + 1))
        few, some, length_good = Signal(), Signal(), Signal()
        with m.Switch(command):
            with m.Case(Command.WRITE):
                m.d.sync += expected.eq(count)
            with m.Case(Command.WRITE_BYTES):
                m.d.sync += expected.eq((count + WORD_BYTES - 1) // WORD_BYTES)
            with m.Case(Command.RUN):
                m.d.sync += expected.eq(1)
            with m.Default():
                m.d.sync += expected.eq(0)
        with m.Switch(command):
            with m.Case(Command.READ, Command.WRITE):
                m.d.comb += limit.eq(MAX_WORDS)
            with m.Case(Command.WRITE_BYTES):
                m.d.comb += limit.eq(MAX_BYTES)
            with m.Case(Command.RUN):
                m.d.comb += limit.eq(1)
            with m.Default():
                m.d.comb += limit.eq(0)
        m.d.sync += [
            few.eq(count <= limit),
            some.eq((count != 0) | (limit == 0)),
            length_good.eq(few & some & (words == expected + MIN_FRAME_WORDS)),
        ]

        # A region that may not be accessed has no addresses.
        offset = address[: host_map.offset_bits]
        region = address[host_map.offset_bits : host_map.address_bits]
        size = Signal(host_map.offset_bits + 1)
        end = Signal(max(len(offset), len(count)) + 1)
        layers_good, inside, range_good = Signal(), Signal(), Signal()
        m.d.sync += size.eq(0)
        with m.Switch(region):
            for possible in Region:
                allowed = Const(possible in WRITABLE) | (
                    Const(possible in READABLE) & (command == Command.READ)
                )
                with m.Case(possible):
                    m.d.sync += size.eq(Mux(allowed, host_map.size(possible), 0))
        first, last = address[:8], address[8:16]
        m.d.sync += [
            end.eq(offset + count),
            inside.eq(end <= size),
            layers_good.eq((first <= last) & (last < config.layers)),
        ]
        with m.Switch(command):
            with m.Case(Command.READ, Command.WRITE, Command.WRITE_BYTES):
                m.d.comb += range_good.eq(inside)
            with m.Case(Command.RUN):
                m.d.comb += range_good.eq(layers_good)
            with m.Default():
                m.d.comb += range_good.eq(1)
        return length_good, range_good


def _buffer_address(index, second):  # type: ignore[no-untyped-def]
    """Where a word of a frame lies in the buffer."""
    head = index[HEAD_BITS:] == 0
    return Cat(index[:HEAD_BITS], Mux(head & second, SECOND_HEAD, index[HEAD_BITS:]))

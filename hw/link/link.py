"""The host link: requests in, effects on the engine, replies out (``docs/protocol.md``)."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.port import HostPort
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, HostMap
from residuum.hw.isa.protocol import (
    HEADER_WORDS,
    IDENTITY_WORDS,
    MIN_FRAME_WORDS,
    RUN_WORDS,
    STATUS_WORDS,
    Command,
    Identity,
    Status,
)
from residuum.hw.link.frames import Framer
from residuum.hw.link.registers import (
    BUFFER_WORDS,
    IDENTITY_PLACE,
    Registers,
    Source,
    buffer_address,
)
from residuum.hw.link.request import STEPS_BITS, RequestCheck
from residuum.hw.memory.block import BlockMemory


class HostLink(wiring.Component):
    """Executes requests, one at a time, each only after its whole frame has been checked.

    Parameters
    ----------
    identity : Identity
        The reply to IDENTIFY; its ``config`` is that of the engine.

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
        m.submodules.framer = framer = Framer()
        m.submodules.buffer = buffer = BlockMemory(
            width=HOST_WORD_BITS,
            depth=BUFFER_WORDS,
            ecp5=config.memory == "ecp5",
            init=(0,) * IDENTITY_PLACE + self.identity.words(),
        )
        m.submodules.check = check = RequestCheck(config)
        wiring.connect(m, wiring.flipped(self.rx), framer.rx)
        wiring.connect(m, framer.tx, wiring.flipped(self.tx))

        r = Registers(config)
        now, request = r.execution, r.execution.request
        m.d.comb += [
            framer.rx_damaged.eq(self.rx_damaged),
            buffer.write_enable.eq(framer.write),
            buffer.write_address.eq(buffer_address(framer.index, r.cursor.second)),
            buffer.write_data.eq(framer.word),
            buffer.read_address.eq(r.cursor.address),
            check.request.eq(request),
            check.words.eq(framer.length),
            check.running.eq(now.running),
        ]
        data = buffer.read_data
        m.d.sync += [now.step.eq(0), self.engine_reset.eq(0), self.host.read.eq(0)]
        r.tally.add_to(m, busy=self.engine_busy, dropped=framer.dropped, error=self.error)
        r.reply.add_to(m, data, self.host.read_data, now, r.tally)
        r.writer.add_to(m, data, self.host, request.command, r.cursor, r.count.through)
        with m.FSM() as fsm:
            same = self._fetch(m, r, framer, data)
            self._check(m, r, framer, status=check.status, same=same)
            self._execute(m, r, framer)
            self._start(m, r)
            self._begin_reply(m, r)
            self._reply(m, r, framer)
        r.cursor.add_to(m)
        r.count.add_to(m, request.count)
        r.target.add_to(m, request.address, self.host, HostMap(config))
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE") | now.running | framer.active)
        return m

    def _fetch(self, m: Module, r: Registers, framer: Framer, data: Value) -> Value:
        """Reads a request into registers. Returns whether its CRC is that of the last RUN."""
        now, request, word = r.execution, r.execution.request, r.reply.word
        address_bits = HostMap(self.identity.config).address_bits
        half = HOST_WORD_BITS // 2
        difference = Signal(HOST_WORD_BITS, reset_less=True)  # between the CRCs
        same_half = Signal(2)
        m.d.sync += same_half.eq(Cat(difference[:half] == 0, difference[half:] == 0))
        with m.State("IDLE"):
            m.d.comb += [r.cursor.clear.eq(1), r.target.to_request.eq(1)]
            m.d.sync += [r.cursor.of_run.eq(0), r.reply.source.eq(Source.BUFFER)]
            with m.If(now.running & ~r.tally.engine_busy):
                m.d.sync += [now.running.eq(0), request.command.eq(Command.RUN)]
                m.next = "RESULT"
            with m.Elif(framer.full):
                m.next = "FETCH"

        # Words 0 to 4, and word 4 of the last RUN: its CRC.
        with m.State("FETCH"):
            m.d.sync += now.step.eq(now.step + 1)
            with m.If(now.step < MIN_FRAME_WORDS):
                m.d.comb += r.cursor.next.eq(1)
            with m.Else():
                m.d.sync += r.cursor.of_run.eq(1)
            # Compare the registered word: EBR plus compare misses timing.
            high_plain = ~word[half:].any()
            with m.Switch(now.step):
                with m.Case(3):
                    bits = len(request.command)
                    m.d.sync += [
                        request.command.eq(word),
                        request.command_plain.eq(~word[bits:half].any()),
                    ]
                with m.Case(4):
                    m.d.sync += [
                        request.address.eq(word),
                        request.address_plain.eq(~word[address_bits:].any()),
                    ]
                with m.Case(5):
                    bits = len(request.count)
                    m.d.sync += [
                        request.count.eq(word),
                        request.count_plain.eq(high_plain & ~word[bits:half].any()),
                    ]
                with m.Case(6):
                    m.d.sync += request.steps_plain.eq(~word[STEPS_BITS:].any())
                with m.Case(7):
                    m.d.sync += [difference.eq(word ^ data), r.cursor.of_run.eq(0)]
                    m.next = "CHECK"
        return same_half.all()

    def _check(
        self, m: Module, r: Registers, framer: Framer, *, status: Value, same: Value
    ) -> None:
        """Waits for the result of `RequestCheck`."""
        now, request = r.execution, r.execution.request
        with m.State("CHECK"):
            m.d.sync += [
                now.step.eq(now.step + 1),
                now.status.eq(status),
                now.same.eq(same),
            ]
            # Move to the payload, word 3.
            m.d.comb += [r.cursor.clear.eq(now.step == 0), r.cursor.next.eq(now.step != 0)]
            with m.If(now.step == 3):
                m.next = "EXECUTE"
                # Ignore a repeated RUN while its run is in progress: the reply comes at the end.
                with m.If(now.running & (request.command == Command.RUN) & now.same):
                    m.d.comb += framer.release.eq(1)
                    m.next = "IDLE"

    def _execute(self, m: Module, r: Registers, framer: Framer) -> None:
        """Executes the request, except READ: the reply states read the words."""
        now, request, of_run = r.execution, r.execution.request, r.cursor.of_run
        with m.State("EXECUTE"):
            m.d.comb += [
                r.target.to_control.eq(request.command == Command.RUN),
                r.target.control.eq(Control.STEPS),
            ]
            m.next = "REPLY"
            with m.If(now.status == Status.OK):
                with m.If(request.command != Command.STATUS):
                    m.d.sync += now.remembered.eq(request.command == Command.RUN)
                with m.Switch(request.command):
                    with m.Case(Command.WRITE, Command.WRITE_BYTES):
                        m.d.comb += r.count.next.eq(1)
                        m.next = "WRITE"
                    with m.Case(Command.RUN):
                        m.d.comb += framer.release.eq(1)
                        m.d.sync += of_run.eq(1)
                        m.next = "RESULT"
                        with m.If(~(now.remembered & now.same)):
                            m.d.sync += [r.cursor.second.eq(~r.cursor.second), now.running.eq(1)]
                            m.d.comb += r.count.next.eq(1)
                            m.next = "WRITE"
                    with m.Case(Command.RESET):
                        m.d.sync += [self.engine_reset.eq(1), now.running.eq(0)]
        with m.State("WRITE"):
            m.d.comb += [r.writer.issue.eq(~r.count.through), r.count.next.eq(~r.count.through)]
            with m.If(r.writer.written):
                m.d.comb += r.cursor.clear.eq(1)
                m.next = "REPLY"
                with m.If(of_run):
                    m.next = "START"

    def _start(self, m: Module, r: Registers) -> None:
        """Starts the engine; after the run, reads whether the engine accepted it."""
        now = r.execution
        # The address field of a RUN request is the word to be written to `Control.RUN`. The state
        # lasts until ``engine_busy`` shows the run.
        with m.State("START"):
            m.d.sync += now.step.eq(now.step + 1)
            m.d.comb += [
                r.cursor.next.eq(now.step == 0),
                r.writer.issue.eq(now.step == 1),
                r.tally.clear_cycles.eq(now.step == 1),
                r.target.to_control.eq(1),
                r.target.control.eq(Control.RUN),
            ]
            with m.If(now.step == 7):
                m.next = "IDLE"

        with m.State("RESULT"):
            m.d.sync += [r.cursor.of_run.eq(1), self.host.read.eq(1)]
            m.d.comb += [r.target.to_control.eq(1), r.target.control.eq(Control.STATUS)]
            m.next = "TAKEN"
        with m.State("TAKEN"):
            m.d.sync += now.status.eq(Mux(self.host.read_data[1], Status.REFUSED, Status.OK))
            with m.If(self.host.read_valid):
                m.next = "REPLY"

    def _begin_reply(self, m: Module, r: Registers) -> None:
        """The length of the reply."""
        now, request = r.execution, r.execution.request
        with m.State("REPLY"):
            good = now.status == Status.OK
            m.d.sync += [r.reply.part.eq(0), self.error.eq(~good)]
            m.d.comb += [r.cursor.clear.eq(1), r.tally.refuse.eq(~good)]
            payload = Signal(range(IDENTITY_WORDS + 1))
            with m.Switch(request.command):
                with m.Case(Command.IDENTIFY):
                    m.d.comb += payload.eq(IDENTITY_WORDS)
                with m.Case(Command.RUN):
                    m.d.comb += payload.eq(RUN_WORDS)
                with m.Case(Command.STATUS):
                    m.d.comb += payload.eq(STATUS_WORDS)
            with m.If(~good | (request.command != Command.READ)):
                m.d.sync += request.count.eq(Mux(good, payload, 0))
            m.next = "CHOOSE"

    def _reply(self, m: Module, r: Registers, framer: Framer) -> None:
        """Header and payload of the reply, word by word."""
        command, index = r.execution.request.command, r.cursor.index
        source, part = r.reply.source, r.reply.part
        waited = Signal()
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
                m.d.comb += r.target.next.eq(of_engine)
                m.next = "SEND"
        with m.State("SEND"):
            words = framer.words
            last = part[1] & r.count.none_left
            m.d.comb += [
                r.reply.hold.eq(1),
                words.valid.eq(1),
                words.payload.word.eq(r.reply.word),
                words.payload.last.eq(last),
            ]
            with m.If(words.ready):
                m.d.comb += [r.cursor.next.eq(1), r.count.next.eq(part[1])]
                with m.If(part != HEADER_WORDS):
                    m.d.sync += part.eq(part + 1)
                with m.If(part == HEADER_WORDS - 1):
                    m.d.comb += [
                        r.cursor.clear.eq(1),
                        r.cursor.to_identity.eq(command == Command.IDENTIFY),
                    ]
                m.next = "CHOOSE"
                with m.If(last):
                    m.d.comb += framer.release.eq(~r.cursor.of_run)
                    m.next = "IDLE"

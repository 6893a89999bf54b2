"""The host link: requests in, effects on the engine, replies out (``docs/protocol.md``)."""

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.pixels import PixelPacker
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import PIXEL_BITS, EngineConfig, bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, HostMap
from residuum.hw.isa.image import ImageDescriptor
from residuum.hw.isa.protocol import (
    HEADER_WORDS,
    IDENTITY_WORDS,
    MAX_LOGITS,
    RUN_WORDS,
    STATUS_WORDS,
    WORD_BYTES,
    Command,
    Identity,
    Status,
    longest_request,
)
from residuum.hw.link.frames import FrameSender
from residuum.hw.link.queue import HALF, RequestQueue, wrapped
from residuum.hw.link.registers import (
    IDENTITY_PART,
    PART_BITS,
    REPLY_WORDS,
    SLOT_BITS,
    SLOT_WORDS,
    WORD_LATENCY,
    Registers,
    Source,
    identity_address,
)
from residuum.hw.link.request import STEPS_BITS, RequestCheck
from residuum.hw.logic import below, delayed
from residuum.hw.memory.block import BlockMemory


def takes_pixels(config: EngineConfig) -> bool:
    """Whether an engine can be given raw images."""
    return config.pixel_planes > 0 and ImageDescriptor.fits(config)


class HostLink(wiring.Component):
    """Executes requests, one at a time, each only after its whole frame has been checked.

    Frames arrive while others are executed or answered, and wait in a `RequestQueue`.

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
    hold : In(1)
        Up to 12 more writes to the external memory, then none.
    busy : Out(1)
        A request is being checked, executed or answered, or waits. When low, nothing changes until
        ``rx`` brings another byte.
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
                "hold": In(1),
                "busy": Out(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self.identity.config
        m.submodules.queue = queue = RequestQueue(config)
        m.submodules.sender = sender = FrameSender()
        m.submodules.replies = replies = BlockMemory(
            width=HOST_WORD_BITS,
            depth=REPLY_WORDS,
            ecp5=config.memory == "ecp5",
            init=self._initial_replies(),
        )
        m.submodules.check = check = RequestCheck(config)
        wiring.connect(m, wiring.flipped(self.rx), queue.rx)
        wiring.connect(m, sender.tx, wiring.flipped(self.tx))

        r = Registers(config)
        now, request = r.execution, r.execution.request
        # What the states write: the packer has a host port of its own.
        host = HostPort(config).create(path=("own",))
        packer = self._pack(m, r, queue, host)
        m.d.comb += [
            queue.rx_damaged.eq(self.rx_damaged),
            queue.release.eq(now.release),
            queue.length.eq(request.words),
            check.request.eq(request),
            check.running.eq(now.running),
        ]
        if packer is not None:
            m.d.comb += check.image.eq(packer.image)
        data = queue.read_data
        m.d.sync += [
            now.step.eq(1),
            now.release.eq(0),
            r.cursor.next.eq(0),
            r.cursor.clear.eq(0),
            r.cursor.to_head.eq(0),
            self.engine_reset.eq(0),
        ]
        r.tally.add_to(m, busy=self.engine_busy, dropped=queue.dropped, error=self.error)
        r.reply.add_to(m, data, replies.read_data, host.read_data, now, r.count.words, r.tally)
        r.writer.add_to(m, r.reply.word, host, request.command, r.cursor, r.count.through)
        _add_payload(m, r, packer)
        self._address_replies(m, r, replies)
        with m.FSM() as fsm:
            self._fetch(m, r, queue, packer)
            self._check(m, r, queue, status=check.status, owner=replies.read_data)
            self._execute(m, r, packer)
            self._begin_run(m, r)
            self._start(m, r, queue)
            self._end_run(m, r, host.read_valid)
            self._begin_reply(m, r)
            self._reply(m, r, queue, sender, host.read_valid)
        r.cursor.add_to(m, queue.head)
        r.count.add_to(m)
        r.target.add_to(m, request.address, host, HostMap(config))
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE") | now.running | queue.active | sender.active)
        return m

    def _initial_replies(self) -> list[int]:
        words = [0] * REPLY_WORDS
        for index, word in enumerate(self.identity.words()):
            words[identity_address(index)] = word
        return words

    def _pack(
        self, m: Module, r: Registers, queue: RequestQueue, own: wiring.PureInterface
    ) -> PixelPacker | None:
        """The packer of images, which reads the ring and writes to the engine while it is busy;
        None if the engine takes no pixels."""
        config = self.identity.config
        host = self.host
        m.d.comb += [own.read_data.eq(host.read_data), own.read_valid.eq(host.read_valid)]
        outputs = ("address", "write_data", "write", "read")
        if not takes_pixels(config):
            m.d.comb += [getattr(host, name).eq(getattr(own, name)) for name in outputs]
            m.d.comb += queue.read_place.eq(r.cursor.place)
            return None
        most = (longest_request(config) - HEADER_WORDS - 2) * WORD_BYTES
        m.submodules.packer = packer = PixelPacker(config, depth=1 << bits_for_count(most))
        busy = packer.busy
        for name in ("address", "write", "read"):
            m.d.comb += getattr(host, name).eq(
                Mux(busy, getattr(packer.host, name), getattr(own, name))
            )
        # The high bits of a byte are 0 in both words.
        low = Mux(busy, packer.host.write_data[:PIXEL_BITS], own.write_data[:PIXEL_BITS])
        m.d.comb += host.write_data.eq(Cat(low, own.write_data[PIXEL_BITS:]))
        # The image begins where the cursor has stopped: behind the steps.
        place = wrapped(config, r.cursor.place + (packer.address >> 2))
        m.d.comb += [
            queue.read_place.eq(Mux(busy, place, r.cursor.place)),
            r.writer.pick.eq(busy),
            r.writer.picked.eq(delayed(m, packer.address[:2], WORD_LATENCY, "pixel_byte")),
            packer.pixel.eq(r.writer.byte),
            packer.host.read_data.eq(host.read_data),
            packer.host.read_valid.eq(host.read_valid),
        ]
        return packer

    def _address_replies(self, m: Module, r: Registers, replies: BlockMemory) -> None:
        """The word that is written to the memory for replies, and the one that is read: of the
        identity, or of the slot of a run."""
        # The EBR may be far away: write it from registers.
        enable, place, word = Signal(), Signal.like(replies.write_address), Signal(HOST_WORD_BITS)
        m.d.sync += [
            enable.eq(r.reply.stored),
            place.eq(Cat(r.reply.place, r.runs.slot)),
            word.eq(r.reply.word),
        ]
        m.d.comb += [
            replies.write_enable.eq(enable),
            replies.write_address.eq(place),
            replies.write_data.eq(word),
        ]
        index, slot = r.cursor.index, r.runs.slot
        number, part = index[:SLOT_BITS], index[SLOT_BITS : SLOT_BITS + PART_BITS]
        parts = SLOT_WORDS // IDENTITY_PART
        last = Const(parts - 1, bits_for_count(parts))
        identity = Cat(part, last, number)
        identify = r.execution.request.command == Command.IDENTIFY
        of_slot = Cat(index[: bits_for_count(SLOT_WORDS)], slot)
        m.d.comb += replies.read_address.eq(Mux(identify, identity, of_slot))

    def _fetch(
        self, m: Module, r: Registers, queue: RequestQueue, packer: PixelPacker | None
    ) -> None:
        """Reads a request into registers; for an image, then where its pixels go."""
        now, request, runs, word = r.execution, r.execution.request, r.runs, r.reply.word
        address_bits = HostMap(self.identity.config).address_bits
        with m.State("IDLE"):
            m.d.sync += [
                r.cursor.to_head.eq(1),
                runs.finished.eq(0),
                runs.replying.eq(0),
                r.reply.source.eq(Source.REQUEST),
            ]
            with m.If(now.running & ~r.tally.engine_busy):
                m.d.sync += [
                    r.cursor.to_head.eq(0),
                    r.cursor.clear.eq(1),
                    now.running.eq(0),
                    now.status.eq(Status.OK),
                    runs.finished.eq(1),
                    runs.slot.eq(runs.running_slot),
                    request.command.eq(Mux(runs.of_classify, Command.CLASSIFY, Command.RUN)),
                ]
                m.next = "RESULT"
            with m.Elif(queue.some & ~now.release):
                m.next = "FETCH"

        with m.State("FETCH"):
            m.d.sync += [now.step.eq(now.step << 1), r.cursor.next.eq(1)]
            # Compare the registered word: EBR plus compare misses timing.
            zeros = _zeros(word)
            with m.If(now.step[5]):
                m.d.sync += request.words.eq(word)
            with m.If(now.step[6]):
                m.d.sync += [
                    request.command.eq(word),
                    request.command_plain.eq(zeros(len(request.command), HALF)),
                    runs.slot.eq(word[HALF:]),
                ]
            with m.If(now.step[7]):
                m.d.sync += [
                    request.address.eq(word),
                    request.address_plain.eq(zeros(address_bits)),
                ]
            with m.If(now.step[8]):
                m.d.sync += [
                    request.count.eq(word),
                    request.count_plain.eq(zeros(len(request.count))),
                ]
            with m.If(now.step[9]):
                m.d.sync += [
                    now.step.eq(1),
                    request.tau.eq(word),
                    request.inference.eq(word[8:]),
                    request.carry.eq(word[16]),
                    request.steps_plain.eq(
                        zeros(len(request.tau), 8)
                        & zeros(8 + len(request.inference), 16)
                        & zeros(STEPS_BITS)
                    ),
                ]
                of_image = request.command_plain & (request.command == Command.CLASSIFY)
                m.next = "CHECK"
                with m.If(queue.overtaken):
                    m.d.sync += now.release.eq(1)
                    m.d.comb += r.tally.discard.eq(1)
                    m.next = "IDLE"
                with m.Elif(of_image & now.running):
                    m.next = "IDLE"
                if packer is not None:
                    with m.Elif(of_image):
                        m.next = "LOCATE"
        if packer is not None:
            with m.State("LOCATE"):
                m.d.comb += packer.load.eq(now.step[0])
                m.d.sync += now.step.eq(2)
                with m.If(now.step[1] & ~packer.busy):
                    m.d.sync += now.step.eq(1)
                    m.next = "CHECK"

    def _check(
        self, m: Module, r: Registers, queue: RequestQueue, *, status: Value, owner: Value
    ) -> None:
        """Waits for the result of `RequestCheck`, and compares the request with the run in its
        slot: length and CRC, then command and tag. ``owner`` is what its slot reads."""
        now, request, runs = r.execution, r.execution.request, r.runs
        # One bit for each pair of bits: a LUT. The word of the request comes a cycle later.
        differs = Signal(HALF, reset_less=True)
        same = Signal()
        differing = delayed(m, owner, 1, "owner") ^ queue.read_data
        m.d.sync += [
            differs.eq(differing[:HALF] | differing[HALF:]),
            same.eq(differs == 0),
        ]
        with m.State("CHECK"):
            m.d.sync += [
                now.step.eq(now.step << 1),
                now.status.eq(status),
                r.cursor.to_head.eq(now.step[0]),
                # To the payload: the word before the request, three of the header, the payload.
                r.cursor.next.eq(now.step[:5].any()),
                r.count.words.eq(request.count),
            ]
            with m.If(now.step[7]):
                remembered = runs.remembered.bit_select(runs.slot, 1)
                m.d.sync += now.same.eq(same & remembered)
            with m.If(now.step[8]):
                m.d.sync += now.same.eq(now.same & same)
            with m.If(now.step[9]):
                m.next = "EXECUTE"
                # Ignore a repeated RUN while its run is in progress: the reply comes at the end.
                with m.If(now.running & (request.command == Command.RUN) & now.same):
                    m.d.sync += now.release.eq(1)
                    m.next = "IDLE"

    def _execute(self, m: Module, r: Registers, packer: PixelPacker | None) -> None:
        """Executes the request, except READ: the reply states read the words. An image is packed
        when the steps of its run are written."""
        now, request, runs = r.execution, r.execution.request, r.runs
        of_run = Signal(name="_of_run")
        held = Signal(name="_held")
        m.d.sync += held.eq(self.hold)
        with m.State("EXECUTE"):
            m.d.sync += of_run.eq(0)
            m.d.comb += [
                r.target.to_control.eq(_runs(request.command)),
                r.target.control.eq(Control.STEPS),
            ]
            m.next = "REPLY"
            with m.If(now.status == Status.OK):
                with m.If((request.command != Command.STATUS) & ~_runs(request.command)):
                    m.d.sync += runs.remembered.eq(0)
                with m.Switch(request.command):
                    with m.Case(Command.WRITE, Command.WRITE_BYTES):
                        m.d.comb += r.count.next.eq(1)
                        m.next = "WRITE"
                    with m.Case(Command.RUN, Command.CLASSIFY):
                        m.d.sync += [of_run.eq(1), runs.replying.eq(1)]
                        with m.If(~now.same):
                            m.next = "REMEMBER"
                    with m.Case(Command.RESET):
                        m.d.sync += [self.engine_reset.eq(1), now.running.eq(0)]
        with m.State("WRITE"):
            more = ~r.count.through
            if self.identity.config.external:
                more &= ~held
            m.d.comb += [r.writer.issue.eq(more), r.count.next.eq(more)]
            with m.If(r.writer.written):
                m.d.sync += r.cursor.to_head.eq(1)
                m.next = "REPLY"
                with m.If(of_run):
                    m.next = "START"
                    if packer is not None:
                        with m.If(r.runs.of_classify):
                            m.d.sync += r.cursor.to_head.eq(0)
                            m.next = "PACK"
        if packer is not None:
            with m.State("PACK"):
                m.d.comb += packer.start.eq(now.step[0])
                m.d.sync += now.step.eq(2)
                with m.If(now.step[1] & ~packer.busy):
                    m.d.sync += [now.step.eq(1), r.cursor.to_head.eq(1)]
                    m.next = "START"

    def _begin_run(self, m: Module, r: Registers) -> None:
        """Writes the head of the reply to a run into its slot."""
        now, request, runs = r.execution, r.execution.request, r.runs
        with m.State("REMEMBER"):
            m.d.sync += [
                now.step.eq(now.step << 1),
                r.count.words.eq(1),
                r.cursor.to_head.eq(now.step[0]),
                # The word before the request and the first two of its own, every fifth cycle: a
                # word is there four cycles after the cursor. Then on to the payload.
                r.cursor.next.eq(now.step[5] | now.step[10] | now.step[15:17].any()),
            ]
            with m.If(now.step[6] | now.step[11] | now.step[16]):
                r.reply.store(m, r.cursor.index)
            with m.If(now.step[17]):
                m.d.comb += r.count.next.eq(1)
                m.d.sync += [
                    runs.remembered.bit_select(runs.slot, 1).eq(1),
                    runs.running_slot.eq(runs.slot),
                    runs.of_classify.eq(request.command == Command.CLASSIFY),
                    now.running.eq(1),
                ]
                m.next = "WRITE"

    def _start(self, m: Module, r: Registers, queue: RequestQueue) -> None:
        """Starts the engine."""
        now = r.execution
        # The address field of a request to run is the word to be written to `Control.RUN`. The
        # state lasts until ``engine_busy`` shows the run.
        with m.State("START"):
            m.d.sync += [now.step.eq(now.step << 1), r.cursor.next.eq(now.step[:2].any())]
            m.d.comb += [
                r.writer.issue.eq(now.step[3]),
                r.tally.clear_cycles.eq(now.step[3]),
                r.target.to_control.eq(1),
                r.target.control.eq(Control.RUN),
            ]
            with m.If(now.step[12]):
                m.d.sync += now.release.eq(1)
                m.next = "IDLE"

    def _end_run(self, m: Module, r: Registers, read_valid: Value) -> None:
        """Stores the reply to a run that has ended, behind its head: the words of the payload, then
        the status word, class, cycles, and for an image the logits."""
        index, last = r.cursor.index, r.count.none_left
        # The index is compared a cycle before it counts.
        of_cycles, of_logit = Signal(), Signal()
        m.d.sync += of_cycles.eq(index == HEADER_WORDS + RUN_WORDS - 1)
        with m.State("RESULT"):
            m.d.comb += [r.target.to_control.eq(1), r.target.control.eq(Control.STATUS)]
            m.d.sync += [
                r.cursor.next.eq(1),
                r.runs.replying.eq(1),
                r.reply.part.eq(0),
                of_logit.eq(0),
            ]
            m.next = "LENGTH"
        with m.State("LENGTH"):
            m.d.sync += [
                r.cursor.next.eq(1),
                r.count.words.eq(r.reply.payload),
                r.reply.source.eq(Source.COUNT),
            ]
            m.next = "COUNT"
        with m.State("COUNT"):
            m.d.sync += r.cursor.next.eq(1)
            m.next = "COUNTED"
        with m.State("COUNTED"):
            r.reply.store(m, index)
            m.d.comb += r.count.next.eq(1)
            m.next = "STEP"
        with m.State("STEP"):
            m.next = "READ"
        with m.State("READ"):
            m.d.comb += r.target.read.eq(~of_cycles)
            m.d.sync += r.reply.source.eq(Mux(of_cycles, Source.CYCLES, Source.ENGINE))
            m.next = "STORE"
        with m.State("STORE"), m.If(of_cycles | read_valid):
            m.d.sync += r.cursor.next.eq(1)
            m.next = "STORED"
        with m.State("STORED"):
            r.reply.store(m, index)
            m.d.comb += [
                r.count.next.eq(1),
                r.target.next.eq(~of_logit),
                r.target.next_logit.eq(of_logit),
                r.target.to_logits.eq(of_cycles),
            ]
            with m.If(of_cycles):
                m.d.sync += of_logit.eq(1)
            m.next = "STEP"
            with m.If(last):
                m.next = "REPLY"

    def _begin_reply(self, m: Module, r: Registers) -> None:
        """The length of the reply."""
        now = r.execution
        with m.State("REPLY"):
            good = now.status == Status.OK
            m.d.sync += [
                r.reply.part.eq(0),
                self.error.eq(~good),
                r.cursor.to_head.eq(1),
                r.count.words.eq(Mux(good, r.reply.payload, 0)),
            ]
            m.d.comb += r.tally.refuse.eq(~good)
            m.next = "HEAD"
        with m.State("HEAD"):
            m.d.sync += r.cursor.next.eq(1)
            m.next = "MOVED"

    def _reply(
        self,
        m: Module,
        r: Registers,
        queue: RequestQueue,
        sender: FrameSender,
        read_valid: Value,
    ) -> None:
        """Header and payload of the reply, word by word."""
        command, index = r.execution.request.command, r.cursor.index
        source, part, replying = r.reply.source, r.reply.part, r.runs.replying
        waited, sent = Signal(), Signal()
        words, last = sender.words, part[1] & r.count.none_left
        m.d.comb += [words.payload.word.eq(r.reply.word), words.payload.last.eq(last)]
        with m.State("MOVED"):
            # The cursor moves.
            m.next = "CHOOSE"
        with m.State("CHOOSE"):
            m.d.sync += waited.eq(0)
            with m.If(replying):
                m.d.sync += source.eq(Source.REPLIES)
            with m.Elif(part != HEADER_WORDS):
                m.d.sync += source.eq(part)
            with m.Else(), m.Switch(command):
                with m.Case(Command.IDENTIFY):
                    m.d.sync += source.eq(Source.REPLIES)
                with m.Case(Command.STATUS):
                    places = Array([Source.COUNT, Source.DROPPED, Source.REFUSED])
                    m.d.sync += source.eq(places[index[:2]])
                with m.Default():
                    m.d.sync += source.eq(Source.ENGINE)
            m.next = "ASK"
        of_engine = source == Source.ENGINE
        with m.State("ASK"):
            m.d.comb += r.target.read.eq(of_engine)
            m.next = "LOAD"
        with m.State("LOAD"):
            m.d.sync += waited.eq(1)
            with m.If(Mux(of_engine, read_valid, waited)):
                m.d.comb += r.target.next.eq(of_engine)
                m.next = "SEND"
        with m.State("SEND"):
            m.d.comb += [r.reply.hold.eq(1), words.valid.eq(~sent)]
            m.d.sync += sent.eq(words.valid & words.ready)
            with m.If(sent):
                m.d.comb += r.count.next.eq(part[1])
                m.d.sync += r.cursor.next.eq(1)
                with m.If(part != HEADER_WORDS):
                    m.d.sync += part.eq(part + 1)
                with m.If((part == HEADER_WORDS - 1) & ~replying):
                    m.d.sync += r.cursor.clear.eq(1)
                m.next = "MOVED"
                with m.If(last):
                    m.d.sync += r.execution.release.eq(~r.runs.finished)
                    m.next = "IDLE"


def _zeros(word: Value) -> Callable[..., Value]:
    """A function that tells whether bits ``first`` to ``last - 1`` of the word are 0. It shares one
    LUT for each four bits."""
    some = Cat(word.word_select(index, 4).any() for index in range(len(word) // 4))

    def zeros(first: int, last: int = len(word)) -> Value:
        whole = (first + 3) // 4
        return ~(word[first : 4 * whole].any() | some[whole : last // 4].any())

    return zeros


def _runs(command: Value) -> Value:
    """Whether a command runs the engine."""
    return (command == Command.RUN) | (command == Command.CLASSIFY)


def _add_payload(m: Module, r: Registers, packer: PixelPacker | None) -> None:
    """``r.reply.payload``: the words of the payload of a reply; from the cycle after the request is
    known."""
    request = r.execution.request
    with m.Switch(request.command):
        with m.Case(Command.READ):
            m.d.sync += r.reply.payload.eq(request.count)
        with m.Case(Command.IDENTIFY):
            m.d.sync += r.reply.payload.eq(IDENTITY_WORDS)
        with m.Case(Command.STATUS):
            m.d.sync += r.reply.payload.eq(STATUS_WORDS)
        with m.Case(Command.RUN):
            m.d.sync += r.reply.payload.eq(RUN_WORDS)
        with m.Case(Command.CLASSIFY):
            m.d.sync += r.reply.payload.eq(RUN_WORDS)
            if packer is not None:
                with m.If(below(packer.image.classes, MAX_LOGITS)):
                    m.d.sync += r.reply.payload.eq(RUN_WORDS + 1 + packer.image.classes)
        with m.Default():
            m.d.sync += r.reply.payload.eq(0)

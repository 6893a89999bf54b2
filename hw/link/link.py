"""The host link: requests in, effects on the engine, replies out (``docs/protocol.md``)."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.pixels import PixelPacker
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, HostMap, Region
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
    REPLY,
    REPLY_WORDS,
    SLOT_BITS,
    SLOT_WORDS,
    Registers,
    Source,
    identity_address,
)
from residuum.hw.link.request import STEPS_BITS, RequestCheck
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
            queue.length.eq(request.words),
            check.request.eq(request),
            check.running.eq(now.running),
        ]
        if packer is not None:
            m.d.comb += check.image.eq(packer.image)
        data = queue.read_data
        m.d.sync += [
            now.step.eq(0),
            r.cursor.clear.eq(0),
            r.cursor.to_head.eq(0),
            self.engine_reset.eq(0),
            host.read.eq(0),
        ]
        r.tally.add_to(m, busy=self.engine_busy, dropped=queue.dropped, error=self.error)
        r.reply.add_to(m, data, replies.read_data, host.read_data, now, r.tally)
        r.writer.add_to(m, data, host, request.command, r.cursor, r.count.through)
        _add_payload(m, r, packer)
        self._address_replies(m, r, replies)
        with m.FSM() as fsm:
            self._fetch(m, r, queue, packer)
            self._check(m, r, queue, status=check.status, owner=replies.read_data)
            self._execute(m, r)
            self._begin_run(m, r, packer)
            self._start(m, r, queue)
            self._end_run(m, r, host)
            self._begin_reply(m, r)
            self._reply(m, r, queue, sender, host)
        r.cursor.add_to(m, queue, r.runs.replying)
        r.count.add_to(m, request.count)
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
        m.submodules.packer = packer = PixelPacker(config, depth=most)
        busy = packer.busy
        for name in outputs:
            m.d.comb += getattr(host, name).eq(
                Mux(busy, getattr(packer.host, name), getattr(own, name))
            )
        # The image begins where the cursor has stopped: one word behind the steps.
        image = Signal.like(r.cursor.place)
        m.d.sync += image.eq(wrapped(config, r.cursor.place + 1))
        place = wrapped(config, image + (packer.address >> 2))
        byte = [Signal(2, name=f"pixel_byte_{stage}", reset_less=True) for stage in range(2)]
        m.d.sync += [byte[0].eq(packer.address), byte[1].eq(byte[0])]
        m.d.comb += [
            queue.read_place.eq(Mux(busy, place, r.cursor.place)),
            r.writer.pick.eq(busy),
            r.writer.picked.eq(byte[1]),
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
        part, number = index[:PART_BITS], index[PART_BITS : PART_BITS + SLOT_BITS]
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
            m.d.comb += r.target.to_request.eq(1)
            m.d.sync += [
                r.cursor.to_head.eq(1),
                runs.finished.eq(0),
                runs.replying.eq(0),
                r.reply.source.eq(Source.REQUEST),
            ]
            with m.If(now.running & ~r.tally.engine_busy):
                m.d.sync += [
                    now.running.eq(0),
                    now.status.eq(Status.OK),
                    runs.finished.eq(1),
                    runs.slot.eq(runs.running_slot),
                    request.command.eq(Mux(runs.of_classify, Command.CLASSIFY, Command.RUN)),
                ]
                m.next = "RESULT"
            with m.Elif(queue.some):
                m.next = "FETCH"

        with m.State("FETCH"):
            m.d.sync += now.step.eq(now.step + 1)
            m.d.comb += r.cursor.next.eq(1)
            # Compare the registered word: EBR plus compare misses timing.
            high_plain = ~word[HALF:].any()
            with m.Switch(now.step):
                with m.Case(4):
                    m.d.sync += request.words.eq(word)
                with m.Case(5):
                    bits = len(request.command)
                    m.d.sync += [
                        request.command.eq(word),
                        request.command_plain.eq(~word[bits:HALF].any()),
                        runs.slot.eq(word[HALF:]),
                    ]
                with m.Case(6):
                    m.d.sync += [
                        request.address.eq(word),
                        request.address_plain.eq(~word[address_bits:].any()),
                    ]
                with m.Case(7):
                    bits = len(request.count)
                    m.d.sync += [
                        request.count.eq(word),
                        request.count_plain.eq(high_plain & ~word[bits:HALF].any()),
                    ]
                with m.Case(8):
                    m.d.sync += [
                        request.steps_plain.eq(~word[STEPS_BITS:].any()),
                        request.steps.eq(word[:8] + word[8:16]),
                        request.some_inference.eq(word[8:16].any()),
                    ]
                    of_image = request.command_plain & (request.command == Command.CLASSIFY)
                    m.next = "CHECK"
                    with m.If(queue.overtaken):
                        m.d.comb += [queue.release.eq(1), r.tally.discard.eq(1)]
                        m.next = "IDLE"
                    with m.Elif(of_image & now.running):
                        m.next = "IDLE"
                    if packer is not None:
                        with m.Elif(of_image):
                            m.d.comb += packer.load.eq(1)
                            m.next = "LOCATE"
        if packer is not None:
            with m.State("LOCATE"), m.If(~packer.busy):
                m.next = "CHECK"

    def _check(
        self, m: Module, r: Registers, queue: RequestQueue, *, status: Value, owner: Value
    ) -> None:
        """Waits for the result of `RequestCheck`, and compares the request with the run in its
        slot: length and CRC, then command and tag. ``owner`` is what its slot reads."""
        now, request, runs = r.execution, r.execution.request, r.runs
        # One bit for each pair of bits: a LUT.
        differs = Signal(HALF, reset_less=True)
        same = Signal()
        differing = owner ^ queue.read_data
        m.d.sync += [
            differs.eq(differing[:HALF] | differing[HALF:]),
            same.eq(differs == 0),
        ]
        with m.State("CHECK"):
            m.d.sync += [
                now.step.eq(now.step + 1),
                now.status.eq(status),
                r.cursor.to_head.eq(now.step == 0),
            ]
            # Move to the payload: the word before the request, three of the header, the payload.
            m.d.comb += r.cursor.next.eq(now.step < 6)
            with m.If(now.step == 6):
                remembered = runs.remembered.bit_select(runs.slot, 1)
                m.d.sync += now.same.eq(same & remembered)
            with m.If(now.step == 7):
                m.d.sync += now.same.eq(now.same & same)
            with m.If(now.step == 8):
                m.next = "EXECUTE"
                # Ignore a repeated RUN while its run is in progress: the reply comes at the end.
                with m.If(now.running & (request.command == Command.RUN) & now.same):
                    m.d.comb += queue.release.eq(1)
                    m.next = "IDLE"

    def _execute(self, m: Module, r: Registers) -> None:
        """Executes the request, except READ: the reply states read the words."""
        now, request, runs = r.execution, r.execution.request, r.runs
        of_run = Signal(name="_of_run")
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
            m.d.comb += [r.writer.issue.eq(~r.count.through), r.count.next.eq(~r.count.through)]
            with m.If(r.writer.written):
                m.d.sync += r.cursor.clear.eq(1)
                m.next = "REPLY"
                with m.If(of_run):
                    m.next = "START"

    def _begin_run(self, m: Module, r: Registers, packer: PixelPacker | None) -> None:
        """Writes the head of the reply to a run into its slot, and the image into the engine."""
        now, request, runs = r.execution, r.execution.request, r.runs
        of_image = request.command == Command.CLASSIFY
        with m.State("REMEMBER"):
            m.d.sync += [
                now.step.eq(now.step + 1),
                request.count.eq(1),
                r.cursor.to_head.eq(now.step == 0),
            ]
            # The word before the request and the first two of its own, and on to the payload.
            m.d.comb += r.cursor.next.eq(now.step < 6)
            with m.If(now.step > 4):
                r.reply.store(m, (now.step - 5)[:2])
            with m.If(now.step == 7):
                m.d.sync += [
                    runs.remembered.bit_select(runs.slot, 1).eq(1),
                    runs.running_slot.eq(runs.slot),
                    runs.of_classify.eq(of_image),
                    now.running.eq(1),
                ]
                m.d.comb += r.count.next.eq(~of_image)
                m.next = "WRITE"
                if packer is not None:
                    with m.If(of_image):
                        m.d.comb += packer.start.eq(1)
                        m.next = "PACK"
        if packer is not None:
            with m.State("PACK"), m.If(~packer.busy):
                m.d.comb += r.count.next.eq(1)
                m.next = "WRITE"

    def _start(self, m: Module, r: Registers, queue: RequestQueue) -> None:
        """Starts the engine."""
        now = r.execution
        # The address field of a request to run is the word to be written to `Control.RUN`. The
        # state lasts until ``engine_busy`` shows the run.
        with m.State("START"):
            m.d.sync += now.step.eq(now.step + 1)
            m.d.comb += [
                r.cursor.next.eq(now.step == 1),
                r.writer.issue.eq(now.step == 2),
                r.tally.clear_cycles.eq(now.step == 2),
                r.target.to_control.eq(1),
                r.target.control.eq(Control.RUN),
            ]
            with m.If(now.step == 8):
                m.d.comb += queue.release.eq(1)
                m.next = "IDLE"

    def _end_run(self, m: Module, r: Registers, host: wiring.PureInterface) -> None:
        """Stores the payload of the reply to a run that has ended: status word, class, cycles, and
        for an image the logits."""
        request, runs, index = r.execution.request, r.runs, r.cursor.index
        logits = HostMap(self.identity.config).address(Region.LOGITS)
        # The index is compared a cycle before it counts.
        of_status, of_cycles, of_logit, last = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            of_status.eq(index < RUN_WORDS - 1),
            of_cycles.eq(index == RUN_WORDS - 1),
            of_logit.eq(index >= RUN_WORDS),
            last.eq(index + 1 == request.count),
        ]
        with m.State("RESULT"):
            m.d.comb += [r.target.to_control.eq(1), r.target.control.eq(Control.STATUS)]
            m.d.sync += [runs.replying.eq(1), r.reply.part.eq(0)]
            m.next = "LENGTH"
        with m.State("LENGTH"):
            m.d.sync += request.count.eq(r.reply.payload)
            m.next = "READ"
        with m.State("READ"):
            m.d.sync += [
                host.read.eq(~of_cycles),
                r.reply.source.eq(Mux(of_cycles, Source.CYCLES, Source.ENGINE)),
            ]
            m.next = "STORE"
        with m.State("STORE"), m.If(of_cycles | host.read_valid):
            m.next = "STORED"
        with m.State("STORED"):
            r.reply.store(m, REPLY + HEADER_WORDS + index)
            m.d.comb += [
                r.cursor.next.eq(1),
                r.target.next.eq(of_status),
                r.target.next_logit.eq(of_logit),
                r.target.to_request.eq(of_cycles),
            ]
            with m.If(of_cycles):
                m.d.sync += request.address.eq(logits)
            m.next = "STEP"
            with m.If(last):
                m.d.sync += r.reply.source.eq(Source.COUNT)
                m.next = "COUNT"
        with m.State("STEP"):
            m.next = "READ"
        with m.State("COUNT"):
            m.next = "COUNTED"
        with m.State("COUNTED"):
            r.reply.store(m, REPLY + HEADER_WORDS - 1)
            m.next = "REPLY"

    def _begin_reply(self, m: Module, r: Registers) -> None:
        """The length of the reply."""
        now, request = r.execution, r.execution.request
        with m.State("REPLY"):
            good = now.status == Status.OK
            m.d.sync += [r.reply.part.eq(0), self.error.eq(~good), r.cursor.clear.eq(1)]
            m.d.comb += r.tally.refuse.eq(~good)
            with m.If(~good | (request.command != Command.READ)):
                m.d.sync += request.count.eq(Mux(good, r.reply.payload, 0))
            m.next = "MOVED"

    def _reply(
        self,
        m: Module,
        r: Registers,
        queue: RequestQueue,
        sender: FrameSender,
        host: wiring.PureInterface,
    ) -> None:
        """Header and payload of the reply, word by word."""
        command, index = r.execution.request.command, r.cursor.index
        source, part, replying = r.reply.source, r.reply.part, r.runs.replying
        waited, sent = Signal(), Signal()
        with m.State("MOVED"):
            # The cursor is where it has been sent to.
            m.next = "CHOOSE"
        with m.State("CHOOSE"):
            m.d.sync += waited.eq(0)
            m.next = "LOAD"
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
                    m.d.sync += [source.eq(Source.ENGINE), host.read.eq(1)]

        with m.State("LOAD"):
            m.d.sync += waited.eq(1)
            of_engine = source == Source.ENGINE
            with m.If(Mux(of_engine, host.read_valid, waited)):
                m.d.comb += r.target.next.eq(of_engine)
                m.next = "SEND"
        with m.State("SEND"):
            words = sender.words
            last = part[1] & r.count.none_left
            m.d.comb += [
                r.reply.hold.eq(1),
                words.valid.eq(~sent),
                words.payload.word.eq(r.reply.word),
                words.payload.last.eq(last),
            ]
            m.d.sync += sent.eq(words.valid & words.ready)
            with m.If(sent):
                m.d.comb += [r.cursor.next.eq(1), r.count.next.eq(part[1])]
                with m.If(part != HEADER_WORDS):
                    m.d.sync += part.eq(part + 1)
                with m.If((part == HEADER_WORDS - 1) & ~replying):
                    m.d.sync += r.cursor.clear.eq(1)
                m.next = "MOVED"
                with m.If(last):
                    m.d.comb += queue.release.eq(~r.runs.finished)
                    m.next = "IDLE"


def _runs(command: Value) -> Value:
    """Whether a command runs the engine."""
    return (command == Command.RUN) | (command == Command.CLASSIFY)


def _add_payload(m: Module, r: Registers, packer: PixelPacker | None) -> None:
    """``r.reply.payload``: the words of the payload of a reply, but to READ; from the cycle after
    the command is known."""
    with m.Switch(r.execution.request.command):
        with m.Case(Command.IDENTIFY):
            m.d.sync += r.reply.payload.eq(IDENTITY_WORDS)
        with m.Case(Command.STATUS):
            m.d.sync += r.reply.payload.eq(STATUS_WORDS)
        with m.Case(Command.RUN):
            m.d.sync += r.reply.payload.eq(RUN_WORDS)
        with m.Case(Command.CLASSIFY):
            m.d.sync += r.reply.payload.eq(RUN_WORDS)
            if packer is not None:
                with m.If(packer.image.classes < MAX_LOGITS):
                    m.d.sync += r.reply.payload.eq(RUN_WORDS + 1 + packer.image.classes)
        with m.Default():
            m.d.sync += r.reply.payload.eq(0)

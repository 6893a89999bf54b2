"""Registers that several states of the host link share, in groups with their logic.

States control a group through its single-bit signals, and set some of its registers directly.
Registers have a leading underscore in the netlist and in timing reports.
"""

import enum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, HostMap, Region
from residuum.hw.isa.protocol import (
    HEADER_WORDS,
    IDENTITY_WORDS,
    MAX_LOGITS,
    MAX_WORDS,
    RUN_WORDS,
    SLOTS,
    WORD_BYTES,
    Command,
    Status,
)
from residuum.hw.link.queue import place_bits, wrapped
from residuum.hw.link.request import request_layout
from residuum.hw.logic import delayed

# The memory for replies has a slot for each of the last runs: the reply, and as its last word the
# one before the request, which with the first word tells one request from another. The words behind
# the longest reply of all slots hold the identity, one word in each slot after the other.
REPLY_WORDS = 512
SLOT_BITS = bits_for_count(SLOTS)
SLOT_WORDS = REPLY_WORDS // SLOTS
IDENTITY_PART = 8  # words of the identity in each slot
assert HEADER_WORDS + RUN_WORDS + MAX_LOGITS <= SLOT_WORDS - IDENTITY_PART
assert IDENTITY_WORDS <= (IDENTITY_PART - 1) * SLOTS
PART_BITS = bits_for_count(IDENTITY_PART)
INDEX_BITS = bits_for_count(MAX_WORDS)


def identity_address(index: int) -> int:
    """The address of a word of the identity in the memory for replies."""
    part, slot = divmod(index, SLOTS)
    return slot * SLOT_WORDS + SLOT_WORDS - IDENTITY_PART + part


class Source(enum.IntEnum):
    """The source of a word of a reply; sources of the header first."""

    FIRST = 0  # the first word of the request, with the status
    REQUEST = 1  # a word of the request
    COUNT = 2
    REPLIES = 3  # the reply to a run, or the identity
    ENGINE = 4
    CYCLES = 5
    DROPPED = 6
    REFUSED = 7


# Cycles from a place in the ring to `ReplyWord.word`: those of the queue, and one.
WORD_LATENCY = 4
# Cycles that a state counts, at most.
STATE_CYCLES = 18
# Frames dropped and refused are counted modulo 2**16.
TALLY_BITS = 16


class Execution:
    """The request that is being executed, and its progress.

    ``status``: the status of the reply; ``running``: a run is in progress; ``same``: the present
    request repeats a run that is remembered; ``step``: a bit for each cycle in a state that counts
    them; ``release``: the request may leave the queue.
    """

    def __init__(self, config: EngineConfig):
        self.request = Signal(request_layout(config), name="_request")
        self.status = Signal(Status, name="_status")
        self.running = Signal(name="_running")
        self.same = Signal(name="_same")
        self.step = Signal(STATE_CYCLES, init=1, name="_step")
        self.release = Signal(name="_release")


class Runs:
    """The last runs, whose replies are remembered: ``remembered``, a bit for each slot.

    ``slot``: that of the present request or reply; ``running_slot`` and ``of_classify``: those of
    the run in progress; ``replying``: the reply is in the slot; ``finished``: it is that of the run
    that has just ended, which has no request any more.
    """

    def __init__(self) -> None:
        self.remembered = Signal(SLOTS, name="_remembered")
        self.slot = Signal(SLOT_BITS, name="_slot")
        self.running_slot = Signal(SLOT_BITS, name="_running_slot")
        self.of_classify = Signal(name="_of_classify")
        self.replying = Signal(name="_replying")
        self.finished = Signal(name="_finished")


class Cursor:
    """The word of the request that is read, ``place`` in the ring, and its ``index``, which is also
    that of a word of a reply, -1 for the word before the request.

    ``next`` moves to the next word, ``to_head`` to the word before the request; ``clear`` is for
    the index alone. These are registers, so the cursor is there two cycles after the state that
    sends it. ``advance`` moves to the next word without that delay.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.place = Signal(place_bits(config), name="_place")
        self.index = Signal(INDEX_BITS, name="_index")
        self.advance, self.next = Signal(), Signal(name="_next")
        self.clear, self.to_head = Signal(name="_clear"), Signal(name="_to_head")

    def add_to(self, m: Module, head: Value) -> None:
        with m.If(self.next | self.advance):
            m.d.sync += [
                self.place.eq(wrapped(self.config, self.place + 1)),
                self.index.eq(self.index + 1),
            ]
        with m.If(self.to_head):
            m.d.sync += self.place.eq(head)
        with m.If(self.to_head | self.clear):
            m.d.sync += self.index.eq(Mux(self.to_head, -1, 0))


class Countdown:
    """Remaining words of the payload, ``words``: ``next`` counts them down.

    ``none_left``: the count is 0, one cycle late. ``through``: the count was 0 before the last
    ``next``.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.words = Signal(request_layout(config)["count"].width, name="_words_left")
        self.next, self.none_left = Signal(), Signal(name="_none_left")
        self.through = Signal(name="_through")

    def add_to(self, m: Module) -> None:
        m.d.sync += self.none_left.eq(self.words == 0)
        with m.If(self.next):
            m.d.sync += Cat(self.words, self.through).eq(self.words - 1)


class Target:
    """The address at the host port: that of the request, until it is replaced.

    ``read`` reads the word there. ``next`` increments the address, ``next_logit`` goes to the next
    logit. ``to_control`` goes to the control word ``control``, ``to_logits`` to the first logit.
    """

    def __init__(self) -> None:
        self.read, self.next, self.next_logit = Signal(), Signal(), Signal()
        self.to_control, self.to_logits = Signal(), Signal()
        self.control = Signal(Control)

    def add_to(
        self, m: Module, address: Value, host: wiring.PureInterface, host_map: HostMap
    ) -> None:
        offset = address[: host_map.offset_bits]
        with m.If(host.write | self.next | self.next_logit):
            m.d.sync += offset.eq(offset + self._step(host_map.config, offset))
        with m.If(self.to_control):
            m.d.sync += address.eq(host_map.address(Region.CONTROL) | self.control)
        with m.If(self.to_logits):
            m.d.sync += address.eq(host_map.address(Region.LOGITS))
        m.d.comb += host.address.eq(address)
        m.d.sync += host.read.eq(self.read)

    def _step(self, config: EngineConfig, offset: Value) -> Value:
        """1, or more to the next logit where the number of tiles leaves a gap."""
        gap = (1 << config.bank_bits) - config.tiles
        last_tile = offset[: config.bank_bits] == config.tiles - 1
        return Mux(self.next_logit & last_tile, gap + 1, 1) if gap else Const(1)


class Writer:
    """Writes words of the request to the engine, one in each cycle in which ``issue`` is high;
    ``written`` is high when the last word has been written.

    ``issue`` is registered; the ring has a latency of two cycles, and `ReplyWord` one more; the
    host port gets the word one cycle later. With ``pick``, ``byte`` is byte ``picked`` of the word,
    and only it is written.
    """

    def __init__(self) -> None:
        self.issue, self.written = Signal(), Signal()
        self.pick, self.picked, self.byte = Signal(), Signal(range(WORD_BYTES)), Signal(8)

    def add_to(
        self,
        m: Module,
        word: Value,
        host: wiring.PureInterface,
        command: Value,
        cursor: Cursor,
        through: Value,
    ) -> None:
        byte = Signal(range(WORD_BYTES))
        issued = Signal(1 + WORD_LATENCY)
        byte_late = delayed(m, byte, WORD_LATENCY, "byte")
        as_bytes = Signal()
        m.d.comb += self.byte.eq(word.word_select(Mux(self.pick, self.picked, byte_late), 8))
        m.d.sync += [
            as_bytes.eq((command == Command.WRITE_BYTES) | self.pick),
            byte.eq(0),
            issued.eq(Cat(self.issue, issued)),
            host.write.eq(issued[-1]),
            host.write_data.eq(Mux(as_bytes, self.byte, word)),
        ]
        with m.If(issued[0]):
            m.d.sync += byte.eq(byte + as_bytes)
            with m.If(~as_bytes | (byte == WORD_BYTES - 1)):
                m.d.comb += cursor.advance.eq(1)
        m.d.comb += self.written.eq(through & ~issued.any() & ~host.write)


class Tally:
    """Cycles of the last run, frames dropped, frames refused.

    ``clear_cycles`` marks the start of a run; ``refuse`` counts a refused frame, ``discard`` a
    request that a RESET has overtaken.
    """

    def __init__(self) -> None:
        self.engine_busy = Signal(name="_engine_busy")
        self.cycles = Signal(HOST_WORD_BITS)
        self.dropped = Signal(TALLY_BITS)
        self.refused = Signal(TALLY_BITS)
        self.clear_cycles, self.refuse, self.discard = Signal(), Signal(), Signal()

    def add_to(self, m: Module, *, busy: Value, dropped: Value, error: Signal) -> None:
        m.d.sync += self.engine_busy.eq(busy)
        with m.If(self.engine_busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self.clear_cycles):
            m.d.sync += self.cycles.eq(0)
        # A frame may be dropped in the cycle in which a request is discarded.
        discarded = Signal()
        m.d.sync += discarded.eq((discarded & dropped) | self.discard)
        with m.If(dropped | discarded):
            m.d.sync += [self.dropped.eq(self.dropped + 1), error.eq(1)]
        with m.If(self.refuse):
            m.d.sync += self.refused.eq(self.refused + 1)


class ReplyWord:
    """The next word of a reply, from its ``source``; `Source.REQUEST` between replies.

    ``part`` is the word of the header, or `HEADER_WORDS` for the payload. ``hold`` keeps the word.
    ``payload``: words of the payload. ``stored``: write ``word`` to ``place`` of the memory for
    replies.
    """

    def __init__(self) -> None:
        self.word, self.hold = Signal(HOST_WORD_BITS, name="_word", reset_less=True), Signal()
        self.part = Signal(range(HEADER_WORDS + 1), name="_part")
        self.source = Signal(Source, name="_source")
        self.payload = Signal(range(MAX_WORDS + 1), name="_payload")
        self.stored = Signal()
        self.place = Signal(range(SLOT_WORDS))

    def store(self, m: Module, place: ValueLike) -> None:
        """Write the word to this place of the slot of the run."""
        m.d.comb += [self.stored.eq(1), self.place.eq(place)]

    def add_to(
        self,
        m: Module,
        request: Value,
        replies: Value,
        read_data: Value,
        execution: Execution,
        words: Value,
        tally: Tally,
    ) -> None:
        """``request``, ``replies``: what the ring and the memory for replies read; ``words``: the
        remaining words of the payload."""
        status = Cat(execution.status, Const(0, 8 - len(execution.status)))
        in_header = self.part != HEADER_WORDS
        first = self.source == Source.FIRST
        number = Signal(TALLY_BITS)  # of a source that has no more bits
        with m.Switch(self.source):
            with m.Case(Source.DROPPED):
                m.d.comb += number.eq(tally.dropped)
            with m.Case(Source.REFUSED):
                m.d.comb += number.eq(tally.refused)
            with m.Default():
                m.d.comb += number.eq(Mux(in_header, words, execution.running))
        with m.If(~self.hold), m.Switch(self.source):
            with m.Case(Source.FIRST, Source.REQUEST):
                m.d.sync += self.word.eq(
                    Cat(request[:8], Mux(first, status, request[8:16]), request[16:])
                )
            with m.Case(Source.REPLIES):
                m.d.sync += self.word.eq(replies)
            with m.Case(Source.ENGINE):
                m.d.sync += self.word.eq(read_data)
            with m.Case(Source.CYCLES):
                m.d.sync += self.word.eq(tally.cycles)
            with m.Default():
                m.d.sync += self.word.eq(number)


class Registers:
    """All register groups of the host link."""

    def __init__(self, config: EngineConfig):
        self.execution = Execution(config)
        self.runs = Runs()
        self.cursor = Cursor(config)
        self.count = Countdown(config)
        self.target = Target()
        self.writer = Writer()
        self.tally = Tally()
        self.reply = ReplyWord()

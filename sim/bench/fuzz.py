"""Damaged, random and hostile frames against the simulated link.

After each burst of bad frames, the accelerator must answer good requests, and all memories are
read. Every byte from the accelerator is compared with `residuum.sim.link.link_model`, an
independent model of the protocol and the memories. Between some bursts a small network classifies
an image.
"""

from __future__ import annotations

import dataclasses
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Region
from residuum.sim.link.link_model import (
    CLASSIFY,
    IDENTIFY,
    OK,
    READ,
    READ_ONLY,
    RESET,
    RUN,
    STATUS,
    VERSION,
    WRITE,
    WRITE_BYTES,
    LinkModel,
    Memory,
    Scanner,
    encode,
)
from residuum.sim.link.simulated import ChildLink, build_accelerator
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.graph import Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer
from residuum.sw.progress import SILENT, Reporter

# Sizes that are not powers of two, so that some addresses are beyond the end of a memory.
CONFIG = EngineConfig(
    lanes=4,
    tile_lanes=2,
    steps=4,
    weight_rows=100,
    feature_rows=28,
    parameter_rows=12,
    logit_rows=6,
    table_entries=24,
    layers=3,
    receive_words=1536,
)
TAU, T = 2, 2
CLOCK_HZ = 100_000_000
# Longest burst, and number of bursts between two images.
BURST = 40
CLASSIFY_EVERY = 20
# Good requests, and words of them, that may wait in the accelerator for others: it has room for
# these and the longest one of `Frames`.
WAITING, WAITING_WORDS = 8, 400
# Bytes of an image of `small_network`, its last layer, and images on the way at a time.
PIXELS, LAST, IMAGES = 16, 1, 6
# Seconds without an answer until the link counts as hung.
HUNG = 60.0

# Kinds of symbols for the child process, see sim/link/link.cpp.
BYTE, DAMAGE, QUIET, PAUSE = range(4)
Symbol = tuple[int, int]

# Regions that accept the write of a single word.
_WRITABLE = (Region.DESCRIPTORS, Region.TABLES, Region.WEIGHTS, Region.TRAINS)
# The engine has no external memory.
_READABLE = tuple(
    region
    for region in Region
    if region not in (Region.CONTROL, Region.EXTERNAL, Region.MEMORY_TEST)
)


class FuzzError(ResiduumError):
    """The accelerator and the model differ."""


@dataclass
class Report:
    """Totals of a run; ``frames`` counts bad and random frames, but not good requests."""

    frames: int = 0
    bursts: int = 0
    sent: int = 0
    received: int = 0
    executed: int = 0
    dropped: int = 0
    refused: int = 0
    classified: int = 0


class Frames:
    """Makes good and bad requests. A request is the bytes of its words, without the CRC."""

    def __init__(self, rng: random.Random, memory: Memory):
        self.rng = rng
        self.memory = memory

    def request(self, command: int, address: int = 0, count: int = 0, *payload: int) -> bytes:
        first = command | self.rng.getrandbits(16) << 16
        return struct.pack(f"<{3 + len(payload)}I", first, address, count, *payload)

    def good(self) -> bytes:
        """A random request that a device executes; an image only if the program takes it."""
        rng = self.rng
        kinds = (IDENTIFY, READ, WRITE, WRITE, WRITE_BYTES, RUN, CLASSIFY, STATUS, RESET)
        kind = rng.choice(kinds)
        if kind == READ:
            return self.request(READ, *self._range(rng.choice(_READABLE), 256))
        if kind in (WRITE, WRITE_BYTES):
            return self.write(as_bytes=kind == WRITE_BYTES)
        if kind == RUN:
            correction = rng.getrandbits(1) << 16
            layers = rng.choice((0, 0x100, 0x101))
            return self.request(RUN, layers, 1, TAU | T << 8 | correction)
        if kind == CLASSIFY:
            return self.image(rng.choice((PIXELS, rng.randint(1, 4000))))
        # These commands ignore the address; the reply repeats it.
        return self.request(kind, rng.getrandbits(32) if rng.random() < 0.5 else 0)

    def image(self, pixels: int, steps: int = TAU | T << 8) -> bytes:
        """An image of so many bytes for the small network."""
        words = (self.rng.getrandbits(32) for _ in range(-(-pixels // 4)))
        return self.request(CLASSIFY, LAST << 8, pixels, steps, *words)

    def write(self, *, as_bytes: bool) -> bytes:
        rng = self.rng
        region = rng.choice(_WRITABLE)
        # Write whole rows: writing the train of the last lane stores the occupancy of a row.
        unit = CONFIG.tile_lanes if region == Region.TRAINS else 1
        address, count = self._range(region, 1024 if as_bytes else 256, unit)
        words = -(-count // 4) if as_bytes else count
        payload = (rng.getrandbits(32) for _ in range(words))
        return self.request(WRITE_BYTES if as_bytes else WRITE, address, count, *payload)

    def _range(self, region: Region, most: int, unit: int = 1) -> tuple[int, int]:
        """A random address range in a region, aligned to ``unit`` words: address and count."""
        size = self.memory.size(region) // unit
        count = self.rng.randint(1, min(most // unit, size))
        return self._at(region, unit * self.rng.randint(0, size - count)), unit * count

    def _at(self, region: int, offset: int = 0) -> int:
        return region << self.memory.host_map.offset_bits | offset

    # Undamaged frames with requests that a device refuses.

    def unknown(self) -> bytes:
        rng = self.rng
        frame = bytearray(self.good())
        if rng.random() < 0.5:
            frame[0] = rng.choice((0, rng.randint(9, 255)))
        else:
            frame[1] = rng.randint(1, 255)
        return bytes(frame)

    def bad_count(self) -> bytes:
        frame = bytearray(self.good())
        frame[8:12] = struct.pack("<I", self._odd_number())
        return bytes(frame)

    def bad_length(self) -> bytes:
        frame = self.good()
        if self.rng.random() < 0.5 and len(frame) > 12:
            return frame[: self.rng.randrange(12, len(frame), 4)]
        return frame + self.rng.randbytes(4 * self.rng.randint(1, 8))

    def out_of_range(self) -> bytes:
        rng = self.rng
        region = rng.randrange(16)
        size = self.memory.size(Region(region)) if region in _READABLE else 0
        count = rng.randint(1, 256)
        # Number of words beyond the end: one, some, all, or more.
        beyond = rng.choice((1, rng.randint(1, count), count, 500))
        last = (1 << self.memory.host_map.offset_bits) - 1
        address = self._at(region, min(max(0, size + beyond - count), last))
        if rng.random() < 0.2:
            address = self._odd_number()
        if rng.random() < 0.3:
            return self.request(READ, address, count)
        return self.request(WRITE, address, count, *(rng.getrandbits(32) for _ in range(count)))

    def not_writable(self) -> bytes:
        rng = self.rng
        region = rng.choice((Region.CONTROL, *READ_ONLY))
        count = rng.randint(1, 4)
        return self.request(WRITE, self._at(region), count, *(rng.getrandbits(32),) * count)

    def bad_run(self) -> bytes:
        rng = self.rng
        if rng.random() < 0.5:
            steps = rng.choice((0, TAU, 5 << 8, 4 | 1 << 8, 255 | 255 << 8))
            if rng.random() < 0.3:
                steps = T << 8 | 1 << rng.randint(17, 31)
            if rng.random() < 0.5:
                return self.image(PIXELS, steps)
            return self.request(RUN, 0x100, 1, steps)
        layers = rng.choice((0x001, 0x300, 0x303, 0xFFFF, 0x1_0100, 0x8000_0100))
        return self.request(RUN, layers, 1, TAU | T << 8)

    def reply(self) -> bytes:
        """A reply, sent to a device."""
        words = [self.rng.getrandbits(32) for _ in range(self.rng.randint(1, 40))]
        return self.request(READ, self._at(Region.TRAINS), len(words), *words)

    def anything(self) -> bytes:
        return self.rng.randbytes(4 * self.rng.randint(3, 40))

    def _odd_number(self) -> int:
        rng = self.rng
        edges = (0, 1, 2, 255, 256, 257, 1023, 1024, 1025, 0xFFFF, 1 << 31, (1 << 32) - 1)
        return rng.choice((rng.choice(edges), 1 << rng.randrange(32), rng.getrandbits(32)))


class Damage:
    """Turns frames into symbols, and damages them."""

    def __init__(self, rng: random.Random, frames: Frames):
        self.rng = rng
        self.frames = frames
        self._on_bytes: tuple[Callable[[bytearray], object], ...] = (
            self._flip,
            self._flip_burst,
            self._cut_tail,
            self._cut_head,
            self._insert,
            self._delete,
            self._duplicate,
            self._put_mark,
        )
        self._whole: tuple[Callable[[], bytes], ...] = (
            frames.unknown,
            frames.bad_count,
            frames.bad_length,
            frames.out_of_range,
            frames.not_writable,
            frames.bad_run,
            frames.reply,
            frames.anything,
        )

    def item(self) -> list[Symbol]:
        """One bad frame, or a damaged good frame."""
        rng = self.rng
        kind = rng.randrange(10)
        if kind < 4:
            data = bytearray(encode(self.frames.good()))
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                rng.choice(self._on_bytes)(data)
            return _symbols(data)
        if kind < 7:
            return _symbols(encode(rng.choice(self._whole)()))
        return rng.choice((self._noise, self._marks, self._oversized, self._spliced, self._lost))()

    def _place(self, data: bytearray) -> int:
        return self.rng.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        for _ in range(self.rng.randint(1, 8) if data else 0):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)

    def _flip_burst(self, data: bytearray) -> None:
        start = self._place(data)
        for index in range(start, min(start + self.rng.randint(1, 5), len(data))):
            data[index] ^= self.rng.getrandbits(8)

    def _cut_tail(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _cut_head(self, data: bytearray) -> None:
        del data[: self._place(data)]

    def _insert(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self.rng.randbytes(self.rng.randint(1, 9))

    def _delete(self, data: bytearray) -> None:
        place = self._place(data)
        del data[place : place + self.rng.randint(1, 9)]

    def _duplicate(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = data[place : place + self.rng.randint(1, 9)]

    def _put_mark(self, data: bytearray) -> None:
        data.insert(self._place(data), self.rng.choice((0xC0, 0xDB, 0xDC, 0xDD)))

    def _noise(self) -> list[Symbol]:
        return _symbols(self.rng.randbytes(self.rng.randint(1, 200)))

    def _marks(self) -> list[Symbol]:
        marks = (0xC0, 0xDB, 0xDC, 0xDD, self.rng.getrandbits(8))
        return _symbols(bytes(self.rng.choices(marks, k=self.rng.randint(1, 60))))

    def _oversized(self) -> list[Symbol]:
        count = self.rng.choice((257, 258, 300, 512, 700, CONFIG.receive_words - 1))
        words = [self.rng.getrandbits(32) for _ in range(count)]
        address = Region.WEIGHTS << self.frames.memory.host_map.offset_bits
        return _symbols(encode(self.frames.request(WRITE, address, count, *words)))

    def _spliced(self) -> list[Symbol]:
        one, other = (bytearray(encode(self.frames.good())) for _ in range(2))
        return _symbols(one[: self._place(one)] + other[self._place(other) :])

    def _lost(self) -> list[Symbol]:
        """A good frame with one to three framing errors."""
        symbols = _symbols(encode(self.frames.good()))
        for _ in range(self.rng.randint(1, 3)):
            place = self.rng.randrange(len(symbols))
            symbols[place] = (DAMAGE, symbols[place][1])
        return symbols


def _symbols(data: bytes | bytearray) -> list[Symbol]:
    return [(BYTE, value) for value in data]


def _take(scanner: Scanner, kind: int, value: int) -> bytes | None:
    if kind == BYTE:
        return scanner.byte(value)
    scanner.damage()
    return None


class Session:
    """An accelerator and its model, with the same input."""

    def __init__(self, link: ChildLink, seed: int):
        self.link = link
        self.rng = random.Random(seed)
        identity = tuple(
            value for value in dataclasses.asdict(CONFIG).values() if isinstance(value, int)
        )
        self.model = LinkModel(
            (VERSION, *identity, CLOCK_HZ, *(0,) * 8), Memory(CONFIG), _no_engine
        )
        self.frames = Frames(self.rng, self.model.memory)
        self.damage = Damage(self.rng, self.frames)
        self.report = Report()
        self._input = bytearray()
        self._expected = bytearray()
        self._waiting = self._waiting_words = 0

    def burst(self, count: int) -> None:
        """Send bad frames, then good requests, then read all memories."""
        for _ in range(count):
            self._feed(self._harmless())
        good = [self.frames.request(STATUS), self.frames.request(IDENTIFY)]
        good += [self.frames.write(as_bytes=self.rng.random() < 0.5), self.frames.request(STATUS)]
        for request in good:
            self._feed(_symbols(encode(request)))
        self._read_memories()
        self._exchange(f"burst {self.report.bursts + 1}")
        self.report.frames += count
        self.report.bursts += 1
        self.report.dropped = self.model.scanner.dropped
        self.report.refused = self.model.refused

    def classify(self, program: Program, seed: int) -> None:
        """Load a network, classify an image, and repeat the request as after a lost reply."""
        network = program.network
        generator = np.random.default_rng(seed)
        image = generator.integers(0, 256, network.input_shape, dtype=np.uint8)
        for addresses, words in ((program.addresses, program.words), program.input_writes(image)):
            order = np.argsort(addresses, kind="stable")
            for run in np.split(order, np.flatnonzero(np.diff(addresses[order]) != 1) + 1):
                for part in np.split(run, range(256, len(run), 256)):
                    request = self.frames.request(
                        WRITE, int(addresses[part[0]]), len(part), *words[part].tolist()
                    )
                    self._feed(_symbols(encode(request)))
        self._exchange("loading")
        steps, layers = TAU | T << 8, len(network.layers) - 1 << 8
        self._run_image(network, image, self.frames.request(RUN, layers, 1, steps))
        self._classify_images(program, generator)
        self._adopt((Region.TRAINS, *READ_ONLY))
        self.model.memory.pass_by(steps, layers)
        self.report.classified += 1 + IMAGES

    def _run_image(self, network: IntegerNetwork, image: np.ndarray, request: bytes) -> None:
        """Run the network on an image in the feature memory; then ask again."""
        wire = encode(request)
        (first,), (again,) = self._ask(wire), self._ask(wire)
        status, best = first[0] >> 8 & 0xFF, first[4]
        (right,) = simulate(network, image[None], tau=TAU, T=T).prediction
        if status != OK or best != right or first != again:
            raise FuzzError(
                f"after burst {self.report.bursts} a run gave {first}, repeated {again}; class "
                f"{right} was expected"
            )

    def _classify_images(self, program: Program, generator: np.random.Generator) -> None:
        """Raw images, all under way at once, a damaged one and repetitions among them."""
        network = program.network
        shape = (IMAGES, *network.input_shape)
        images = generator.integers(0, 256, shape, dtype=np.uint8)
        golden = simulate(network, images, tau=TAU, T=T)
        tag = self.rng.getrandbits(16)
        requests = [
            struct.pack(
                "<4I", CLASSIFY | (tag + index & 0xFFFF) << 16, LAST << 8, PIXELS, TAU | T << 8
            )
            + image.tobytes()
            for index, image in enumerate(images)
        ]
        broken = bytearray(encode(requests[0]))
        broken[self.rng.randrange(1, len(broken) - 1)] ^= 1 << self.rng.randrange(8)
        # The model does not see these requests: count what it would count.
        damaged = Scanner()
        assert all(damaged.byte(value) is None for value in broken)
        order = [*range(IMAGES), *self.rng.choices(range(IMAGES - 4, IMAGES), k=3)]
        wire = [encode(requests[index]) for index in order]
        wire.insert(self.rng.randrange(len(wire)), bytes(broken))
        answers = self._ask(b"".join(wire), len(order))
        self.model.scanner.dropped += damaged.dropped
        for index, (first, _, _, status, best, _, *logits) in zip(order, answers, strict=True):
            expected = golden.logits[index] << program.logit_shift
            found = np.array(logits, np.uint32).astype(np.int32)
            right = first == CLASSIFY | (tag + index & 0xFFFF) << 16 and not status
            if not right or best != golden.prediction[index] or not np.array_equal(found, expected):
                raise FuzzError(
                    f"after burst {self.report.bursts} image {index} gave {first:#x}, class {best} "
                    f"and {found}; class {golden.prediction[index]} and {expected} were expected"
                )

    def adopt_memories(self) -> None:
        """Copy the accelerator's memories, whose initial contents are unknown, to the model."""
        self._adopt(_READABLE)

    def _harmless(self) -> list[Symbol]:
        """An item that starts no run: the model cannot predict what a run writes to memories."""
        while True:
            symbols = self.damage.item()
            scanner = self.model.scanner.copy()
            # The END of the next frame may complete a truncated frame.
            frames = (_take(scanner, *symbol) for symbol in [*symbols, (BYTE, 0xC0)])
            if not any(self._runs(frame) for frame in frames if frame is not None):
                return symbols

    def _runs(self, frame: bytes) -> bool:
        return frame[0] in (RUN, CLASSIFY) and self.model.verdict(frame) == OK

    def _feed(self, symbols: list[Symbol]) -> None:
        if self.rng.random() < 0.1:
            self._input += bytes([PAUSE, self.rng.getrandbits(8)])
        if self._holds_reset(symbols):
            # It would overtake requests that wait.
            self._rest()
        for kind, value in symbols:
            self._input += bytes([kind, value])
            frame = _take(self.model.scanner, kind, value)
            if frame is not None:
                self.report.executed += self.model.verdict(frame) == OK
                self._expected += self.model.answer(frame)
                self._waiting += 1
                self._waiting_words += len(frame) // 4 + 2
                # The counters in the answer to a STATUS are those at its time.
                status = frame[:2] == bytes([STATUS, 0])
                many = self._waiting == WAITING or self._waiting_words > WAITING_WORDS
                if status or many or self.rng.random() < 0.5:
                    self._rest()

    def _rest(self) -> None:
        """Wait for the answers of all requests."""
        self._input += bytes([QUIET, 0])
        self._waiting = self._waiting_words = 0

    def _holds_reset(self, symbols: list[Symbol]) -> bool:
        scanner = self.model.scanner.copy()
        frames = (_take(scanner, *symbol) for symbol in symbols)
        return any(frame[:2] == bytes([RESET, 0]) for frame in frames if frame is not None)

    def _read_memories(self) -> None:
        for region in _READABLE:
            for request in self._reads(region):
                self._feed(_symbols(encode(request)))

    def _reads(self, region: Region) -> list[bytes]:
        memory = self.model.memory
        base, size = memory.host_map.address(region), memory.size(region)
        return [
            self.frames.request(READ, base + start, min(256, size - start))
            for start in range(0, size, 256)
        ]

    def _adopt(self, regions: tuple[Region, ...]) -> None:
        for region in regions:
            for request in self._reads(region):
                ((_, address, count, *words),) = self._ask(encode(request))
                self.model.memory.words |= dict(
                    zip(range(address, address + count), words, strict=True)
                )

    def _exchange(self, where: str) -> None:
        """Send the collected input and compare the answer with the model's, byte by byte."""
        self._rest()
        expected, data = bytes(self._expected), bytes(self._input)
        self._expected.clear()
        self._input.clear()
        sender = Thread(target=self.link.send, args=(data,))
        sender.start()
        answer = b""
        while answer != expected and expected.startswith(answer):
            part = self.link.receive(HUNG)
            if not part:
                break
            answer += part
        self.report.sent += len(data) // 2
        self.report.received += len(answer)
        if answer != expected:
            self.link.kill()
            sender.join()
            raise FuzzError(f"{where}: {_difference(answer, expected)}")
        sender.join()

    def _ask(self, wire: bytes, count: int = 1) -> list[list[int]]:
        """The accelerator's replies to requests, in words; the model does not see the requests."""
        self.link.send(b"".join(bytes(symbol) for symbol in _symbols(wire)))
        scanner, replies = Scanner(), []
        while part := self.link.receive(HUNG):
            for value in part:
                frame = scanner.byte(value)
                if frame is not None:
                    replies.append(list(struct.unpack(f"<{len(frame) // 4}I", frame)))
            if len(replies) >= count:
                return replies
        raise FuzzError(f"no answer to a good request after burst {self.report.bursts}")


def _difference(answer: bytes, expected: bytes) -> str:
    """The first difference of two streams of replies, in words."""
    pairs = zip(answer.split(b"\xc0\xc0"), expected.split(b"\xc0\xc0"), strict=False)
    for index, (ours, theirs) in enumerate(pairs):
        if ours != theirs:
            return (
                f"reply {index} is {ours[:60].hex(' ')} ({len(ours)} bytes), the model's is "
                f"{theirs[:60].hex(' ')} ({len(theirs)} bytes)"
            )
    return f"{len(answer)} bytes came, the model has {len(expected)}"


def _no_engine(first: int, last: int, tau: int, T: int, correction: int) -> tuple[int, int]:
    raise FuzzError(f"layers {first}..{last} would have been run")


def small_network() -> IntegerNetwork:
    """A convolution and a dense layer that fit `CONFIG`."""
    rng = np.random.default_rng(1)
    layers = (
        Layer(
            name="conv",
            sources=(Source(rng.integers(-20, 21, (4, 1, 3, 3)), padding=(1, 1, 1, 1)),),
            bias=rng.integers(-50, 51, 4),
            threshold=rng.integers(1000, 4000, 4),
            fraction_bits=0,
        ),
        Layer(
            name="dense",
            sources=(Source(rng.integers(-100, 101, (3, 4, 4, 4)), map=0),),
            bias=rng.integers(-50, 51, 3),
            threshold=None,
            fraction_bits=4,
        ),
    )
    return IntegerNetwork("small", (1, 4, 4), layers, 8)


def fuzz(*, frames: int, seed: int, reporter: Reporter = SILENT) -> Report:
    """Send ``frames`` bad frames to a simulated accelerator; FuzzError at the first difference."""
    program = compile_network(small_network(), CONFIG, tau=TAU, T=T)
    link = ChildLink(build_accelerator(CONFIG), arguments=["--marked"])
    try:
        with reporter.task("bad frames", total=frames, unit="frames") as task:
            session = Session(link, seed)
            session.adopt_memories()
            session.classify(program, seed)
            while session.report.frames < frames:
                count = min(session.rng.randint(1, BURST), frames - session.report.frames)
                session.burst(count)
                if session.report.bursts % CLASSIFY_EVERY == 0:
                    session.classify(program, session.report.bursts)
                task.advance(count)
            session.classify(program, frames)
            return session.report
    finally:
        link.close()

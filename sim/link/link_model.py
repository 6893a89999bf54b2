"""An independent implementation of ``docs/protocol.md``, byte by byte in plain Python.

It was written from the document alone, as the reference for the gateware and the host library, and
shares no code with `residuum.hw.link`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.descriptors import AxisEntry
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap, Region, host_words, split_words

IDENTIFY, READ, WRITE, WRITE_BYTES, RUN, STATUS, RESET, CLASSIFY = range(1, 9)
OK, UNKNOWN, LENGTH, RANGE, BUSY, REFUSED = range(6)
VERSION = 6

LONGEST_REPLY = 260 * 4
SLOTS = 4
MOST_LOGITS = 112
# Fields of the descriptor of an image, in that of layer 0: word, lowest bit, width.
_PIXELS, _PRESENT, _CLASSES = (8, 0, 16), (13, 28, 1), (15, 20, 12)
# Host words of the longest memory word.
_LONGEST = 8
READ_ONLY = (Region.OCCUPANCY, Region.LOGITS, Region.COUNTERS)


@dataclass
class Scanner:
    """Finds valid frames of up to ``longest`` bytes in a stream of bytes, and counts dropped
    ones."""

    longest: int = LONGEST_REPLY
    dropped: int = 0
    _plain: bytearray = field(default_factory=bytearray)
    _escaped: bool = False
    _void: bool = False
    _some: bool = False

    def copy(self) -> Scanner:
        """An independent copy in the same state."""
        return replace(self, _plain=self._plain[:])

    def byte(self, value: int) -> bytes | None:
        """Take one byte. If it ends a valid frame, return the frame without its CRC."""
        if value == 0xC0:
            return self._end()
        self._some = True
        if self._escaped:
            self._escaped = False
            self._void |= value not in (0xDC, 0xDD)
            self._plain.append(0xC0 if value == 0xDC else 0xDB)
        elif value == 0xDB:
            self._escaped = True
        else:
            self._plain.append(value)
        return None

    def damage(self) -> None:
        """Mark that a byte was lost or damaged at this point of the stream."""
        self._void = self._some = True

    def _end(self) -> bytes | None:
        frame, some = bytes(self._plain), self._some
        good = (
            not self._void
            and not self._escaped
            and 16 <= len(frame) <= self.longest
            and len(frame) % 4 == 0
            and frame[-4:] == struct.pack("<I", zlib.crc32(frame[:-4]))
        )
        self._plain, self._escaped, self._void, self._some = bytearray(), False, False, False
        if good:
            return frame[:-4]
        self.dropped += some
        return None


class Memory:
    """A model of the engine's memories, in host words.

    Only for configurations in which a weight row, a table entry and a descriptor word each take one
    host word, and a parameter takes two.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        self.host_map = HostMap(config)
        self.words: dict[int, int] = {}
        self._gathered = [0] * config.banks
        self._latest: tuple[int, ...] = (0,) * _LONGEST
        self._bits = {
            Region.TABLES: AxisEntry.width(config),
            Region.WEIGHTS: config.tile_lanes * config.weight_bits,
            Region.TRAINS: config.steps + 1,
        }

    def size(self, region: Region) -> int:
        """Number of valid addresses of a region, from the first on."""
        c = self.config
        if region in (Region.EXTERNAL, Region.MEMORY_TEST):
            return 0  # the model is of engines without an external memory
        lower = {name: 1 << width for name, width in self.host_map.fields(region)}
        highest = {
            "layer": c.layers,
            "entry": c.table_entries,
            "row": {
                Region.WEIGHTS: c.weight_rows,
                Region.PARAMETERS: c.parameter_rows,
                Region.LOGITS: c.logit_rows,
            }.get(region, c.feature_rows),
        }
        *rest, last = lower
        size = highest[last]
        for name in rest:
            size *= lower[name]
        return size

    def reaches(self, address: int, count: int, *, write: bool) -> bool:
        """Whether a range of addresses may be accessed."""
        number, offset = divmod(address, 1 << self.host_map.offset_bits)
        if number == Region.CONTROL or number not in list(Region):
            return False
        if write and number in READ_ONLY:
            return False
        return offset + count <= self.size(Region(number))

    def read(self, address: int) -> int:
        return self.words.get(address, 0)

    def write(self, address: int, value: int) -> None:
        region = Region(address >> self.host_map.offset_bits)
        width = self._bits.get(region, HOST_WORD_BITS)
        parts = host_words(width)
        # The last part of a memory word stores it whole; the others are the latest words written.
        self.pass_by(value)
        part = address & (1 << bits_for_count(parts)) - 1
        if part != parts - 1:
            return
        whole = sum(word << k * HOST_WORD_BITS for k, word in enumerate(self._latest[-parts:]))
        for k, word in enumerate(split_words(whole & (1 << width) - 1, width)):
            self.words[address - part + k] = word
        if region == Region.TRAINS:
            self._gather(address, value)

    def pass_by(self, *values: int) -> None:
        """Words that are written elsewhere through the same port."""
        self._latest = (*self._latest, *values)[-_LONGEST:]

    def _gather(self, address: int, value: int) -> None:
        """Collect the occupancy of a row lane by lane, as the engine does, and store the row with
        its last lane."""
        c = self.config
        offset = address & (1 << self.host_map.offset_bits) - 1
        lane = offset & (1 << c.lane_bits) - 1
        bank = offset >> c.lane_bits & (1 << c.bank_bits) - 1
        row = offset >> c.lane_bits + c.bank_bits
        spiking = value & (1 << c.steps) - 1 != 0
        earlier = self._gathered[bank] & (1 << lane) - 1
        self._gathered[bank] = earlier | spiking << lane
        if lane == c.tile_lanes - 1:
            place = self.host_map.address(Region.OCCUPANCY, row=row, bank=bank)
            self.words[place] = self._gathered[bank]


# Engine(first, last, tau, T, correction) runs layers first..last and returns class and cycles; the
# logits are in the memory.
Engine = Callable[[int, int, int, int, int], tuple[int, int]]


class LinkModel:
    """A device: bytes in, bytes out.

    Parameters
    ----------
    identity
        Words of the reply to IDENTIFY.
    memory
        Memory for READ and WRITE.
    engine
        Function for RUN and CLASSIFY.

    Attributes
    ----------
    pixels : bytes
        The image of the last CLASSIFY. The model does not pack it into the feature memory.
    """

    def __init__(self, identity: tuple[int, ...], memory: Memory, engine: Engine):
        self.identity = identity
        self.memory = memory
        self.engine = engine
        self.scanner = Scanner(4 * (memory.config.receive_words - 2))
        self.refused = 0
        self.busy = False
        self.pixels = b""
        self._replies: dict[int, tuple[bytes, tuple[int, ...]]] = {}

    def byte(self, value: int) -> bytes | None:
        """Take one byte. If it ends a request, return the reply, else None."""
        frame = self.scanner.byte(value)
        return None if frame is None else self.answer(frame)

    def verdict(self, frame: bytes) -> int:
        """The status of the reply to the request in a valid frame."""
        first, address, count, *payload = struct.unpack(f"<{len(frame) // 4}I", frame)
        command = first & 0xFFFF
        if self.busy and command not in (STATUS, RESET):
            return BUSY
        if not IDENTIFY <= command <= CLASSIFY:
            return UNKNOWN
        if not self._length_fits(command, count, len(payload)):
            return LENGTH
        if command in (READ, WRITE, WRITE_BYTES):
            reached = self.memory.reaches(address, count, write=command != READ)
            return OK if reached else RANGE
        if command in (RUN, CLASSIFY):
            first_layer, last_layer = address & 0xFF, address >> 8
            if not first_layer <= last_layer < self.memory.config.layers:
                return RANGE
            tau, T, correction = _steps(payload[0])
            config = self.memory.config
            if T == 0 or correction > 1 or tau + T > config.steps:
                return REFUSED
            if tau and not (correction or config.masks):
                return REFUSED
            if command == CLASSIFY and not self._takes_pixels():
                return REFUSED
        return OK

    def _length_fits(self, command: int, count: int, payload: int) -> bool:
        if command == CLASSIFY:
            expected = self._image_field(_PIXELS) + 1
            good = count == expected if self._takes_pixels() else count > 0
            return good and payload == 1 + -(-count // 4)
        wanted = {WRITE: count, WRITE_BYTES: -(-count // 4), RUN: 1}.get(command, 0)
        most = {READ: 256, WRITE: 256, WRITE_BYTES: 1024, RUN: 1}.get(command, 0)
        return count <= most and (not most or count > 0) and payload == wanted

    def _takes_pixels(self) -> bool:
        """Whether the program says where pixels go, of an image that is not much larger than the
        ring: the device compares with the next power of two."""
        room = 4 * (self.memory.config.receive_words - 2 - 5)
        most = 1 << (room - 1).bit_length()
        return bool(self._image_field(_PRESENT)) and self._image_field(_PIXELS) < most

    def _image_field(self, place: tuple[int, int, int]) -> int:
        word, low, width = place
        address = self.memory.host_map.address(Region.DESCRIPTORS, layer=0, word=word)
        return self.memory.read(address) >> low & (1 << width) - 1

    def answer(self, frame: bytes) -> bytes:
        """Execute the request in a valid frame and return the bytes of the reply."""
        first, address, count, *payload = struct.unpack(f"<{len(frame) // 4}I", frame)
        status = self.verdict(frame)
        words: tuple[int, ...] = ()
        if status != OK:
            self.refused += 1
        else:
            words = self._execute(first & 0xFF, first >> 16, frame, address, count, payload)
        head = first & 0xFFFF00FF | status << 8
        return encode(struct.pack(f"<{3 + len(words)}I", head, address, len(words), *words))

    def _execute(
        self, command: int, tag: int, frame: bytes, address: int, count: int, payload: list[int]
    ) -> tuple[int, ...]:
        if command in (RUN, CLASSIFY):
            return self._run(tag, frame, address, count, payload)
        if command == STATUS:
            return int(self.busy), self.scanner.dropped & 0xFFFF, self.refused & 0xFFFF
        self._replies.clear()
        if command == IDENTIFY:
            return self.identity
        if command == READ:
            return tuple(self.memory.read(address + index) for index in range(count))
        if command == WRITE_BYTES:
            payload = list(struct.pack(f"<{len(payload)}I", *payload)[:count])
        if command in (WRITE, WRITE_BYTES):
            for index, word in enumerate(payload):
                self.memory.write(address + index, word)
        if command == RESET:
            self.busy = False
        return ()

    def _run(
        self, tag: int, frame: bytes, address: int, count: int, payload: list[int]
    ) -> tuple[int, ...]:
        """The payload of the reply to RUN or CLASSIFY, remembered by the lowest bits of the tag."""
        slot = tag % SLOTS
        earlier, reply = self._replies.get(slot, (b"", ()))
        if earlier == frame:
            return reply
        classes = 0
        if frame[0] == CLASSIFY:
            self.pixels = struct.pack(f"<{len(payload) - 1}I", *payload[1:])[:count]
            classes = self._image_field(_CLASSES) + 1
        self.memory.pass_by(payload[0], address)
        found = self.engine(address & 0xFF, address >> 8, *_steps(payload[0]))
        logits = range(classes if classes <= MOST_LOGITS else 0)
        reply = (0, *found, *(self.memory.read(self._logit(index)) for index in logits))
        self._replies[slot] = frame, reply
        return reply

    def _logit(self, index: int) -> int:
        row, bank = divmod(index, self.memory.config.tiles)
        return self.memory.host_map.address(Region.LOGITS, row=row, bank=bank)


def _steps(word: int) -> tuple[int, int, int]:
    """tau, T and correction of a RUN request."""
    return word & 0xFF, word >> 8 & 0xFF, word >> 16


def encode(frame: bytes) -> bytes:
    """The bytes on the wire for a frame, with CRC, escapes and ENDs."""
    coded = bytearray([0xC0])
    for value in frame + struct.pack("<I", zlib.crc32(frame)):
        coded += {0xC0: b"\xdb\xdc", 0xDB: b"\xdb\xdd"}.get(value, bytes([value]))
    return bytes(coded) + b"\xc0"

"""The frames between host and device, as data and pure functions (``docs/protocol.md``).

Gateware and host library read the same constants; nothing here depends on a port or a clock.
"""

import enum
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, Correction

VERSION = 6

# SLIP (RFC 1055): END delimits a frame, ESC escapes END and ESC inside a frame.
END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD

WORD_BYTES = HOST_WORD_BITS // 8
HEADER_WORDS = 3
MAX_WORDS = 256  # payload words of any frame but CLASSIFY
MAX_BYTES = MAX_WORDS * WORD_BYTES  # payload bytes of WRITE_BYTES
MIN_FRAME_WORDS = HEADER_WORDS + 1
MAX_FRAME_WORDS = HEADER_WORDS + MAX_WORDS + 1  # of a reply
# Requests that a device holds at most, besides the one that it executes.
MAX_REQUESTS = 15
# The last runs whose replies a device remembers, by the lowest bits of their tags.
SLOTS = 4
# Payload words of the reply to a run: these, and for CLASSIFY the logits, if they are not more.
RUN_WORDS = 3  # status of the engine; class; cycles
MAX_LOGITS = 112

DIGEST_WORDS = 4
NAME_WORDS = 4
STATUS_WORDS = 3  # of a reply to STATUS: bit 0 busy; frames dropped; frames refused


class Command(enum.IntEnum):
    """The command of a frame."""

    IDENTIFY = 1
    READ = 2
    WRITE = 3
    WRITE_BYTES = 4
    RUN = 5
    STATUS = 6
    RESET = 7
    CLASSIFY = 8


# Commands that run the engine. Their replies are remembered.
RUNS = (Command.RUN, Command.CLASSIFY)


class Status(enum.IntEnum):
    """How a request ended."""

    OK = 0
    UNKNOWN = 1  # no such command
    LENGTH = 2  # count and payload contradict each other or the limits
    RANGE = 3  # addresses or layers that do not exist or may not be accessed
    BUSY = 4  # a run is in progress
    REFUSED = 5  # the engine cannot run this: T = 0, tau + T > S, no such correction; no pixels


class FrameError(ValueError):
    """The bytes are not a complete, undamaged frame."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A request or a reply. ``payload`` holds 32-bit words."""

    command: int
    tag: int = 0
    address: int = 0
    count: int = 0
    payload: tuple[int, ...] = ()
    status: int = Status.OK

    def pack(self) -> bytes:
        """The words of the frame, the CRC last, without SLIP."""
        first = self.command | self.status << 8 | self.tag << 16
        return add_crc(pack_words((first, self.address, self.count, *self.payload)))

    def encode(self) -> bytes:
        """The bytes on the wire: the packed frame in SLIP framing."""
        return slip_encode(self.pack())

    @classmethod
    def unpack(cls, data: bytes) -> "Frame":
        """The reply in the unescaped bytes between two ENDs; FrameError if it is damaged."""
        words, rest = divmod(len(data), WORD_BYTES)
        if rest or not MIN_FRAME_WORDS <= words <= MAX_FRAME_WORDS:
            raise FrameError(f"{len(data)} bytes are no frame")
        first, address, count, *payload, crc = unpack_words(data)
        if crc != zlib.crc32(data[:-WORD_BYTES]):
            raise FrameError("the CRC does not match")
        return cls(
            command=first & 0xFF,
            status=first >> 8 & 0xFF,
            tag=first >> 16,
            address=address,
            count=count,
            payload=tuple(payload),
        )

    def with_tag(self, tag: int) -> "Frame":
        """The same frame with another tag."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Frame(**values | {"tag": tag})


def identify() -> Frame:
    return Frame(command=Command.IDENTIFY)


def read(address: int, count: int) -> Frame:
    return Frame(command=Command.READ, address=address, count=count)


def write(address: int, words: Sequence[int]) -> Frame:
    return Frame(
        command=Command.WRITE, address=address, count=len(words), payload=tuple(map(int, words))
    )


def write_bytes(address: int, data: bytes) -> Frame:
    """Each byte becomes one host word."""
    return Frame(
        command=Command.WRITE_BYTES, address=address, count=len(data), payload=_bytes_as_words(data)
    )


def run(
    first: int, last: int, *, tau: int, T: int, correction: Correction = Correction.MASK
) -> Frame:
    """Layers `first` to `last` with tau probe steps, T steps of inference, and a correction."""
    steps = tau | T << 8 | correction << 16
    return Frame(command=Command.RUN, address=first | last << 8, count=1, payload=(steps,))


def classify(
    last: int,
    pixels: bytes,
    *,
    tau: int,
    T: int,
    correction: Correction = Correction.MASK,
    first: int = 0,
) -> Frame:
    """Put a raw image into the feature memory, then run layers `first` to `last` as `run` does."""
    steps = tau | T << 8 | correction << 16
    return Frame(
        command=Command.CLASSIFY,
        address=first | last << 8,
        count=len(pixels),
        payload=(steps, *_bytes_as_words(pixels)),
    )


def classify_words(pixels: int) -> int:
    """Words of a CLASSIFY request for an image of so many bytes, its CRC included."""
    return MIN_FRAME_WORDS + 1 + -(-pixels // WORD_BYTES)


def longest_request(config: EngineConfig) -> int:
    """Most words of a request, its CRC included: the memory for requests keeps two of its words."""
    return config.receive_words - 2


def status() -> Frame:
    return Frame(command=Command.STATUS)


def reset() -> Frame:
    return Frame(command=Command.RESET)


def _bytes_as_words(data: bytes) -> tuple[int, ...]:
    return unpack_words(data + bytes(-len(data) % WORD_BYTES))


def pack_words(words: Sequence[int]) -> bytes:
    """Words of 32 bits as bytes, lowest byte first."""
    return struct.pack(f"<{len(words)}I", *words)


def unpack_words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // WORD_BYTES}I", data)


def add_crc(data: bytes) -> bytes:
    """The bytes, followed by their CRC-32 (that of zlib and Ethernet)."""
    return data + pack_words((zlib.crc32(data),))


def slip_encode(data: bytes) -> bytes:
    """The bytes escaped, between two ENDs."""
    escaped = data.replace(bytes([ESC]), bytes([ESC, ESC_ESC]))
    escaped = escaped.replace(bytes([END]), bytes([ESC, ESC_END]))
    return bytes([END]) + escaped + bytes([END])


_BAD_ESCAPE = re.compile(rb"\xdb(?![\xdc\xdd])")


def slip_decode(data: bytes) -> bytes:
    """The unescaped bytes of a frame; FrameError if an escape is undefined."""
    if _BAD_ESCAPE.search(data):
        raise FrameError("an ESC stands before a byte that SLIP does not escape")
    plain = data.replace(bytes([ESC, ESC_END]), bytes([END]))
    return plain.replace(bytes([ESC, ESC_ESC]), bytes([ESC]))


class FrameReader:
    """Finds the frames in a stream of bytes that comes in pieces of any size.

    ``dropped`` counts pieces between two ENDs that are no valid frame; empty pieces are ignored.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.dropped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in these bytes."""
        *pieces, self._rest = (self._rest + data).split(bytes([END]))
        # A longer rest is no frame: cut it, but keep enough for `Frame.unpack` to reject it.
        self._rest = self._rest[: 2 * MAX_FRAME_WORDS * WORD_BYTES + 1]
        return [frame for piece in pieces if piece for frame in self._frame(piece)]

    def _frame(self, piece: bytes) -> Iterable[Frame]:
        try:
            yield Frame.unpack(slip_decode(piece))
        except FrameError:
            self.dropped += 1


# Configuration fields of an identity: all sizes, but not `memory`.
CONFIG_FIELDS = tuple(field.name for field in fields(EngineConfig) if field.type is int)
IDENTITY_WORDS = 1 + len(CONFIG_FIELDS) + 1 + DIGEST_WORDS + NAME_WORDS


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The reply of a device to IDENTIFY.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    clock_hz : int
        The clock of the engine.
    digest : bytes
        Up to 16 bytes that identify the build.
    name : str
        Up to 16 ASCII characters: the program in the memories after configuration; empty if none.

    Raises
    ------
    TypeError, ValueError
        If a parameter has a wrong type or does not fit the payload.
    """

    config: EngineConfig
    clock_hz: int
    digest: bytes = b""
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.config, EngineConfig):
            raise TypeError(f"config must be an EngineConfig, not {self.config!r}")
        if not isinstance(self.clock_hz, int):
            raise TypeError(f"clock_hz must be an integer, not {self.clock_hz!r}")
        if not 0 < self.clock_hz < 1 << HOST_WORD_BITS:
            raise ValueError(f"clock_hz must be in 1..2**32 - 1, not {self.clock_hz!r}")
        if len(self.digest) > DIGEST_WORDS * WORD_BYTES:
            raise ValueError(
                f"digest must have at most {DIGEST_WORDS * WORD_BYTES} bytes, not {self.digest!r}"
            )
        if not self.name.isascii() or len(self.name) > NAME_WORDS * WORD_BYTES:
            raise ValueError(
                f"name must have at most {NAME_WORDS * WORD_BYTES} ASCII characters, "
                f"not {self.name!r}"
            )

    def words(self) -> tuple[int, ...]:
        """The payload of a reply to IDENTIFY."""
        digest = self.digest.ljust(DIGEST_WORDS * WORD_BYTES, b"\0")
        name = self.name.encode("ascii").ljust(NAME_WORDS * WORD_BYTES, b"\0")
        sizes = (getattr(self.config, name) for name in CONFIG_FIELDS)
        return (VERSION, *sizes, self.clock_hz, *unpack_words(digest), *unpack_words(name))

    @classmethod
    def from_words(cls, words: Sequence[int]) -> "Identity":
        """The identity in the payload of a reply to IDENTIFY; ValueError if the payload is
        invalid."""
        if not words or words[0] != VERSION:
            spoken = words[0] if words else "none"
            raise ValueError(f"protocol version {spoken} is not {VERSION}")
        if len(words) != IDENTITY_WORDS:
            raise ValueError(f"an identity has {IDENTITY_WORDS} words, not {len(words)}")
        sizes = dict(zip(CONFIG_FIELDS, words[1:], strict=False))
        clock_hz, *rest = words[1 + len(CONFIG_FIELDS) :]
        return cls(
            config=EngineConfig(**sizes),  # type: ignore[arg-type]
            clock_hz=clock_hz,
            digest=pack_words(rest[:DIGEST_WORDS]),
            name=pack_words(rest[DIGEST_WORDS:]).rstrip(b"\0").decode("ascii"),
        )

"""A model of a device, on a link that fails on demand."""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from collections.abc import Iterable

from residuum.hw.isa.config import EngineConfig
from residuum.sim.link.link_model import LinkModel, Memory, encode
from residuum.sw.host.links import LinkError

CONFIG = EngineConfig(lanes=4, tile_lanes=2, steps=4, weight_rows=1000, feature_rows=300)
CLOCK_HZ = 50_000_000


def identity(config: EngineConfig = CONFIG, *, version: int = 6) -> tuple[int, ...]:
    """The words of a reply to IDENTIFY."""
    c = config
    sizes = (c.lanes, c.tile_lanes, c.event_width, c.steps, c.weight_bits, c.accumulator_bits)
    sizes += (
        c.potential_bits,
        c.fraction_bits,
        c.shift_bits,
        c.weight_rows,
        c.feature_rows,
        c.parameter_rows,
    )
    sizes += (c.logit_rows, c.table_entries)
    name = struct.unpack("<4I", b"digits-8bit".ljust(16, b"\0"))
    return (
        version,
        *sizes,
        c.layers,
        c.masks,
        c.external,
        c.receive_words,
        CLOCK_HZ,
        *struct.unpack("<4I", bytes(range(16))),
        *name,
    )


class FakeLink:
    """A link to a `LinkModel`.

    Each request takes the next of ``faults``, one of the names below or ``""`` for none; after the
    last there are no more faults. Timeouts return at once. The class of a run is the number of
    earlier runs.

    Attributes
    ----------
    requests : list[bytes]
        Sent requests, in order.
    runs : int
        Number of finished runs.
    steps : tuple[int, int, int]
        tau, T and correction of the last run.
    rates : int
        Number of bit rates left, including the current one.
    """

    name = "fake:"
    advice = "this is only a test"
    seconds_per_byte = 0.0
    latency = 5.0
    run_seconds = 0.1

    def __init__(self, *, faults: Iterable[str] = (), words: tuple[int, ...] | None = None):
        self.faults = itertools.chain(faults, itertools.repeat(""))
        self.model = LinkModel(words or identity(), Memory(CONFIG), self._engine)
        self.requests: list[bytes] = []
        self.runs = 0
        self.steps = 0, 0, 0
        self.rates = 1
        self.closed = False
        self._coming: list[bytes] = []
        self._random = random.Random(0)

    def send(self, data: bytes) -> None:
        self.requests.append(data)
        fault = next(self.faults)
        if fault == "unplugged":
            raise LinkError("the connection to fake: broke off")
        if fault == "request lost":
            return
        if fault == "request damaged":
            data = self._damaged(data)
        replies = [reply for value in data if (reply := self.model.byte(value)) is not None]
        for reply in replies:
            self._answer(reply, fault)

    def receive(self, timeout: float) -> bytes:
        return self._coming.pop(0) if self._coming else b""

    def change_rate(self) -> bool:
        self.rates -= 1
        return self.rates > 0

    def close(self) -> None:
        self.closed = True

    def _answer(self, reply: bytes, fault: str) -> None:
        send = self._coming.append
        if fault == "reply lost":
            return
        if fault == "reply damaged":
            send(self._damaged(reply))
        elif fault == "reply cut":
            send(reply[: len(reply) // 2])
        elif fault == "reply late":
            send(b"")
            send(reply)
        elif fault == "reply twice":
            send(reply + reply)
        elif fault == "reply in pieces":
            for start in range(0, len(reply), 7):
                send(reply[start : start + 7])
        elif fault == "reply of an older tag":
            send(_changed(reply, tag=-1) + reply)
        elif fault == "reply of an older tag only":
            send(_changed(reply, tag=-1))
        elif fault == "reply of another command":
            send(_changed(reply, command=1) + reply)
        elif fault == "noise":
            send(self._random.randbytes(50) + reply)
        else:
            send(reply)

    def _damaged(self, data: bytes) -> bytes:
        place = self._random.randrange(1, len(data) - 1)
        return data[:place] + bytes([data[place] ^ 0x01]) + data[place + 1 :]

    def _engine(self, first: int, last: int, tau: int, T: int, correction: int) -> tuple[int, int]:
        self.runs += 1
        self.steps = tau, T, correction
        return self.runs - 1, 1000 + self.runs


# Faults that a few retries overcome.
PASSING = (
    *("", "request lost", "request damaged", "reply lost", "reply damaged", "reply cut"),
    *("reply late", "reply twice", "reply in pieces", "reply of an older tag"),
    *("reply of an older tag only", "reply of another command", "noise"),
)


def _changed(reply: bytes, *, tag: int = 0, command: int = 0) -> bytes:
    """The reply with another tag or command, and other words."""
    plain = reply[1:-1].replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    assert plain[-4:] == struct.pack("<I", zlib.crc32(plain[:-4]))
    first, *words = struct.unpack(f"<{len(plain) // 4 - 1}I", plain[:-4])
    first = (first >> 16) + tag << 16 & 0xFFFF_0000 | (first & 0xFFFF) + command
    words[2:] = [word ^ 0x5555_5555 for word in words[2:]]
    return encode(struct.pack(f"<{1 + len(words)}I", first, *words))

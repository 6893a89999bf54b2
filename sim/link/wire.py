"""A model of the wire to a board: a UART, and the USB bridge between it and the host.

Nothing here waits: all functions take and return times, in seconds on any clock. `PacedLink`
(``paced.py``) waits in real time, `VirtualLink` (``virtual.py``) has a clock of its own.

Source: FTDI, AN232B-04 (small amounts of data, end of buffer): a bridge hands bytes to the host
when a packet is full, two of its bytes are status, or when its latency timer ends. The timer there
runs from the last packet, so a byte waits up to its period; here every first byte waits a whole
period, the worst case. For requests of 1 KiB, each of which waits for a short reply, at 3 Mbaud
the model gives 51 KiB/s at 16 ms and 223 KiB/s at 1 ms; users report 50 to 60 and 220 to 250.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from residuum.sw.errors import ResiduumError

# Eight data bits, a start bit and a stop bit.
BITS_PER_BYTE = 10
STATUS_BYTES = 2
LATENCIES = range(1, 256)  # milliseconds that a bridge can be set to
DEFAULT_LATENCY = 16


@dataclass(frozen=True)
class Bridge:
    """A USB bridge: its highest bit rate, and the bytes of a bulk packet of its USB speed."""

    name: str
    most_baud: int
    packet: int


# In the order of their rates: FT231X data sheet (USB full speed), FT2232H data sheet (high speed).
BRIDGES = (Bridge("FT231X", 3_000_000, 64), Bridge("FT2232H", 12_000_000, 512))


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A UART with a bridge.

    Parameters
    ----------
    baud : int
        Bits per second, up to 12,000,000: with an FT231X up to 3,000,000, above with an FT2232H.
    latency : int
        Period of the latency timer of the bridge in milliseconds, 1 .. 255.

    Raises
    ------
    ResiduumError
        If no bridge can do that.
    """

    baud: int
    latency: int = DEFAULT_LATENCY

    def __post_init__(self) -> None:
        if not 0 < self.baud <= BRIDGES[-1].most_baud:
            raise ResiduumError(
                f"{self.baud:,} is no baud rate of a bridge; give 1 to {BRIDGES[-1].most_baud:,}"
            )
        if self.latency not in LATENCIES:
            raise ResiduumError(
                f"{self.latency} ms is no latency of a bridge; give {LATENCIES[0]} to "
                f"{LATENCIES[-1]} milliseconds"
            )

    @property
    def bridge(self) -> Bridge:
        """The slowest bridge that has this rate."""
        return next(bridge for bridge in BRIDGES if self.baud <= bridge.most_baud)

    @property
    def seconds_per_byte(self) -> float:
        return BITS_PER_BYTE / self.baud

    @property
    def seconds_of_latency(self) -> float:
        return 1e-3 * self.latency


class WireUp:
    """The wire from the host to the device. The bridge takes bytes faster than the UART sends."""

    def __init__(self, wire: Wire):
        self._wire = wire
        self._free = 0.0
        self.busy = 0.0  # seconds that bytes took

    def send(self, now: float, count: int) -> float:
        """The time at which the last of ``count`` bytes, handed over now, is at the device."""
        taken = count * self._wire.seconds_per_byte
        self._free = max(now, self._free) + taken
        self.busy += taken
        return self._free


class WireDown:
    """The wire from the device to the host: bytes wait in the bridge for a full packet or for its
    timer."""

    def __init__(self, wire: Wire):
        self._wire = wire
        self._room = wire.bridge.packet - STATUS_BYTES
        self._free = 0.0
        self._waiting = bytearray()
        self._timer = 0.0  # when the timer of the waiting bytes ends
        self._packets: deque[tuple[float, bytes]] = deque()
        self.busy = 0.0  # seconds that bytes took

    def send(self, now: float, data: bytes) -> None:
        """The device has these bytes ready now; the calls are in the order of time."""
        for byte in data:
            self._free = max(now, self._free) + self._wire.seconds_per_byte
            self.busy += self._wire.seconds_per_byte
            if self._waiting and self._free > self._timer:
                self._end_packet(self._timer)
            if not self._waiting:
                self._timer = self._free + self._wire.seconds_of_latency
            self._waiting.append(byte)
            if len(self._waiting) == self._room:
                self._end_packet(self._free)

    def due(self) -> float | None:
        """When the next packet is at the host; None if no byte is on its way."""
        if self._packets:
            return self._packets[0][0]
        return self._timer if self._waiting else None

    def receive(self, now: float) -> bytes:
        """The bytes that are at the host by now, and were not before."""
        if self._waiting and self._timer <= now:
            self._end_packet(self._timer)
        data = b""
        while self._packets and self._packets[0][0] <= now:
            data += self._packets.popleft()[1]
        return data

    def _end_packet(self, time: float) -> None:
        self._packets.append((time, bytes(self._waiting)))
        self._waiting.clear()

"""A link on a clock of its own: the wire by its model, the device by its cycles.

It measures what a user of a board sees, images per second, with a simulated device, exactly the
same on every computer and without waiting.
"""

from __future__ import annotations

from residuum.hw.isa.protocol import END, RUNS, FrameReader
from residuum.sim.link.wire import Wire, WireDown, WireUp
from residuum.sw.host.links import Link, LinkError

# Cycles of the device for each byte of a request or reply, besides those of the run: at most 4 to
# put a byte of an image into the feature memory, 1 to execute a byte of another request.
CYCLES_PER_BYTE = 4
# Word of the payload of a reply to a run that says how many cycles the engine ran.
CYCLES_WORD = 2
# Real seconds for the answer of the device itself.
_PATIENCE = 600.0


class VirtualLink:
    """A link to a device that answers every request, behind a model of the wire.

    Closing it closes the other link.

    Parameters
    ----------
    link
        The device, which may take any real time.
    wire
        The wire and its bridge.
    clock_hz
        Clock of the engine: a run takes the cycles in its reply.

    Attributes
    ----------
    now : float
        Seconds on the clock of this link: of sending and receiving, and of waiting for replies. The
        host itself takes no time.
    engine : float
        Seconds of all runs.
    """

    advice = "this is a fault of the simulated engine"
    latency = 1.0
    run_seconds = 20.0

    def __init__(self, link: Link, wire: Wire, *, clock_hz: int):
        self._link = link
        self._clock_hz = clock_hz
        self.name = link.name
        self.seconds_per_byte = wire.seconds_per_byte
        self.up, self.down = WireUp(wire), WireDown(wire)
        self.now = self.engine = 0.0
        self._free = 0.0  # when the device has answered all requests
        self._request = bytearray()

    def send(self, data: bytes) -> None:
        for byte in data:
            arrived = self.up.send(self.now, 1)
            self._request.append(byte)
            # The first END of a frame ends an empty one.
            if byte == END and len(self._request) > 2:
                self._execute(bytes(self._request), arrived)
                self._request.clear()

    def receive(self, timeout: float) -> bytes:
        due = self.down.due()
        if due is None or due > self.now + timeout:
            self.now += timeout
            return b""
        self.now = max(self.now, due)
        return self.down.receive(self.now)

    def change_rate(self) -> bool:
        return False

    def close(self) -> None:
        self._link.close()

    def _execute(self, request: bytes, arrived: float) -> None:
        self._link.send(request)
        reader, reply = FrameReader(), b""
        while True:
            data = self._link.receive(_PATIENCE)
            if not data:
                raise LinkError(f"{self.name} does not answer; start it again")
            reply += data
            if frames := reader.feed(data):
                break
        (frame,) = frames
        cycles = frame.payload[CYCLES_WORD] if frame.command in RUNS and frame.payload else 0
        run = cycles / self._clock_hz
        others = CYCLES_PER_BYTE * (len(request) + len(reply)) / self._clock_hz
        self._free = max(arrived, self._free) + run + others
        self.engine += run
        self.down.send(self._free, reply)

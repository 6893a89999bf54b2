"""A link that is as slow as the wire to a board, in real time."""

from __future__ import annotations

import queue
import time
from threading import Thread

from residuum.sim.link.wire import Wire, WireDown, WireUp
from residuum.sw.host.links import Link, LinkError

# Bytes reach the device in pieces of this many seconds: less than a system can wait exactly.
_PIECE_SECONDS = 0.5e-3
_SLICE = 0.05


class PacedLink:
    """A link to a device behind a model of the wire; closing it closes the other link.

    Bytes take their time at the baud rate in both directions, and replies wait for the bridge.
    ``send`` does not wait, as a system with buffers. What the device itself takes is added: a
    simulated engine is slower than one on a board.
    """

    def __init__(self, link: Link, wire: Wire):
        self._link = link
        self.name = link.name
        self.advice = link.advice
        self.run_seconds = link.run_seconds
        self.seconds_per_byte = wire.seconds_per_byte
        self.latency = link.latency + wire.seconds_of_latency
        self._piece = max(1, int(_PIECE_SECONDS / wire.seconds_per_byte))
        self._up, self._down = WireUp(wire), WireDown(wire)
        self._pieces: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self._error: LinkError | None = None
        self._thread = Thread(target=self._forward, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        self._check()
        now = time.monotonic()
        for start in range(0, len(data), self._piece):
            piece = data[start : start + self._piece]
            self._pieces.put((self._up.send(now, len(piece)), piece))

    def receive(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while True:
            self._check()
            now = time.monotonic()
            if data := self._down.receive(now):
                return data
            if now >= deadline:
                return b""
            due = self._down.due()
            until = min(deadline, now + _SLICE, deadline if due is None else due)
            if data := self._link.receive(max(0.0, until - now)):
                self._down.send(time.monotonic(), data)

    def change_rate(self) -> bool:
        return False

    def close(self) -> None:
        self._pieces.put(None)
        self._thread.join()
        self._link.close()

    def _forward(self) -> None:
        """Hands pieces to the device when they have arrived there."""
        while (item := self._pieces.get()) is not None:
            due, piece = item
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self._link.send(piece)
            except LinkError as error:
                self._error = error
                return

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

"""Where the time of classifications on a device goes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from residuum.sw.host.device import Device


@dataclass(frozen=True)
class TimeSpent:
    """Seconds for some images, from the first to the last.

    Attributes
    ----------
    total
        On the user's clock.
    up, down
        Bytes on the wire to the device, and from it.
    engine
        Cycles of the runs at the clock of the device.
    host
        Work of this process.
    """

    images: int
    total: float
    up: float
    down: float
    engine: float
    host: float

    @property
    def rate(self) -> float:
        """Images per second, end to end."""
        return self.images / self.total if self.total else 0.0

    @property
    def sentence(self) -> str:
        """Rate and times of an image. Wire, engine and host may work at the same time, so their
        times need not add up."""
        parts = {"wire up": self.up, "engine": self.engine, "wire down": self.down}
        parts["host"] = self.host
        each = ", ".join(f"{name} {1e3 * part / self.images:.2f}" for name, part in parts.items())
        milliseconds = 1e3 * self.total / self.images
        return (
            f"{self.rate:,.1f} images/s end to end; ms per image: {milliseconds:.2f}, of it {each}"
        )


class Stopwatch:
    """Measures from its construction on."""

    def __init__(self, device: Device):
        self._device = device
        self._bytes = device.sent, device.received
        self._started = time.monotonic()
        self._worked = time.process_time()

    def stop(self, *, images: int, cycles: int) -> TimeSpent:
        """The time since the start, for images whose runs took so many cycles in all."""
        total, host = time.monotonic() - self._started, time.process_time() - self._worked
        device, (sent, received) = self._device, self._bytes
        each = device.link.seconds_per_byte
        return TimeSpent(
            images,
            total,
            up=(device.sent - sent) * each,
            down=(device.received - received) * each,
            engine=cycles / device.identity.clock_hz,
            host=host,
        )

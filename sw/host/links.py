"""Links: byte streams to a device, opened by an address (``serial:/dev/ttyUSB0``, ``sim:``)."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    import serial

    from residuum.sw.network.integer_network import IntegerNetwork

# Baud rates of the boards, those of most boards first; `residuum boards` lists them by board. A
# bridge that does not have a rate takes another one, and then nothing answers.
RATES = (3_000_000, 12_000_000, 1_000_000, 115_200)
FORMS = "serial:PORT, serial:PORT@BAUD or sim:"

# Seconds that a USB adapter and a busy computer add to the transfer time.
_SERIAL_LATENCY = 0.3
# Eight data bits, a start bit and a stop bit.
_BITS_PER_BYTE = 10
# Seconds between two checks of the timeout while waiting for bytes.
_SERIAL_SLICE = 0.05


class LinkError(ResiduumError):
    """A link cannot be opened, or it broke."""


class Link(Protocol):
    """A bidirectional byte stream, which may lose or damage bytes but keeps their order.

    Attributes
    ----------
    name
        The address, for messages.
    seconds_per_byte
        Transfer time of a byte, in either direction.
    latency
        Seconds that an answer may take in addition to its transfer time.
    run_seconds
        Seconds after which a run counts as hung.
    advice
        Advice for a user whose device does not answer.
    """

    name: str
    advice: str
    seconds_per_byte: float
    latency: float
    run_seconds: float

    def send(self, data: bytes) -> None:
        """Send all bytes; LinkError if the link is gone."""

    def receive(self, timeout: float) -> bytes:
        """Wait for at least one byte and return all received bytes.

        Returns ``b""`` if none came within ``timeout`` seconds; LinkError if the link is gone.
        """

    def change_rate(self) -> bool:
        """Switch to the next possible bit rate of the device; False if none is left."""

    def close(self) -> None:
        """Close the link for good."""


class Opener(Protocol):
    """Opens links whose addresses have a certain prefix."""

    def __call__(self, options: str, *, network: IntegerNetwork | None, steps: int | None) -> Link:
        """``options`` is the part after the colon; see `open_link`."""


def open_link(
    address: str,
    *,
    network: IntegerNetwork | None = None,
    steps: int | None = None,
    openers: Mapping[str, Opener] | None = None,
) -> Link:
    """Open the link with the given address.

    Parameters
    ----------
    network, steps
        Sizes for a simulated engine; a real device has fixed sizes.
    openers
        Openers for prefixes other than ``serial``, such as the simulation's ``sim``.

    Raises
    ------
    ResiduumError
        Says what is wrong and what to do.
    """
    kind, colon, rest = address.partition(":")
    if colon and kind == "serial" and rest:
        port, rates = split_baud(rest)
        return SerialLink(port, rates)
    if colon and openers and kind in openers:
        return openers[kind](rest, network=network, steps=steps)
    raise LinkError(f"{address!r} names no device; write {FORMS}")


def split_baud(text: str) -> tuple[str, tuple[int, ...]]:
    """Port and possible baud rates of ``PORT[@BAUD]``."""
    port, at, baud = text.rpartition("@")
    if not at:
        return text, RATES
    # Nine digits are beyond any port, and within what pyserial converts.
    if not baud.isdecimal() or len(baud) > 9 or int(baud) == 0:
        raise LinkError(f"{baud!r} in serial:{text} is no baud rate; write serial:PORT@BAUD")
    return port, (int(baud),)


class SerialLink:
    """A serial port: 8 data bits, no parity, one stop bit, no flow control, low latency.

    Starts with the first of several baud rates; `change_rate` switches to the next.

    Attributes
    ----------
    low_latency : bool
        The system has set the port to low latency: a bridge waits 1 ms for more bytes before it
        hands a short reply over, instead of the usual 16 ms.
    """

    run_seconds = 20.0
    advice = (
        "check that this is the right port, that the board has power and is loaded "
        "(`make program`), and its baud rate (serial:PORT@BAUD)"
    )

    latency = _SERIAL_LATENCY

    def __init__(self, port: str, rates: Sequence[int] = RATES):
        self.name = f"serial:{port}"
        self._port_name = port
        self._rates = list(rates)
        self._port = self._open(port, self._next_rate())
        self.low_latency = _set_low_latency(self._port)

    def _next_rate(self) -> int:
        rate = self._rates.pop(0)
        self.seconds_per_byte = _BITS_PER_BYTE / rate
        return rate

    def _open(self, port: str, baud: int) -> serial.Serial:
        import serial

        try:
            return serial.Serial(
                port, baud, timeout=_SERIAL_SLICE, write_timeout=2.0, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise LinkError(_why_not_open(port, baud, error)) from None

    def change_rate(self) -> bool:
        if not self._rates:
            return False
        rate = self._next_rate()
        try:
            self._port.baudrate = rate
        except (OSError, ValueError) as error:
            raise LinkError(_why_not_open(self._port_name, rate, error)) from None
        return True

    def send(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except OSError as error:
            raise self._broken(error) from None

    def receive(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        try:
            while True:
                first: bytes = self._port.read(1)
                if first:
                    return first + bytes(self._port.read(self._port.in_waiting))
                if time.monotonic() >= deadline:
                    return b""
        except (OSError, TypeError) as error:
            # pyserial raises TypeError if the port vanishes during a read.
            raise self._broken(error) from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()

    def _broken(self, error: Exception) -> LinkError:
        import serial

        if isinstance(error, serial.SerialTimeoutException):
            return LinkError(f"{self._port_name} takes no more bytes; unplug the board, try again")
        return LinkError(
            f"the connection to {self._port_name} broke off; check the cable, then start again"
        )


def _set_low_latency(port: serial.Serial) -> bool:
    """Ask the system for low latency of a port; whether it does that. Linux does, for USB bridges
    with a latency timer; other ports and systems have no such setting."""
    try:
        port.set_low_latency_mode(True)
    except (OSError, ValueError, NotImplementedError, AttributeError):
        return False
    return True


HIGH_LATENCY = (
    "the system sets no low latency on this port, so each reply may wait 16 ms in a USB bridge; "
    "where the driver of the port has a latency timer, set it to 1 ms (docs/boards.md)"
)


def latency_note(link: Link) -> str | None:
    """What a user should know of the latency of a link; None if it is low, or has none."""
    return None if getattr(link, "low_latency", True) else HIGH_LATENCY


def _why_not_open(port: str, baud: int, error: Exception) -> str:
    """The error message for a port that could not be opened."""
    reason = getattr(error, "errno", None)
    if reason == errno.ENOENT:
        from serial.tools.list_ports import comports

        known = ", ".join(sorted(found.device for found in comports())) or "none"
        return f"there is no serial port {port}; those of this computer: {known}"
    if reason in (errno.EACCES, errno.EPERM):
        return (
            f"you may not use {port}; on Linux, add yourself to the group of the port "
            f"(`sudo usermod -aG dialout $USER`) and log in again"
        )
    if reason in (errno.EBUSY, errno.EAGAIN):
        return f"another program uses {port}; close it and try again"
    if isinstance(error, ValueError):
        return f"{port} cannot be set to {baud} baud; give another rate as serial:{port}@BAUD"
    return f"{port} cannot be used as a serial port ({error}); is it the right one?"

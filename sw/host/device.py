"""A device behind a link: requests with retries, and answers that belong to them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from residuum.hw.isa import protocol
from residuum.hw.isa.host_map import HostMap, Region
from residuum.hw.isa.protocol import (
    MAX_BYTES,
    MAX_WORDS,
    Command,
    Frame,
    FrameReader,
    Identity,
    Status,
)
from residuum.sw.checks import whole_number, whole_numbers
from residuum.sw.compiler.program import Program
from residuum.sw.errors import ResiduumError
from residuum.sw.host.links import Link, LinkError

Done = Callable[[int], None]

ATTEMPTS = 5
# Fewer while a device is looked for: they are made at every bit rate.
ATTEMPTS_TO_FIND = 3
# Reading a gap of up to this many unwanted words takes less time than another request.
BRIDGED_WORDS = 16

_WORD_BYTES = 4
# SLIP may double every byte of a frame, beside its two ENDs.
_FRAME_BYTES = 2 * _WORD_BYTES * protocol.MIN_FRAME_WORDS + 2


# A layer, tau and T have a byte each in a request to run.
_MAX_FIELD = 0xFF
_MAX_ADDRESS = 0xFFFFFFFF


def ignore(words: int) -> None:
    """Takes no notice of the progress of a transfer."""


def _address(value: int) -> int:
    return whole_number("an address", value, least=0, most=_MAX_ADDRESS)


class DeviceError(ResiduumError):
    """A device does not answer, or not as it should."""


class NoAnswer(DeviceError):
    """No request of several got a reply."""


class Refused(DeviceError):
    """The device answered that it does not do what it was asked for; ``status`` says why."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RunResult:
    """Class with the largest logit (of the last output layer that ran) and cycles of a run."""

    best: int
    cycles: int


@dataclass(frozen=True)
class DeviceStatus:
    """Whether a run is going, and how many frames were dropped and refused since power-up."""

    busy: bool
    dropped: int
    refused: int


class Device:
    """A device, found and identified.

    A request that gets no reply is sent again under the same tag, up to `ATTEMPTS` times. Repeating
    is harmless: a run whose reply was lost is not done again, and a frame of words to be written
    begins and ends with whole memory words. A reply counts only for the request that has its
    command, tag and address; everything else that comes is ignored.

    Parameters
    ----------
    link
        Closed with the device.

    Attributes
    ----------
    identity : Identity
        Engine, clock, build and program, as the device told them.
    retries : int
        Requests that had to be sent again.
    program : Program or None
        What the memories are known to hold: set by who wrote or read it, None again after other
        words were written there, and after the device fell silent (it may have lost its power).
        A reset keeps the memories. A board that is configured anew between two requests is not
        noticed.

    Raises
    ------
    ResiduumError
        One sentence: nothing answers, another protocol version, the link broke off.
    """

    def __init__(self, link: Link):
        self.link = link
        self.retries = 0
        self.program: Program | None = None
        self._reader = FrameReader()
        # The first tag is random, so that stale replies to an earlier session are rejected.
        self._tag = random.getrandbits(16)
        self._known = False
        try:
            self.identity = self._find()
        except BaseException:
            link.close()
            raise
        self._known = True

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.link.close()

    @property
    def host_map(self) -> HostMap:
        return HostMap(self.identity.config)

    def identify(self) -> Identity:
        """What the device tells about itself."""
        words = self._request(protocol.identify(), protocol.IDENTITY_WORDS, exact=False).payload
        try:
            return Identity.from_words(words)
        except (ValueError, TypeError) as error:
            raise DeviceError(
                f"{self.link.name} does not fit this version of the program ({error}); "
                f"build its bitstream anew, with `make bitstream`"
            ) from None

    def read(self, address: int, count: int, *, done: Done = ignore) -> np.ndarray:
        """Words at consecutive addresses, uint32; ``done`` is told how many after every frame."""
        address, count = _address(address), whole_number("a number of words", count, least=0)
        parts: list[int] = []
        for start, stop in _cut(address, count, MAX_WORDS):
            parts += self._request(protocol.read(start, stop - start), stop - start).payload
            done(stop - start)
        return np.array(parts, np.uint32)

    def read_scattered(self, addresses: np.ndarray, *, done: Done = ignore) -> np.ndarray:
        """Words at any addresses, uint32, in few requests; those between them may be read too."""
        addresses = whole_numbers("addresses", addresses, np.uint32, 1).astype(np.int64)
        wanted, places = np.unique(addresses, return_inverse=True)
        regions = wanted >> self.host_map.offset_bits
        breaks = (np.diff(wanted) > BRIDGED_WORDS) | (np.diff(regions) != 0)
        words = [
            self.read(int(run[0]), int(run[-1] - run[0]) + 1, done=done)[run - run[0]]
            for run in np.split(wanted, np.flatnonzero(breaks) + 1)
            if len(run)
        ]
        return np.concatenate([np.empty(0, np.uint32), *words])[places]

    def write(self, address: int, words: np.ndarray, *, done: Done = ignore) -> None:
        """Write words to consecutive addresses; ``done`` is told how many after every frame."""
        address, words = _address(address), whole_numbers("words", words, np.uint32, 1)
        if address >> self.host_map.offset_bits != Region.TRAINS:
            self.program = None
        short = bool((words < 256).all())
        for start, stop in _cut(address, len(words), MAX_BYTES if short else MAX_WORDS):
            part = words[start - address : stop - address]
            if short:
                frame = protocol.write_bytes(start, part.astype(np.uint8).tobytes())
            else:
                frame = protocol.write(start, part.tolist())
            self._request(frame, 0)
            done(len(part))

    def write_scattered(
        self, addresses: np.ndarray, words: np.ndarray, *, done: Done = ignore
    ) -> None:
        """Write words to any addresses, in ascending order of them."""
        addresses = whole_numbers("addresses", addresses, np.uint32, 1)
        words = whole_numbers("words", words, np.uint32, 1)
        if len(addresses) != len(words):
            raise ResiduumError(f"{len(words)} words cannot go to {len(addresses)} addresses")
        order = np.argsort(addresses, kind="stable")
        addresses, words = addresses[order].astype(np.int64), words[order]
        breaks = np.flatnonzero(np.diff(addresses) != 1) + 1
        for run, values in zip(np.split(addresses, breaks), np.split(words, breaks), strict=True):
            if len(run):
                self.write(int(run[0]), values, done=done)

    def run(self, first: int, last: int, *, tau: int, T: int) -> RunResult:
        """Run layers first..last and wait for the end."""
        first = whole_number("the first layer", first, least=0, most=_MAX_FIELD)
        last = whole_number("the last layer", last, least=0, most=_MAX_FIELD)
        tau = whole_number("tau", tau, least=0, most=_MAX_FIELD)
        T = whole_number("T", T, least=1, most=_MAX_FIELD)
        frame = protocol.run(first, last, tau=tau, T=T)
        reply = self._request(frame, protocol.RUN_WORDS, patience=self.link.run_seconds)
        _, best, cycles = reply.payload
        return RunResult(best, cycles)

    def status(self) -> DeviceStatus:
        busy, dropped, refused = self._request(protocol.status(), protocol.STATUS_WORDS).payload
        return DeviceStatus(bool(busy & 1), dropped, refused)

    def reset(self) -> None:
        """End a run that may be going; memories keep their contents."""
        self._request(protocol.reset(), 0)

    def _find(self) -> Identity:
        while True:
            try:
                return self._identify_idle()
            except NoAnswer:
                if not self.link.change_rate():
                    raise

    def _identify_idle(self) -> Identity:
        try:
            return self.identify()
        except Refused as refusal:
            if refusal.status != Status.BUSY:
                raise
        # A host that is gone has left a run behind.
        self.reset()
        return self.identify()

    def _request(
        self, frame: Frame, reply_words: int, *, patience: float = 0, exact: bool = True
    ) -> Frame:
        """The reply to a request.

        Parameters
        ----------
        reply_words
            Payload of the reply; without ``exact`` only how much there may be.
        patience
            Seconds for which it is repeated, even if that is more than `ATTEMPTS` times.
        """
        self._tag = (self._tag + 1) & 0xFFFF
        frame = frame.with_tag(self._tag)
        data = frame.encode()
        answer_bytes = _FRAME_BYTES + 2 * _WORD_BYTES * reply_words
        timeout = self.link.latency + (len(data) + answer_bytes) * self.link.seconds_per_byte
        limit = time.monotonic() + patience
        attempts = ATTEMPTS if self._known else ATTEMPTS_TO_FIND
        attempt = 0
        while attempt < attempts or time.monotonic() < limit:
            self.retries += attempt > 0
            attempt += 1
            try:
                self.link.send(data)
                reply = self._reply_to(frame, timeout)
            except LinkError:
                self.program = None
                raise
            if reply is not None:
                return self._checked(frame, reply, reply_words if exact else None)
        self.program = None
        raise NoAnswer(self._silence(frame))

    def _reply_to(self, frame: Frame, timeout: float) -> Frame | None:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and (data := self.link.receive(left)):
            for reply in self._reader.feed(data):
                if (reply.command, reply.tag, reply.address) == (
                    frame.command,
                    frame.tag,
                    frame.address,
                ):
                    return reply
        return None

    def _checked(self, frame: Frame, reply: Frame, words: int | None) -> Frame:
        name = Command(frame.command).name
        if reply.status != Status.OK:
            raise Refused(f"{self.link.name} {self._refusal(frame, reply.status)}", reply.status)
        if reply.count != len(reply.payload) or words not in (None, reply.count):
            raise DeviceError(
                f"{self.link.name} answered {name} with {len(reply.payload)} words instead of "
                f"{words}; its bitstream does not fit this version of the program"
            )
        return reply

    def _refusal(self, frame: Frame, status: int) -> str:
        """Why a request was refused, as the rest of a sentence that begins with the device."""
        name = Command(frame.command).name
        if status == Status.UNKNOWN:
            return f"does not know the request {name}; build its bitstream anew"
        if status == Status.BUSY:
            return "is busy with a run of another program; close that program"
        if status == Status.REFUSED:
            return f"does not run that many steps; it has {self.identity.config.steps}"
        return f"refused {name} of {frame.count} words at address {frame.address:#x}"

    def _silence(self, frame: Frame) -> str:
        name = self.link.name
        silent = f"{name} answers no more" if self._known else f"nothing answers at {name}"
        return f"{silent} (to {Command(frame.command).name}); {self.link.advice}"


def _cut(address: int, count: int, size: int) -> Iterator[tuple[int, int]]:
    """[start, stop) of the frames for a run of addresses, cut at multiples of a frame's size.

    No memory word and no row of a bank lies across such a place, and an engine puts those together
    from several host words: repeating one frame alone leaves the same in the memories.
    """
    end = address + count
    while address < end:
        stop = min(end, (address // size + 1) * size)
        yield address, stop
        address = stop

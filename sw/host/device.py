"""A device on a link: requests, retries, and the matching of replies to requests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from residuum.hw.isa import protocol
from residuum.hw.isa.host_map import Correction, HostMap, Region
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
# Fewer attempts in the search for a device, which tries every bit rate.
ATTEMPTS_TO_FIND = 3
# Reading up to this many unwanted words in a gap is faster than another request.
BRIDGED_WORDS = 16

_WORD_BYTES = 4
# SLIP may double every byte of a frame, and adds two ENDs.
_FRAME_BYTES = 2 * _WORD_BYTES * protocol.MIN_FRAME_WORDS + 2


# A RUN request has one byte each for a layer, tau and T.
_MAX_FIELD = 0xFF
_MAX_ADDRESS = 0xFFFFFFFF


def ignore(words: int) -> None:
    """Ignores the progress of a transfer."""


def _address(value: int) -> int:
    return whole_number("an address", value, least=0, most=_MAX_ADDRESS)


class DeviceError(ResiduumError):
    """A device does not answer, or its answer is wrong."""


class NoAnswer(DeviceError):
    """All attempts of a request stayed without a reply."""


class Refused(DeviceError):
    """The device refused a request; ``status`` says why."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RunResult:
    """Class with the largest logit (of the last output layer that ran), and cycles of the run."""

    best: int
    cycles: int


@dataclass(frozen=True)
class DeviceStatus:
    """Whether the engine is running, and the frames dropped and refused since power-up."""

    busy: bool
    dropped: int
    refused: int


class Device:
    """A device, found and identified.

    A request without a reply is sent again with the same tag, up to `ATTEMPTS` times in all. This
    is safe: the device does not repeat a run whose reply was lost, and each frame writes whole
    memory words only. A reply must have the command, tag and address of the request; all others are
    ignored.

    Parameters
    ----------
    link
        Link to the device; the device closes it.

    Attributes
    ----------
    identity : Identity
        Engine, clock, build and program, as the device reports them.
    retries : int
        Number of repeated requests.
    sent, received : int
        Bytes on the wire in each direction.
    program : Program or None
        Program that the memories are known to hold. Whoever writes or verifies a program sets it.
        Writing other words there sets it to None, and so does a device that stops answering, since
        it may have lost power. A reset keeps the memories. Limitation: a reconfiguration of the
        FPGA between two requests is not detected.

    Raises
    ------
    ResiduumError
        If nothing answers, the protocol version differs, or the link breaks.
    """

    def __init__(self, link: Link):
        self.link = link
        self.retries = self.sent = self.received = 0
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
        """The device's description of itself."""
        words = self._request(protocol.identify(), protocol.IDENTITY_WORDS, exact=False).payload
        try:
            return Identity.from_words(words)
        except (ValueError, TypeError) as error:
            raise DeviceError(
                f"{self.link.name} does not fit this version of the program ({error}); "
                f"build its bitstream anew, with `make bitstream`"
            ) from None

    def read(self, address: int, count: int, *, done: Done = ignore) -> np.ndarray:
        """Words at consecutive addresses, uint32; calls ``done(words)`` after every frame."""
        address, count = _address(address), whole_number("a number of words", count, least=0)
        parts: list[int] = []
        for start, stop in _cut(address, count, MAX_WORDS):
            parts += self._request(protocol.read(start, stop - start), stop - start).payload
            done(stop - start)
        return np.array(parts, np.uint32)

    def read_scattered(self, addresses: np.ndarray, *, done: Done = ignore) -> np.ndarray:
        """Words at any addresses, uint32; short gaps are read too, which saves requests."""
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
        """Write words to consecutive addresses; calls ``done(words)`` after every frame."""
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
        """Write words to any addresses, in ascending order of the addresses."""
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

    def run(
        self, first: int, last: int, *, tau: int, T: int, correction: Correction = Correction.MASK
    ) -> RunResult:
        """Run layers first..last and wait until the run ends."""
        first = whole_number("the first layer", first, least=0, most=_MAX_FIELD)
        last = whole_number("the last layer", last, least=0, most=_MAX_FIELD)
        tau = whole_number("tau", tau, least=0, most=_MAX_FIELD)
        T = whole_number("T", T, least=1, most=_MAX_FIELD)
        code = whole_number("the correction", correction, least=0, most=max(Correction))
        frame = protocol.run(first, last, tau=tau, T=T, correction=Correction(code))
        reply = self._request(frame, protocol.RUN_WORDS, patience=self.link.run_seconds)
        _, best, cycles = reply.payload
        return RunResult(best, cycles)

    def status(self) -> DeviceStatus:
        busy, dropped, refused = self._request(protocol.status(), protocol.STATUS_WORDS).payload
        return DeviceStatus(bool(busy & 1), dropped, refused)

    def reset(self) -> None:
        """Reset the engine, which ends any run; the memories keep their contents."""
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
        # The run of an earlier host is still going.
        self.reset()
        return self.identify()

    def _request(
        self, frame: Frame, reply_words: int, *, patience: float = 0, exact: bool = True
    ) -> Frame:
        """The reply to a request.

        Parameters
        ----------
        reply_words
            Payload words of the reply; without ``exact``, an upper limit.
        patience
            Seconds for which the request is repeated, even beyond `ATTEMPTS` times.
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
                self.sent += len(data)
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
            self.received += len(data)
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
        """The reason of a refusal, as the predicate of a sentence whose subject is the device."""
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

    An engine assembles a memory word, and the occupancy of a bank's row, from several host words.
    None of them crosses such a cut, so repeating a single frame leaves the same memory contents.
    """
    end = address + count
    while address < end:
        stop = min(end, (address // size + 1) * size)
        yield address, stop
        address = stop

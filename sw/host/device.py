"""A device on a link: requests, retries, and the matching of replies to requests."""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from residuum.hw.isa import protocol
from residuum.hw.isa.host_map import Correction, HostMap, Region
from residuum.hw.isa.protocol import (
    MAX_BYTES,
    MAX_WORDS,
    RUN_WORDS,
    SLOTS,
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

# Writes that may be under way at a time; the device holds more.
WRITES_UNDER_WAY = 12

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
    """Class with the largest logit (of the last output layer that ran), cycles of the run, and for
    an image the engine's logits, uint32, or none if there are more than a reply holds."""

    best: int
    cycles: int
    logits: np.ndarray | None = None


@dataclass(frozen=True)
class Ask:
    """A request, and the payload words of its reply; not ``exact``: at most so many."""

    frame: Frame
    reply_words: int
    exact: bool = True


@dataclass
class _Pending:
    """A request under way: its bytes, its place in the order of sending, and its reply."""

    ask: Ask
    frame: Frame
    data: bytes
    sent: int = 0
    attempts: int = 0
    reply: Frame | None = None

    @property
    def room(self) -> int:
        """Words that it takes in the device until it is answered."""
        return protocol.MIN_FRAME_WORDS + len(self.frame.payload) + 1

    @property
    def wire_bytes(self) -> int:
        """Bytes of the request and, at most, of its reply."""
        return len(self.data) + _FRAME_BYTES + 2 * _WORD_BYTES * self.ask.reply_words


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

    Images and writes follow one another without waiting for replies, as many as the device has
    memory for. It answers in their order, so a reply to a later request says that an earlier one,
    or its reply, was lost.

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
    under_way : int
        Requests that may be under way at a time; 1: each waits for the reply to the one before.
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
        self.under_way = protocol.MAX_REQUESTS
        self._reader = FrameReader()
        self._sent = 0  # requests, repeated ones too
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
        self._write_all(_writes(address, words), address, done)

    def write_scattered(
        self, addresses: np.ndarray, words: np.ndarray, *, done: Done = ignore
    ) -> None:
        """Write words to any addresses, which must differ from one another."""
        addresses = whole_numbers("addresses", addresses, np.uint32, 1)
        words = whole_numbers("words", words, np.uint32, 1)
        if len(addresses) != len(words):
            raise ResiduumError(f"{len(words)} words cannot go to {len(addresses)} addresses")
        order = np.argsort(addresses, kind="stable")
        addresses, words = addresses[order].astype(np.int64), words[order]
        breaks = np.flatnonzero(np.diff(addresses) != 1) + 1
        runs = zip(np.split(addresses, breaks), np.split(words, breaks), strict=True)
        frames = (frame for run, values in runs if len(run) for frame in _writes(run[0], values))
        if len(addresses):
            self._write_all(frames, int(addresses[0]), done)

    def _write_all(self, frames: Iterable[Frame], lowest: int, done: Done) -> None:
        """Write frames, of which the first has the lowest address."""
        region = lowest >> self.host_map.offset_bits
        if region < Region.TRAINS or region == Region.EXTERNAL:
            self.program = None
        frames = list(frames)
        asks = (Ask(frame, 0) for frame in frames)
        for frame, _ in zip(frames, self._exchange(asks, most=WRITES_UNDER_WAY), strict=True):
            done(frame.count)

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
        reply = self._request(frame, RUN_WORDS, patience=self.link.run_seconds)
        _, best, cycles = reply.payload
        return RunResult(best, cycles)

    def holds(self, pixels: int) -> bool:
        """Whether an image of so many bytes is taken as one request."""
        return protocol.classify_words(pixels) <= protocol.longest_request(self.identity.config)

    def classify(
        self,
        images: Iterable[bytes],
        *,
        runs: Sequence[range],
        classes: int,
        tau: int,
        T: int,
        correction: Correction = Correction.MASK,
    ) -> Iterator[RunResult]:
        """Run layers on raw images, those of ``runs`` by turns; the results come in the order of
        the images.

        The next images are on the way while one runs, as many as the device has memory for, up to
        `SLOTS`. The program in the device must take pixels, and ``classes`` must be its own.
        """
        logits = classes if classes <= protocol.MAX_LOGITS else 0
        asks = (
            Ask(
                protocol.classify(
                    run[-1],
                    pixels,
                    tau=tau,
                    T=T,
                    correction=Correction(correction),
                    first=run[0],
                ),
                RUN_WORDS + logits,
            )
            for pixels, run in zip(images, itertools.cycle(runs), strict=False)
        )
        for reply in self._exchange(asks, most=SLOTS, patience=self.link.run_seconds):
            _, best, cycles, *words = reply.payload
            yield RunResult(best, cycles, np.array(words, np.uint32) if logits else None)

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
        """The reply to a single request; see `Ask` and `_exchange`."""
        (reply,) = self._exchange([Ask(frame, reply_words, exact)], most=1, patience=patience)
        return reply

    def _exchange(self, asks: Iterable[Ask], *, most: int, patience: float = 0) -> Iterator[Frame]:
        """The replies to requests, in their order.

        Parameters
        ----------
        most
            Requests that may be under way at a time. More than one must be alike, and harmless if
            executed out of order.
        patience
            Seconds for which a request is repeated, even beyond `ATTEMPTS` times.
        """
        most = min(most, self.under_way)
        coming, following = iter(asks), None
        failure: ResiduumError | None = None
        waiting: deque[_Pending] = deque()
        try:
            while True:
                while len(waiting) < most:
                    try:
                        if following is None and (ask := next(coming, None)) is not None:
                            following = self._prepared(ask)
                    except ResiduumError as error:
                        # Of a picture that cannot be read: first answer those before it.
                        failure, coming = error, iter(())
                    if following is None or (waiting and not self._has_room(waiting, following)):
                        break
                    waiting.append(following)
                    self._send(following)
                    following = None
                if not waiting:
                    if failure is not None:
                        raise failure
                    return
                self._await(waiting, patience)
                first = waiting.popleft()
                yield self._checked(first)
        except (LinkError, NoAnswer):
            self.program = None
            raise

    def _prepared(self, ask: Ask) -> _Pending:
        self._tag = (self._tag + 1) & 0xFFFF
        frame = ask.frame.with_tag(self._tag)
        return _Pending(ask, frame, frame.encode())

    def _has_room(self, waiting: Iterable[_Pending], following: _Pending) -> bool:
        """Whether the device certainly has memory for one more request."""
        taken = sum(pending.room for pending in waiting if pending.reply is None)
        return taken + following.room < self.identity.config.receive_words

    def _send(self, pending: _Pending) -> None:
        self.retries += pending.attempts > 0
        pending.attempts += 1
        self._sent += 1
        pending.sent = self._sent
        self.link.send(pending.data)
        self.sent += len(pending.data)

    def _await(self, waiting: deque[_Pending], patience: float) -> None:
        """Wait for the reply to the first request; send again what was lost."""
        first = waiting[0]
        limit = time.monotonic() + patience
        attempts = ATTEMPTS if self._known else ATTEMPTS_TO_FIND
        while first.reply is None:
            under_way = sum(pending.wire_bytes for pending in waiting)
            timeout = self.link.latency + under_way * self.link.seconds_per_byte
            if self._hear(waiting, timeout):
                lost = self._passed_over(waiting)
            else:
                lost = [first]
            for pending in lost:
                if pending.attempts >= attempts and time.monotonic() >= limit:
                    raise NoAnswer(self._silence(pending.frame))
                self._send(pending)

    def _hear(self, waiting: Iterable[_Pending], timeout: float) -> bool:
        """Receive until a reply to one of the requests has come; False if none has in time."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and (data := self.link.receive(left)):
            self.received += len(data)
            heard = False
            for reply in self._reader.feed(data):
                for pending in waiting:
                    if pending.reply is None and _answers(reply, pending.frame):
                        pending.reply, heard = reply, True
            if heard:
                return True
        return False

    @staticmethod
    def _passed_over(waiting: Iterable[_Pending]) -> list[_Pending]:
        """The requests that were sent before one that is answered, and are not."""
        answered = max((p.sent for p in waiting if p.reply is not None), default=0)
        return [p for p in waiting if p.reply is None and p.sent < answered]

    def _checked(self, pending: _Pending) -> Frame:
        frame, reply = pending.frame, pending.reply
        assert reply is not None
        words = pending.ask.reply_words if pending.ask.exact else None
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
        if status == Status.REFUSED and frame.command == Command.CLASSIFY:
            return (
                f"takes no raw images for the network that it holds, or not that many steps; it "
                f"has {self.identity.config.steps}"
            )
        if status == Status.REFUSED:
            return f"does not run that many steps; it has {self.identity.config.steps}"
        return f"refused {name} of {frame.count} words at address {frame.address:#x}"

    def _silence(self, frame: Frame) -> str:
        name = self.link.name
        silent = f"{name} answers no more" if self._known else f"nothing answers at {name}"
        return f"{silent} (to {Command(frame.command).name}); {self.link.advice}"


def _answers(reply: Frame, frame: Frame) -> bool:
    """Whether a reply belongs to a request."""
    asked = frame.command, frame.tag, frame.address
    return (reply.command, reply.tag, reply.address) == asked


def _writes(address: int, words: np.ndarray) -> Iterator[Frame]:
    """The frames that write words to consecutive addresses; bytes, where all words are."""
    address = int(address)
    short = bool((words < 256).all())
    for start, stop in _cut(address, len(words), MAX_BYTES if short else MAX_WORDS):
        part = words[start - address : stop - address]
        if short:
            yield protocol.write_bytes(start, part.astype(np.uint8).tobytes())
        else:
            yield protocol.write(start, part.tolist())


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

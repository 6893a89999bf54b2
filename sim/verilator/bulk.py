"""Bulk transfers over the host port of a design, one `await` per transaction.

A build with ``bulk=True`` (`sim/verilator/build.py`) has a mover on its host port. The mover
executes a queue of commands at one word per cycle, without Python. `Bulk` fills the queue from
inside a cocotb test::

    bulk = await Bulk.start(dut)
    await bulk.write(0x100, words)
    await bulk.write(START, [1])
    await bulk.wait_idle(100_000)
    trains = await bulk.read(0x800, 256)

Each method is its ``queue_`` counterpart followed by `flush`. Several queued commands run back to
back and cost a single `await`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
from cocotb.triggers import Lock, RisingEdge

from residuum.sim.verilator import build as verilator

__all__ = ["Bulk", "BulkError"]

# In cycles: longer than any pipeline, but short enough to report a hang quickly.
_ANSWER_TIMEOUT = 10_000

Words = npt.ArrayLike


class BulkError(Exception):
    """A transfer timed out; the message names the command."""


class Bulk:
    """The Python side of the bulk mover.

    The mover follows the rules of the port: one write or one read per cycle, answers in order. A
    read is complete before the next command begins. While ``rst`` is high the mover waits; a reset
    restarts the current command.

    After an error the rest of the queue is dropped, and the mover can be used again. If answers to
    a read are missing, reset the design first: a late answer would count for the next read.
    """

    def __init__(self, dut: Any) -> None:
        self._idle = dut.bulk_idle
        self._lock = Lock()
        self._library = ctypes.CDLL(None)
        self._library.residuum_bulk_take_failure.restype = ctypes.c_char_p
        self._library.residuum_bulk_cycle.restype = ctypes.c_uint64
        self._library.residuum_bulk_address_width.restype = ctypes.c_uint32
        self._address_limit = 1 << self._library.residuum_bulk_address_width()
        self._buffers: list[np.ndarray] = []

    @classmethod
    async def start(cls, dut: Any) -> Bulk:
        """Start the clock, reset the design, and return its mover."""
        await verilator.start(dut)
        return cls(dut)

    @property
    def cycle(self) -> int:
        """Clock edges since the start of the simulation."""
        return int(self._library.residuum_bulk_cycle())

    def queue_write(self, address: int, words: Words, *, increment: int = 1) -> None:
        """Write words; the address increases by ``increment`` per word (0 for a register)."""
        data = self._keep(words)
        self._check_range(address, increment, data.size)
        if data.size:
            self._library.residuum_bulk_write(
                _u32(address), _u32(increment), _u32(data.size), _data(data), _u64(_ANSWER_TIMEOUT)
            )

    def queue_write_scattered(self, addresses: Words, words: Words) -> None:
        """Write each word to its own address."""
        places, data = self._keep(addresses), self._keep(words)
        if places.size != data.size:
            raise ValueError(f"{places.size} addresses do not match {data.size} words")
        if places.size:
            self._check_range(int(places.max()), 0, 1)
            self._library.residuum_bulk_write_scattered(
                _u32(data.size), _data(places), _data(data), _u64(_ANSWER_TIMEOUT)
            )

    def queue_read(
        self, address: int, count: int, *, increment: int = 1, timeout: int = _ANSWER_TIMEOUT
    ) -> npt.NDArray[np.uint32]:
        """Read words; the returned array is valid after `flush`.

        ``timeout`` is the largest number of cycles between two answers.
        """
        self._check_range(address, increment, count)
        answers = np.zeros(count, np.uint32)
        self._buffers.append(answers)
        if count:
            self._library.residuum_bulk_read(
                _u32(address), _u32(increment), _u32(count), _data(answers), _u64(timeout)
            )
        return answers

    def queue_wait_idle(self, timeout: int) -> None:
        """Wait until ``busy`` is low, at most ``timeout`` cycles.

        If the last write starts a run, ``busy`` rises a little later, and is sampled only then.
        """
        self._library.residuum_bulk_wait_idle(_u64(timeout))

    def queue_delay(self, cycles: int) -> None:
        """Leave the port idle for some cycles."""
        self._library.residuum_bulk_delay(_u32(cycles))

    async def flush(self) -> None:
        """Wait until all queued commands are done; raises `BulkError` if a command hangs."""
        # Other tasks may queue commands from here on; their own flush keeps their buffers.
        kept, self._buffers = self._buffers, []
        async with self._lock:
            # `idle` is registered; the delay makes it fall and rise for any queue.
            self._library.residuum_bulk_delay(_u32(1))
            await RisingEdge(self._idle)
            del kept
            failure = self._library.residuum_bulk_take_failure()
        if failure:
            raise BulkError(failure.decode())

    async def write(self, address: int, words: Words, *, increment: int = 1) -> None:
        """See `queue_write`."""
        self.queue_write(address, words, increment=increment)
        await self.flush()

    async def write_scattered(self, addresses: Words, words: Words) -> None:
        """See `queue_write_scattered`."""
        self.queue_write_scattered(addresses, words)
        await self.flush()

    async def read(
        self, address: int, count: int, *, increment: int = 1, timeout: int = _ANSWER_TIMEOUT
    ) -> npt.NDArray[np.uint32]:
        """See `queue_read`."""
        answers = self.queue_read(address, count, increment=increment, timeout=timeout)
        await self.flush()
        return answers

    async def wait_idle(self, timeout: int) -> None:
        """See `queue_wait_idle`."""
        self.queue_wait_idle(timeout)
        await self.flush()

    async def delay(self, cycles: int) -> None:
        """See `queue_delay`."""
        self.queue_delay(cycles)
        await self.flush()

    def _keep(self, words: Words) -> np.ndarray:
        """The words as uint32, kept alive until the mover has read them."""
        given = np.asarray(words)
        if given.size and (given.min() < -(1 << 31) or given.max() >= 1 << 32):
            raise ValueError("words must fit in 32 bits")
        # Copy even uint32: the caller may change the array before the mover has read it.
        data = given.astype(np.int64).astype(np.uint32).reshape(-1)
        self._buffers.append(data)
        return data

    def _check_range(self, address: int, increment: int, count: int) -> None:
        last = address + increment * max(count - 1, 0)
        if not (0 <= address <= last < self._address_limit):
            raise ValueError(
                f"addresses {address:#x}..{last:#x} are outside of the port's "
                f"0..{self._address_limit - 1:#x}"
            )


def _u32(value: int) -> ctypes.c_uint32:
    return ctypes.c_uint32(value)


def _u64(value: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(value)


def _data(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)

"""Drives an engine in simulation: programs and images in, trains, logits and counters out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.program import COUNTER_WORDS, Control, Counter, HostMap, Region
from sim.bulk import Bulk
from sw.compiler import Program

# Far beyond any layer: a run that takes longer hangs.
RUN_TIMEOUT = 50_000_000


@dataclass(frozen=True)
class EngineTrace:
    """What the engine computed for one image.

    Attributes
    ----------
    trains, silenced
        Per hidden layer: bool (S, C, H, W) and bool (C, H, W).
    logits
        int64 (classes,).
    prediction
        The engine's own argmax.
    counters
        Per layer, by `Counter`; those of one uninterrupted run.
    """

    trains: list[np.ndarray]
    silenced: list[np.ndarray]
    logits: np.ndarray
    prediction: int
    counters: list[dict[Counter, int]]


class EngineDriver:
    """One engine behind a bulk mover, loaded with one program at a time."""

    def __init__(self, bulk: Bulk, program: Program):
        self.bulk = bulk
        self.program = program
        self.host_map = HostMap(program.config)

    async def load(self) -> None:
        """Write descriptors, tables, parameters and weights."""
        await self.bulk.write_scattered(self.program.addresses, self.program.words)

    def queue_image(self, image: np.ndarray) -> None:
        """Write one image, uint8 (C, H, W), into the feature memory."""
        self.bulk.queue_write_scattered(*self.program.image_writes(image))

    def queue_run(self, first: int, last: int, *, tau: int, T: int) -> None:
        """Run layers first..last and wait for the end."""
        address = self.host_map.address
        self.bulk.queue_write(address(Region.CONTROL, word=Control.STEPS), [tau | T << 8])
        self.bulk.queue_write(address(Region.CONTROL, word=Control.RUN), [first | last << 8])
        self.bulk.queue_wait_idle(RUN_TIMEOUT)

    def queue_read(self, addresses: np.ndarray) -> list[np.ndarray]:
        """Read words at any addresses; their concatenation is the answer once flushed."""
        breaks = np.flatnonzero(np.diff(addresses.astype(np.int64)) != 1) + 1
        return [self.bulk.queue_read(int(run[0]), len(run)) for run in np.split(addresses, breaks)]

    async def classify(self, image: np.ndarray, *, tau: int, T: int) -> EngineTrace:
        """One uninterrupted run for logits, argmax and counters, then one layer by layer for the
        trains; both must give the same logits."""
        last = len(self.program.layers) - 1
        self.queue_image(image)
        self.queue_run(0, last, tau=tau, T=T)
        logits = self.queue_read(self.program.logit_reads())
        best = self.bulk.queue_read(self.host_map.address(Region.CONTROL, word=Control.CLASS), 1)
        counters = self.bulk.queue_read(
            self.host_map.address(Region.COUNTERS), (last + 1) * COUNTER_WORDS
        )
        self.queue_image(image)
        reads = []
        for index in range(last):
            self.queue_run(index, index, tau=tau, T=T)
            trains, occupancy = self.program.train_reads(index)
            reads.append((self.queue_read(trains), self.queue_read(occupancy)))
        self.queue_run(last, last, tau=tau, T=T)
        again = self.queue_read(self.program.logit_reads())
        await self.bulk.flush()

        values = np.concatenate(logits).astype(np.int32).astype(np.int64)
        if not np.array_equal(np.concatenate(logits), np.concatenate(again)):
            raise AssertionError(
                f"one run gave the logits {values.tolist()}, the same run layer by layer "
                f"{np.concatenate(again).astype(np.int32).tolist()}"
            )
        decoded = [
            self.program.decode_trains(index, np.concatenate(a), np.concatenate(b), tau + T)
            for index, (a, b) in enumerate(reads)
        ]
        table = counters.reshape(last + 1, COUNTER_WORDS)
        return EngineTrace(
            trains=[trains for trains, _ in decoded],
            silenced=[silenced for _, silenced in decoded],
            logits=values,
            prediction=int(best[0]),
            counters=[{c: int(row[c]) for c in Counter} for row in table],
        )

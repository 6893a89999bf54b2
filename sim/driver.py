"""Drives an engine in simulation: programs and images in, trains, logits and counters out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw.program import COUNTER_WORDS, Control, HostMap, Region
from sim.bulk import Bulk
from sw.compiler import Program

# Cycles far beyond any network: a run that takes longer hangs.
RUN_TIMEOUT = 2_000_000


@dataclass(frozen=True)
class EngineTrace:
    """What the engine computed, for N images.

    Attributes
    ----------
    trains, silenced
        Per hidden layer: bool (N, S, C, H, W) and bool (N, C, H, W).
    logits
        int64 (N, classes).
    prediction
        int64 (N,), the engine's own argmax.
    counters
        int64 (N, layers, COUNTER_WORDS), words as in `Counter`; of uninterrupted runs.
    """

    trains: tuple[np.ndarray, ...]
    silenced: tuple[np.ndarray, ...]
    logits: np.ndarray
    prediction: np.ndarray
    counters: np.ndarray

    @classmethod
    def stack(cls, traces: Sequence[EngineTrace]) -> EngineTrace:
        """Several traces of the same network as one."""

        def joined(parts: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
            return tuple(np.concatenate(layer) for layer in zip(*parts, strict=True))

        return cls(
            joined([trace.trains for trace in traces]),
            joined([trace.silenced for trace in traces]),
            np.concatenate([trace.logits for trace in traces]),
            np.concatenate([trace.prediction for trace in traces]),
            np.concatenate([trace.counters for trace in traces]),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays, without those that a network of one layer does not have."""
        named = {"logits": self.logits, "prediction": self.prediction, "counters": self.counters}
        for index, (trains, silenced) in enumerate(zip(self.trains, self.silenced, strict=True)):
            named |= {f"trains_{index}": trains, f"silenced_{index}": silenced}
        return named

    @classmethod
    def from_arrays(cls, named: Mapping[str, np.ndarray]) -> EngineTrace:
        """What `to_arrays` gave."""
        hidden = range(sum(name.startswith("trains_") for name in named))
        return cls(
            tuple(named[f"trains_{index}"] for index in hidden),
            tuple(named[f"silenced_{index}"] for index in hidden),
            named["logits"],
            named["prediction"],
            named["counters"],
        )


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
        trains; AssertionError if their logits differ."""
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

        whole, layered = (
            np.concatenate(parts).astype(np.int32).astype(np.int64) for parts in (logits, again)
        )
        if not np.array_equal(whole, layered):
            raise AssertionError(
                f"one run gave the logits {whole.tolist()}, the same layer by layer "
                f"{layered.tolist()}"
            )
        decoded = [
            self.program.decode_trains(index, np.concatenate(a), np.concatenate(b), tau + T)
            for index, (a, b) in enumerate(reads)
        ]
        return EngineTrace(
            trains=tuple(trains[None] for trains, _ in decoded),
            silenced=tuple(silenced[None] for _, silenced in decoded),
            logits=whole[None],
            prediction=best.astype(np.int64),
            counters=counters.astype(np.int64).reshape(1, last + 1, COUNTER_WORDS),
        )

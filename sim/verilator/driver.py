"""Drives a simulated engine: writes programs and images, reads trains, logits and counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from residuum.hw.isa.host_map import COUNTER_WORDS, Control, HostMap, Region
from residuum.sim.verilator.build import count_step
from residuum.sim.verilator.bulk import Bulk
from residuum.sw.compiler.exact import engine_code
from residuum.sw.compiler.program import Program
from residuum.sw.network.corrections import check_correction
from residuum.sw.trace.engine_trace import EngineTrace

# In cycles, far more than any network needs; a longer run counts as hung.
RUN_TIMEOUT = 20_000_000


def check_sdram(dut: Any) -> None:
    """Fails if the top has an SDRAM, and one of its rules was broken."""
    assert not hasattr(dut, "seen") or dut.seen.value == 0, "a rule of the SDRAM was broken"


@dataclass(frozen=True)
class Reading:
    """Words of a queued read; after the flush, ``parts`` has them in ascending address order.

    ``order[i]`` is the index of the i-th word in the list of requested addresses.
    """

    order: np.ndarray
    parts: list[np.ndarray]

    def words(self) -> np.ndarray:
        """The words, uint32, in the order of the requested addresses."""
        words = np.empty(len(self.order), np.uint32)
        words[self.order] = np.concatenate(self.parts)
        return words


class EngineDriver:
    """An engine with a bulk mover, and one program."""

    def __init__(self, bulk: Bulk, program: Program):
        self.bulk = bulk
        self.program = program
        self.host_map = HostMap(program.config)

    async def load(self, *, external: bool = True) -> None:
        """Write descriptors, tables, parameters and weights, those of the ``external`` memory
        too."""
        if external and len(self.program.external):
            words = self.program.external.view("<u4")
            self.bulk.queue_write(self.host_map.address(Region.EXTERNAL), words)
        await self.bulk.write_scattered(self.program.addresses, self.program.words)

    def queue_image(self, image: np.ndarray) -> None:
        """Write one image, uint8 (C, H, W), into the feature memory."""
        self.bulk.queue_write_scattered(*self.program.input_writes(image))

    def queue_run(self, first: int, last: int, *, tau: int, T: int, correction: str) -> None:
        """Run layers first..last and wait until the run ends."""
        address, steps = self.host_map.address, tau | T << 8 | engine_code(correction) << 16
        self.bulk.queue_write(address(Region.CONTROL, word=Control.STEPS), [steps])
        self.bulk.queue_write(address(Region.CONTROL, word=Control.RUN), [first | last << 8])
        self.bulk.queue_wait_idle(RUN_TIMEOUT)

    def queue_read(self, addresses: np.ndarray) -> Reading:
        """Read words at any addresses; sorts the addresses to save commands."""
        order = np.argsort(addresses, kind="stable")
        ascending = addresses[order].astype(np.int64)
        runs = np.split(ascending, np.flatnonzero(np.diff(ascending) != 1) + 1)
        return Reading(order, [self.bulk.queue_read(int(run[0]), len(run)) for run in runs])

    async def classify_all(self, images: np.ndarray, **steps: Any) -> EngineTrace:
        """`classify_batch` of images, as many at a time as the program takes; each batch counts as
        steps of the simulation."""
        together = self.program.batch.images
        traces = []
        for first in range(0, len(images), together):
            traces.append(await self.classify_batch(images[first : first + together], **steps))
            count_step(together)
        return EngineTrace.stack(traces)

    async def classify(
        self, image: np.ndarray, *, tau: int, T: int, correction: str | None = None
    ) -> EngineTrace:
        """`classify_batch` of one image."""
        return await self.classify_batch(image[None], tau=tau, T=T, correction=correction)

    async def classify_batch(
        self, images: np.ndarray, *, tau: int, T: int, correction: str | None = None
    ) -> EngineTrace:
        """Run the images of a batch twice: uninterrupted for logits, argmax and counters, then
        layer by layer for the trains. ResiduumError if the logits differ, or as
        `check_correction`."""
        program = self.program
        correction = check_correction(program.network, correction, tau, engine=True)
        steps: dict[str, Any] = {"tau": tau, "T": T, "correction": correction}
        for image, run in zip(images, program.runs, strict=True):
            self.queue_image(image)
            self.queue_run(run[0], run[-1], **steps)
        whole = self._queue_logits()
        best = self.bulk.queue_read(self.host_map.address(Region.CONTROL, word=Control.CLASS), 1)
        counters = self.bulk.queue_read(
            self.host_map.address(Region.COUNTERS), len(program.layers) * COUNTER_WORDS
        )
        layers: list[list[tuple[Reading, Reading]]] = [[] for _ in images]
        for value, run in zip(images, program.runs, strict=True):
            self.queue_image(value)
            for index in run:
                self.queue_run(index, index, **steps)
                if program.layers[index].output is None:
                    continue
                for image in program.layers[index].turn.images:
                    trains, occupancy = program.train_reads(index, image)
                    layers[image].append((self.queue_read(trains), self.queue_read(occupancy)))
        again = self._queue_logits()
        await self.bulk.flush()

        traces = [
            EngineTrace.decode(
                program,
                tau + T,
                logits=whole[image].words(),
                layered=again[image].words(),
                best=int(best[0]) if len(images) == 1 else None,
                counters=counters if image == 0 else np.zeros_like(counters),
                layers=[(trains.words(), words.words()) for trains, words in layers[image]],
            )
            for image in range(len(images))
        ]
        return EngineTrace.stack(traces)

    def _queue_logits(self) -> list[Reading]:
        """Read the logits of all images of a batch."""
        numbers = range(self.program.batch.images)
        return [self.queue_read(self.program.logit_reads(image)) for image in numbers]

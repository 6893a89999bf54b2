"""Runs inside the simulation: images of one network through the engine (see `sim.measure`)."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from hw.config import EngineConfig
from sim.bulk import Bulk
from sim.driver import EngineDriver
from sim.verilator import give, parameters
from sw.compiler import compile_network
from sw.engine_trace import EngineTrace
from sw.network import IntegerNetwork


@cocotb.test()
async def classify(dut):  # type: ignore[no-untyped-def]
    """All images, one after another; a byte is written to the sign after each."""
    given = parameters()
    config, steps = EngineConfig(**given["config"]), {"tau": given["tau"], "T": given["T"]}
    program = compile_network(IntegerNetwork.load(given["network"]), config, **steps)
    driver = _Driver(await _Bulk.start(dut), program)
    await driver.load()
    traces: list[EngineTrace] = []
    with open(given["sign"], "ab", buffering=0) as sign:
        for image in given["images"]:
            traces.append(await driver.classify(image, **steps))
            sign.write(b".")
    give(**EngineTrace.stack(traces).to_arrays())


class _Bulk(Bulk):
    """Reads words at any addresses in ascending order of them, which makes few runs of many."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self._sorted: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = []

    def queue_read_scattered(self, addresses: np.ndarray) -> np.ndarray:
        """Read the word at each address, uint32, into the array that is returned, which is filled
        after `flush`."""
        order = np.argsort(addresses, kind="stable")
        ascending = addresses[order].astype(np.int64)
        runs = np.split(ascending, np.flatnonzero(np.diff(ascending) != 1) + 1)
        words = np.zeros(len(addresses), np.uint32)
        parts = [self.queue_read(int(run[0]), len(run)) for run in runs]
        self._sorted.append((words, order, parts))
        return words

    async def flush(self) -> None:
        await super().flush()
        for words, order, parts in self._sorted:
            words[order] = np.concatenate(parts)
        self._sorted.clear()


class _Driver(EngineDriver):
    bulk: _Bulk

    def queue_read(self, addresses: np.ndarray) -> list[np.ndarray]:
        return [self.bulk.queue_read_scattered(addresses)]

"""Measures many images on the simulated engine, as pieces of work, and reports the sums.

The common part of ``residuum sim``, ``verify`` and ``bench``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.sim.bench.compared import Json, Totals, on_engine
from residuum.sim.external.engine import with_sdram
from residuum.sw.compiler.program import Program, grow_to_fit
from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import describe_run
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.pieces.run import Piece

# Multiply-accumulates of one part in the network without spikes. A part takes about half a minute
# on one core, for any network.
PART_MACS = 400_000_000
LARGEST_PART = 200

# Bytes in the wave file per cycle: for the engine, and for each lane. Measured with 8 steps, and 4
# and 16 lanes.
WAVES_BYTES = 3000, 850


def report(
    name: str, program: Program, totals: Totals, *, tau: int, T: int, correction: str
) -> Json:
    """The report of a command on one network; all quantities are per image."""
    network, images = program.network, totals.images
    layers = []
    for index, plan in enumerate(program.plans):
        counters, predicted = totals.counters[index] / images, totals.predicted[index] / images
        channels, height, width = network.shapes[index]
        neurons = channels * height * width
        # SPIKES counts every spike once per group. A spike adds one weight per output channel.
        sops = counters[Counter.SPIKES] / plan.groups * channels
        layers.append(
            {
                "name": plan.layer.name,
                "neurons": neurons,
                "firing": None
                if index == len(totals.fired)
                else totals.fired[index] / images / neurons,
                "events": counters[Counter.EVENTS],
                "sops": sops,
                "cycles": counters[Counter.CYCLES],
                "predicted_cycles": predicted[Counter.CYCLES],
                "least_cycles": totals.least[index] / images,
                "utilisation": totals.least[index] / images / counters[Counter.CYCLES],
                "windows": counters[Counter.WINDOWS],
                "drain_stalls": counters[Counter.DRAIN_STALLS],
                "scan_stalls": counters[Counter.SCAN_STALLS],
            }
        )

    def total(name: str) -> float:
        return float(sum(layer[name] for layer in layers))

    return {
        "model": name,
        "bits": network.weight_bits,
        "tau": tau,
        "T": T,
        "correction": correction,
        "run": describe_run(network, tau, T, correction),
        "lanes": program.config.lanes,
        "steps": program.config.steps,
        "images": images,
        "mismatches": totals.mismatches,
        "first_mismatch": totals.first,
        "rtl_accuracy": 100 * totals.engine_right / images,
        "golden_accuracy": 100 * totals.golden_right / images,
        "cycles_per_image": total("cycles"),
        "predicted_cycles_per_image": total("predicted_cycles"),
        "worst_cycle_error": totals.worst_cycles,
        "events_per_image": total("events"),
        "least_cycles_per_image": total("least_cycles"),
        "utilisation": total("least_cycles") / total("cycles"),
        "sops_per_image": total("sops"),
        "layers": layers,
    }


def waves_bytes(
    program: Program, image: np.ndarray, *, tau: int, T: int, correction: str | None = None
) -> int:
    """Estimated size of an image's waves in bytes, from the cycle model.

    Accounts for `residuum.sim.verilator.driver.EngineDriver.classify`, which runs each image twice.
    """
    from residuum.sw.compiler.cycles import predict
    from residuum.sw.golden.golden_model import simulate

    golden = simulate(program.network, image[None], tau=tau, T=T, correction=correction)
    cycles = 2 * int(predict(program, image, golden, 0)[:, Counter.CYCLES].sum())
    fixed, for_a_lane = WAVES_BYTES
    return cycles * (fixed + for_a_lane * program.config.lanes)


def engine_for(
    network: IntegerNetwork, lanes: int, *, steps: int, ring_rows: int | None = None
) -> EngineConfig:
    """An engine with these lanes and steps, and with memories large enough for the network.

    With ``ring_rows``, weights that do not fit so many rows, or as many as the largest group of
    output channels takes, come from an external memory.

    Raises
    ------
    ResiduumError
        If no such engine is possible.
    """
    try:
        config = EngineConfig.for_lanes(lanes, steps=steps)
        if ring_rows is not None:
            config = with_sdram(config, ring_rows).with_changes(weight_bits=network.weight_bits)
        return grow_to_fit(network, config)
    except ValueError as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None


@dataclass(frozen=True)
class Task:
    """Images to run and compare.

    Attributes
    ----------
    name
        Name of the network (`residuum.sw.network.library.network_name`), for messages.
    correction
        One of `residuum.sw.network.corrections`.
    images, labels
        uint8 (N, C, H, W) and int64 (N,).
    """

    name: str
    program: Program
    tau: int
    T: int
    correction: str
    images: np.ndarray
    labels: np.ndarray

    @property
    def title(self) -> str:
        """Network, stages and engine."""
        stages = describe_run(self.program.network, **self.steps)
        together = self.program.batch.images
        batch = f", {together} at a time" if together > 1 else ""
        return f"{self.name}, {stages}, {self.program.config.lanes} lanes{batch}"

    @property
    def steps(self) -> Json:
        """tau, T and correction of the runs."""
        return {"tau": self.tau, "T": self.T, "correction": self.correction}

    def pieces(self, count: int | None = None) -> list[Piece]:
        """The first ``count`` images (None: all) in pieces, whose unit is images."""
        together, end = self.program.batch.images, len(self.images) if count is None else count
        if end % together:
            raise ResiduumError(
                f"{end} images are not a whole number of batches of {together}; choose another "
                "number of images"
            )
        size = max(1, part_size(self.program.network) // together) * together
        return [self._piece(first, min(first + size, end)) for first in range(0, end, size)]

    def _piece(self, first: int, last: int) -> Piece:
        given = {
            "network": self.program.network,
            "config": self.program.config,
            "batch": self.program.batch,
            **self.steps,
            "images": self.images[first:last],
            "labels": self.labels[first:last],
            "first": first,
        }
        return Piece(on_engine, given, f"{self.title}, images {first} to {last - 1}", last - first)

    def totals(self, results: Iterable[Json]) -> Totals:
        """The sum of the results of `pieces`."""
        totals = Totals.empty(len(self.program.network.layers))
        for result in results:
            totals.add(Totals.from_json(result))
        return totals


def part_size(network: IntegerNetwork) -> int:
    """Number of images in a part."""
    macs = sum(
        source.weight.size * math.prod(shape[1:]) * source.pool_area
        for layer, shape in zip(network.layers, network.neuron_shapes, strict=True)
        for source in layer.sources
    )
    return min(LARGEST_PART, max(1, PART_MACS // macs))

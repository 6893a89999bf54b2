"""Networks of random weights in an SDRAM: images per second, one at a time and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from residuum.hw.isa.host_map import Counter
from residuum.sim.bench.cells import formatted

if TYPE_CHECKING:
    from residuum.sim.bench.measure import Task
    from residuum.sw.data.data_sets import Access
    from residuum.sw.pieces.run import Pool

BOARD, PRESET = "ulx3s", "85f-sdram"
NETWORKS = ("vgg16", "resnet18")

Json = dict[str, Any]


COLUMNS = (
    ("network", "network", "{}"),
    ("MB", "megabytes", "{:.2f}"),
    ("at a time", "batch", "{}"),
    ("images", "images", "{}"),
    ("cycles", "cycles", "{:,.0f}"),
    ("images/s", "rate", "{:.1f}"),
    ("clock", "clock_mhz", "{:g} MHz"),
    ("stalls", "stalls", "{:.1%}"),
    ("peak", "peak", "{:.1%}"),
    ("model", "predicted", "{:,.0f}"),
    ("mismatches", "mismatches", "{}"),
)


def measure(*, pool: Pool, access: Access) -> list[Json]:
    """A row for each network, for single images and for the best batch: one image, or one batch,
    with every value compared. ``peak`` is the share of the SDRAM's words that are weights, at
    least, in the layers that wait for their weights in most of their cycles.

    Raises
    ------
    ResiduumError
        If CIFAR-10 cannot be had, or a simulation fails.
    """
    from residuum.sw.pieces.run import run

    tasks = [task for name in NETWORKS for task in _tasks(name, access)]
    pieces = [piece for task in tasks for piece in task.pieces()]
    results = iter(run(pieces, pool, title="bench", doing="simulated", reporter=access.reporter))
    return [_result(task, list(islice(results, len(task.pieces())))) for task in tasks]


def _tasks(name: str, access: Access) -> list[Task]:
    """Single images, and the best batch."""
    from residuum.sim.bench.measure import Task
    from residuum.sw.compiler.batching import best_batch
    from residuum.sw.compiler.fit import preset_named
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.data.images import load_images
    from residuum.sw.network.corrections import NONE
    from residuum.sw.train.untrained import untrained_for_cifar10

    network = untrained_for_cifar10(name, access=access)
    config = preset_named(PRESET).with_changes(memory="inferred")
    tasks = []
    for most in (1, None):
        batch = best_batch(network, config, steps=1, images=most)
        program = compile_network(network, config, tau=0, T=1, batch=batch)
        data = load_images("cifar10", at_most=batch.images, access=access)
        labels = data.labels_or_unknown()
        tasks.append(Task(network.name, program, 0, 1, NONE, data.images, labels))
    return tasks


def _result(task: Task, results: Sequence[Json]) -> Json:
    from residuum.boards.build.clock import engine_clock
    from residuum.boards.catalogue import find
    from residuum.hw.isa.config import CHUNK_ROWS

    program, totals = task.program, task.totals(results)
    config, images = program.config, totals.images
    cycles = totals.counters[:, Counter.CYCLES]
    stalls = totals.counters[:, Counter.WEIGHT_STALLS]
    clock_hz = engine_clock(find(BOARD), PRESET).output_hz
    # Layers that wait for their weights in most of their cycles.
    waiting = stalls > cycles / 2
    # The first layers of a batch run, and read their weights, once for each image.
    times = program.by_layer(np.ones(len(program.layers), int))
    words = times * [
        plan.descriptor.chunks * CHUNK_ROWS * config.row_words * plan.groups
        for plan in program.plans
    ]
    # Where layers begin to wait, a ring of their words may have come during the layer before.
    begins = np.diff(waiting.astype(int), prepend=0) > 0
    ahead = times[begins].sum() * config.weight_rows * config.row_words
    batches = images // program.batch.images
    streamed = batches * max(0, words[waiting].sum() - ahead)
    return {
        "network": task.name,
        "megabytes": program.external.nbytes / 1e6,
        "board": BOARD,
        "preset": PRESET,
        "batch": program.batch.images,
        "images": images,
        "mismatches": totals.mismatches,
        "first_mismatch": totals.first,
        "cycles": cycles.sum() / images,
        "predicted": totals.predicted[:, Counter.CYCLES].sum() / images,
        "clock_mhz": clock_hz / 1e6,
        "rate": clock_hz / (cycles.sum() / images),
        "stalls": stalls.sum() / cycles.sum(),
        "peak": streamed / cycles[waiting].sum() if waiting.any() else 0.0,
    }


def cells(result: Json) -> dict[str, str]:
    """A row of the table, by heading."""
    return formatted(COLUMNS, result)

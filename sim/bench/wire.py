"""Images per second from end to end, through a model of the wire to a board.

The engine is simulated and answers at once; its time is replaced by its cycles at the clock of the
board. So the figures are those of a board, and the same on every computer. The work of the host is
left out: it goes on while bytes are on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from residuum.boards.board import MHZ
from residuum.boards.build.clock import engine_clock
from residuum.boards.catalogue import find
from residuum.sim.bench.cells import formatted
from residuum.sim.link.simulated import ChildLink, build_accelerator
from residuum.sim.link.virtual import VirtualLink
from residuum.sim.link.wire import Wire
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import Device

if TYPE_CHECKING:
    from residuum.sim.bench.bench import Row
    from residuum.sim.bench.measure import Task
    from residuum.sw.progress import Reporter

Json = dict[str, Any]
LATENCIES = (16, 1)  # milliseconds: that of a port that nobody has set, and the least
# Images of `residuum bench --wire`, unless it is told otherwise.
IMAGES = 40


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Images through a wire, on the clock of the wire; seconds of all images.

    Attributes
    ----------
    load_bytes, load_seconds
        The program: bytes to the device, and time.
    wrong
        Images whose class or logits differ from the golden model's.
    """

    images: int
    seconds: float
    up: float
    engine: float
    down: float
    load_bytes: int
    load_seconds: float
    wrong: int

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def passage(
    task: Task, images: np.ndarray, wire: Wire, *, clock_hz: int, one_request: bool
) -> Passage:
    """Load the program of a task and classify images, uint8 (N, C, H, W).

    Without ``one_request``, each image is written in parts and then run, and each request waits for
    the reply to the one before it.
    """
    from residuum.sw.golden.golden_model import simulate

    program = task.program
    child = ChildLink(build_accelerator(program.config))
    link = VirtualLink(child, wire, clock_hz=clock_hz)
    with Device(link) as device:
        if not one_request:
            device.under_way = 1
        classifier = Classifier(device, program.network, **task.steps)
        start, sent = link.now, device.sent
        classifier.load()
        load_seconds, load_bytes = link.now - start, device.sent - sent
        start, before = link.now, (link.up.busy, link.engine, link.down.busy)
        found = list(classifier.classify_all(images, one_by_one=not one_request))
        seconds = link.now - start
        up, engine, down = (
            after - earlier
            for after, earlier in zip(
                (link.up.busy, link.engine, link.down.busy), before, strict=True
            )
        )
    golden = simulate(program.network, images, **task.steps)
    wrong = sum(
        answer.prediction != right
        or not (answer.logits is None or np.array_equal(answer.logits, logits))
        for answer, right, logits in zip(found, golden.prediction, golden.logits, strict=True)
    )
    return Passage(
        images=len(images),
        seconds=seconds,
        up=up,
        engine=engine,
        down=down,
        load_bytes=load_bytes,
        load_seconds=load_seconds,
        wrong=wrong,
    )


def measure(row: Row, task: Task, *, images: int, reporter: Reporter) -> list[Json]:
    """The passages of a network on its board, one for each latency."""
    board = find(row.board)
    clock = round(engine_clock(board, row.preset).output_hz)
    chosen, results = task.images[:images], []
    for latency in LATENCIES:
        wire = Wire(baud=board.baud, latency=latency)
        both = []
        for one_request in (False, True):
            name = f"{task.title}, {latency} ms"
            with reporter.task(name):
                both.append(passage(task, chosen, wire, clock_hz=clock, one_request=one_request))
        before, after = both
        results.append(
            {
                "model": task.name,
                "board": row.board,
                "preset": row.preset,
                "clock_mhz": clock / MHZ,
                "baud": wire.baud,
                "bridge": wire.bridge.name,
                "latency_ms": latency,
                "images": len(chosen),
                "before": before.rate,
                "after": after.rate,
                "limit": after.images / max(after.up, after.engine, after.down),
                "up_ms": 1e3 * after.up / after.images,
                "engine_ms": 1e3 * after.engine / after.images,
                "down_ms": 1e3 * after.down / after.images,
                "load_bytes": after.load_bytes,
                "load_seconds": after.load_seconds,
                "load_ratio": after.load_seconds / (after.load_bytes * wire.seconds_per_byte),
                "wrong": before.wrong + after.wrong,
            }
        )
    return results


COLUMNS = (
    ("network", "model", "{}"),
    ("board", "board", "{}"),
    ("baud", "baud", "{:,}"),
    ("latency", "latency_ms", "{} ms"),
    ("before", "before", "{:.1f}"),
    ("images/s", "after", "{:.1f}"),
    ("limit", "limit", "{:.1f}"),
    ("up", "up_ms", "{:.2f} ms"),
    ("engine", "engine_ms", "{:.3f} ms"),
    ("down", "down_ms", "{:.2f} ms"),
    ("load", "load_seconds", "{:.2f} s"),
    ("of its time on the wire", "load_ratio", "{:.3f}"),
    ("wrong", "wrong", "{}"),
)


def cells(result: Json) -> dict[str, str]:
    """A row of the table, by heading."""
    return formatted(COLUMNS, result)


def page(results: Sequence[Json], command: str) -> str:
    """The table as Markdown."""
    headings = [heading for heading, _, _ in COLUMNS]
    lines = [f"`{command}`:", "", f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    lines += [f"| {' | '.join(cells(result).values())} |" for result in results]
    return "\n".join(lines) + "\n"

"""Many engines of a board for a network: accuracy, cycles, area and clock of each, the best ones.

Accuracy is the golden model's and cycles are the cycle model's; area and clock are estimates
(`residuum.boards.build.estimate`), which place and route of some points confirms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from residuum.hw.isa.config import PIXEL_BITS, EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.hw.isa.memories import DEVICE_EBR, DEVICE_LUT
from residuum.hw.isa.presets import preset
from residuum.sim.bench.accuracy import accuracy
from residuum.sw.compiler.fit import device_of, needs
from residuum.sw.compiler.program import compile_network, grow_to_fit
from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import NONE, describe_run
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from residuum.sw.network.library import network_name
from residuum.sw.pieces.run import Piece, Pool, run
from residuum.sw.progress import SILENT, Reporter

if TYPE_CHECKING:
    from residuum.boards.board import Board
    from residuum.boards.build.estimate import Estimate
    from residuum.boards.build.layout import Layout

Json = dict[str, Any]

LANES = (4, 8, 16, 32, 64)
TILE_LANES = (4, 8, 16)
EVENT_WIDTHS = (1, 2)
# Slots of the engines, and so tau + T of the runs in rate code.
SLOTS = (2, 4, 6, 8)
# Images whose cycles are predicted.
CYCLE_IMAGES = 4
# Seed of place and route.
SEED = 1
# Rows of memories are a multiple of this.
ROWS = 64
# Sizes that are alike in all engines.
COMMON: Json = {
    "weight_rows": ROWS,
    "feature_rows": ROWS,
    "parameter_rows": ROWS,
    "logit_rows": 16,
    "layers": 64,
    "receive_words": 1024,
}


@dataclass(frozen=True)
class Candidate:
    """A network, and what the user calls it: a committed one, or a file."""

    model: str
    network: IntegerNetwork

    @property
    def name(self) -> str:
        """As in ``mnist-8bit``."""
        return network_name(self.model, self.network.weight_bits)


@dataclass(frozen=True)
class Run:
    """A way to run a network.

    Attributes
    ----------
    slots
        tau + T, or the bits of the numbers in radix code.
    accuracy
        In percent.
    """

    candidate: Candidate
    tau: int
    T: int
    correction: str
    slots: int
    accuracy: float

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def network(self) -> IntegerNetwork:
        return self.candidate.network

    @property
    def steps(self) -> Json:
        return {"tau": self.tau, "T": self.T, "correction": self.correction}

    def __str__(self) -> str:
        if self.network.code == RADIX:
            return f"radix code, K = {self.slots}"
        return describe_run(self.network, **self.steps)


@dataclass(frozen=True)
class Point:
    """A run on an engine. ``cycles``: of an image, on average."""

    run: Run
    config: EngineConfig
    cycles: float
    estimate: Estimate

    @property
    def microseconds(self) -> float:
        """Of an image at the estimated clock."""
        return self.cycles / self.estimate.fmax_mhz

    def better(self, other: Point) -> bool:
        """Whether it is nowhere worse than another point, and somewhere better, by accuracy, time
        and LUTs."""
        mine, others = self._merits, other._merits
        return mine != others and all(a >= b for a, b in zip(mine, others, strict=True))

    @property
    def _merits(self) -> tuple[float, float, float]:
        return self.run.accuracy, -self.microseconds, -self.estimate.lut


# ---------------------------------------------------------------------------------------------
# Runs and their accuracy


def accuracy_of_split(
    network: IntegerNetwork, images: np.ndarray, labels: np.ndarray, steps: int, correction: str
) -> Json:
    """tau, T and accuracy of the best split of the steps; of the only run in radix code."""
    from residuum.sw.study.suggest import best, divisions

    if network.code == RADIX:
        return {"tau": 0, "T": 1, "accuracy": accuracy(network, images, labels, 0, 1, NONE)}
    chosen = best(divisions(network, images, labels, steps, correction))
    return {name: chosen[name] for name in ("tau", "T", "accuracy")}


def runs_of(
    candidates: Sequence[Candidate],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    correction: str,
    pool: Pool,
    reporter: Reporter = SILENT,
) -> list[Run]:
    """The runs of networks: the best split of each number of `SLOTS`, or one in radix code."""
    wanted = [(each, slots) for each in candidates for slots in _slots(each.network)]
    pieces = [
        Piece(
            accuracy_of_split,
            {
                "network": each.network,
                "images": images,
                "labels": labels,
                "steps": slots,
                "correction": correction,
            },
            f"{each.name}, {slots} slots",
        )
        for each, slots in wanted
    ]
    results = run(pieces, pool, title="accuracy", unit="runs", reporter=reporter)
    return [
        Run(
            candidate=each,
            correction=NONE if result["tau"] == 0 else correction,
            slots=slots,
            **result,
        )
        for (each, slots), result in zip(wanted, results, strict=True)
    ]


def _slots(network: IntegerNetwork) -> tuple[int, ...]:
    """`SLOTS`, or in radix code the most bits of a number."""
    if network.code != RADIX:
        return SLOTS
    return (max(layer.bits or 1 for layer in network.layers),)


# ---------------------------------------------------------------------------------------------
# Engines


def engines_of(board: Board, one: Run) -> Iterator[tuple[EngineConfig, Estimate]]:
    """The engines that hold a network and fit a board's device, with memories and registers as
    large as it needs, and their estimates. Those that read images have half the slots of a pixel's
    bits, or more; in radix code, those that read a whole pixel at a time are there too."""
    from residuum.boards.build.estimate import model

    device = device_of(board.preset)
    slots = {max(one.slots, PIXEL_BITS // 2) if one.network.input == IMAGE else one.slots}
    if one.network.code == RADIX:
        slots.add(PIXEL_BITS)
    for lanes, tile_lanes, width, steps in product(LANES, TILE_LANES, EVENT_WIDTHS, sorted(slots)):
        config = _engine(one.network, lanes, tile_lanes, width, steps)
        if config is None:
            continue
        estimate = model().estimate(config)
        if estimate.ebr <= DEVICE_EBR[device] and estimate.lut <= DEVICE_LUT[device]:
            yield config, estimate


def _engine(
    network: IntegerNetwork, lanes: int, tile_lanes: int, event_width: int, steps: int
) -> EngineConfig | None:
    """The smallest engine of this shape for a network; None if there is none."""
    least = network.weight_bits + EngineConfig.shift_bits
    try:
        config = EngineConfig(
            lanes=lanes,
            tile_lanes=tile_lanes,
            event_width=event_width,
            steps=steps,
            weight_bits=network.weight_bits,
            accumulator_bits=least,
            potential_bits=least + EngineConfig.fraction_bits,
            **COMMON,
        )
        grown = grow_to_fit(network, config)
    except (ResiduumError, ValueError):
        return None
    needed = {need.parameter: need.needed for need in needs(network, grown, steps)}
    rows = {
        name: max(ROWS, -(-needed[name] // ROWS) * ROWS)
        for name in ("weight_rows", "feature_rows", "parameter_rows")
    }
    return grown.with_changes(**rows, memory="ecp5")


def cycles_of(
    network: IntegerNetwork,
    config: EngineConfig,
    images: np.ndarray,
    tau: int,
    T: int,
    correction: str,
) -> float:
    """Cycles of an image by the cycle model, on average."""
    from residuum.sw.compiler.cycles import predict
    from residuum.sw.golden.golden_model import simulate

    steps: Json = {"tau": tau, "T": T, "correction": correction}
    program = compile_network(network, config, **steps)
    golden = simulate(network, images, **steps)
    counters = [predict(program, image, golden, number) for number, image in enumerate(images)]
    return float(np.array(counters)[:, :, Counter.CYCLES].sum() / len(images))


def points_of(
    board: Board,
    runs: Sequence[Run],
    images: np.ndarray,
    *,
    pool: Pool,
    reporter: Reporter = SILENT,
) -> list[Point]:
    """All runs on all engines of a board.

    Raises
    ------
    ResiduumError
        If no engine holds a network.
    """
    with reporter.task(f"engines of {board.name}"):
        wanted = [(one, *engine) for one in runs for engine in engines_of(board, one)]
    if not wanted:
        names = ", ".join(dict.fromkeys(one.name for one in runs))
        raise ResiduumError(
            f"no engine of {board.name} holds {names} with its weights on the chip; `residuum fit` "
            "tells what is missing"
        )
    pieces = [
        Piece(
            cycles_of,
            {
                "network": one.network,
                "config": config,
                "images": images[:CYCLE_IMAGES],
                **one.steps,
            },
            f"{one.name}, {one}, {described(config)}",
        )
        for one, config, _ in wanted
    ]
    cycles = run(pieces, pool, title="cycles", unit="engines", reporter=reporter)
    return [
        Point(one, config, count, estimate)
        for (one, config, estimate), count in zip(wanted, cycles, strict=True)
    ]


def described(config: EngineConfig) -> str:
    """The shape of an engine."""
    events = "2 events" if config.event_width == 2 else "1 event"
    return (
        f"{config.lanes} lanes in {config.tiles} x {config.tile_lanes}, {events}, "
        f"{config.steps} slots"
    )


def best_of(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats, the fastest first."""
    best = [point for point in points if not any(other.better(point) for other in points)]
    return sorted(best, key=lambda point: point.microseconds)


# ---------------------------------------------------------------------------------------------
# Place and route


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """``count`` points, evenly from the first to the last, with engines that differ from each other
    and from those that the estimates were fitted to."""
    from residuum.boards.build.estimate import built, sizes_of

    known = [design.sizes for design in built()]
    new: dict[str, Point] = {}
    for point in points:
        if sizes_of(point.config) not in known:
            new.setdefault(repr(point.config), point)
    chosen = list(new.values())
    places = np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)
    return [chosen[place] for place in dict.fromkeys(places.tolist())]


def build(
    board: Board, points: Sequence[Point], *, pool: Pool, reporter: Reporter = SILENT
) -> list[Layout]:
    """Places and routes the engines of points."""
    from residuum.boards.build.timing import place_and_route

    designs = []
    for point in points:
        options = {
            "preset_name": board.preset,
            "sizes": _changes(board, point.config),
            "freq": float(round(point.estimate.fmax_mhz)),
        }
        designs.append((board, described(point.config), options))
    found = place_and_route(designs, seeds=[SEED], pool=pool, reporter=reporter)
    return [layouts[SEED] for _, _, layouts in found]


def _changes(board: Board, config: EngineConfig) -> dict[str, Any]:
    """The sizes that differ from those of the board's own preset."""
    from residuum.boards.build.estimate import sizes_of

    return sizes_of(config, preset(board.preset))


def command_of(board: Board, point: Point) -> str:
    """The command that builds the bitstream of a point."""
    candidate = point.run.candidate
    options = {"model": candidate.model, "bits": candidate.network.weight_bits}
    options |= _changes(board, point.config)
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
    return " ".join(["residuum bitstream", board.name, *words])


def record(board: Board, point: Point) -> Json:
    """A point, for a report."""
    return {
        "command": command_of(board, point),
        "network": point.run.name,
        "run": str(point.run),
        **point.run.steps,
        "accuracy": point.run.accuracy,
        "engine": asdict(point.config),
        "cycles": point.cycles,
        "estimate": asdict(point.estimate),
        "microseconds": point.microseconds,
    }

"""LUTs, registers and clock of an engine in a whole design, estimated from designs that were built.

Area and period are sums of a few products of an engine's sizes, with weights that make the relative
errors smallest for the designs in ``built.json``. Each product is a part of the hardware. Engines
with an external memory, and with fewer than four slots, are not among them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.memories import block_memories

BUILT = Path(__file__).with_name("built.json")


@dataclass(frozen=True, kw_only=True)
class Built:
    """A design that was synthesised, and perhaps placed and routed.

    Attributes
    ----------
    sizes
        Of the engine, by the names of `EngineConfig`, where they differ from its defaults.
    lut4, ff
        Resources of the netlist (`residuum.boards.build.synth.Resources`).
    lut, fmax_mhz
        LUT sites and clock after place and route; None: it was not placed.
    """

    sizes: Mapping[str, Any]
    lut4: int
    ff: int
    lut: int | None = None
    fmax_mhz: float | None = None

    @property
    def config(self) -> EngineConfig:
        return EngineConfig(**self.sizes)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """LUT sites after place and route, flip-flops, block memories (exact), and clock."""

    lut: float
    ff: float
    ebr: int
    fmax_mhz: float


def sizes_of(config: EngineConfig, base: EngineConfig | None = None) -> dict[str, Any]:
    """The sizes that differ from those of another engine, or from the defaults."""
    usual = asdict(base or EngineConfig())
    return {name: size for name, size in asdict(config).items() if size != usual[name]}


def area_terms(config: EngineConfig) -> np.ndarray:
    """The products whose weighted sum is an area."""
    lanes, tiles, slots = config.lanes, config.tiles, config.steps
    two = config.event_width == 2
    return np.array(
        [
            # Host link, sequencer, scanner.
            1,
            # The second stream of events.
            two * tiles,
            lanes,
            # Accumulators, and for two events the choice between two weights and their sum.
            lanes * slots * config.accumulator_bits,
            two * lanes * slots * (config.weight_bits + 1),
            # Neuron stages.
            tiles * slots * config.potential_bits,
        ],
        dtype=float,
    )


def period_terms(config: EngineConfig) -> np.ndarray:
    """The products whose weighted sum is the shortest period of the clock: wires become longer with
    the number of lanes."""
    return np.array([1, np.log2(config.lanes * config.steps)], dtype=float)


@cache
def built() -> tuple[Built, ...]:
    """The designs that were built."""
    return tuple(Built(**row) for row in json.loads(BUILT.read_text()))


@dataclass(frozen=True)
class Model:
    """Weights of the terms: for the LUT4 of a netlist, flip-flops, and the period in ns; and the
    LUT sites after place and route for each LUT4."""

    lut4: np.ndarray
    ff: np.ndarray
    period: np.ndarray
    sites: float

    @classmethod
    def fitted(cls, designs: Sequence[Built]) -> "Model":
        """The model of the smallest relative errors."""
        area = [area_terms(design.config) for design in designs]
        placed = [design for design in designs if design.lut and design.fmax_mhz]
        return cls(
            lut4=_fitted(area, [design.lut4 for design in designs]),
            ff=_fitted(area, [design.ff for design in designs]),
            period=_fitted(
                [period_terms(design.config) for design in placed],
                [1000 / (design.fmax_mhz or 1) for design in placed],
            ),
            sites=float(np.mean([(design.lut or 0) / design.lut4 for design in placed])),
        )

    def estimate(self, config: EngineConfig) -> Estimate:
        """The design of an engine with weights on the chip."""
        area = area_terms(config)
        return Estimate(
            lut=float(self.sites * self.lut4 @ area),
            ff=float(self.ff @ area),
            ebr=sum(block_memories(config).values()),
            fmax_mhz=float(1000 / (self.period @ period_terms(config))),
        )


@cache
def model() -> Model:
    """The model of the designs in ``built.json``."""
    return Model.fitted(built())


def _fitted(terms: Sequence[np.ndarray], values: Sequence[float]) -> np.ndarray:
    """Weights that make the relative errors smallest."""
    wanted = np.array(values, dtype=float)
    rows = np.array(terms) / wanted[:, None]
    return np.linalg.lstsq(rows, np.ones(len(wanted)), rcond=None)[0]


def text_of(designs: Sequence[Built]) -> str:
    """The content of ``built.json``, one line for each design."""
    return "[\n" + ",\n".join(json.dumps(asdict(design)) for design in designs) + "\n]\n"

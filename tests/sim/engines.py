"""Small engines for random networks with an external memory, and without."""

from residuum.hw.isa.config import EngineConfig
from residuum.sim.external.engine import SDRAM_BITS

ON_CHIP = EngineConfig(
    lanes=8,
    tile_lanes=4,
    event_width=2,
    accumulator_bits=20,
    potential_bits=32,
    weight_rows=4096,
    feature_rows=2048,
    layers=64,
)


def ring(rows: int) -> EngineConfig:
    return ON_CHIP.with_changes(weight_rows=rows, external=SDRAM_BITS)

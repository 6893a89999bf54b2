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


def ring(rows: int, *, masks: int = 1) -> EngineConfig:
    """The engine with so many weight rows, which an external memory fills."""
    return ON_CHIP.with_changes(weight_rows=rows, masks=masks, external=SDRAM_BITS)


# One build serves several tests.
TIGHT = ring(64, masks=0)
TIGHT_PAUSES = 31

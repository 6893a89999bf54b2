"""``residuum verify``."""

from residuum.sim.bench.verify import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

"""``residuum bench``."""

from residuum.sim.bench.bench import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

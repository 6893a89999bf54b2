"""``residuum netlist``."""

from residuum.sim.netlist.netlist import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

"""``residuum synth``."""

from residuum.boards.build.synth import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

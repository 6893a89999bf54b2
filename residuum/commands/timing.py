"""``residuum timing``."""

from residuum.boards.build.timing import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

"""``residuum program``."""

from residuum.boards.build.program import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

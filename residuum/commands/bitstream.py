"""``residuum bitstream``."""

from residuum.boards.build.bitstream import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

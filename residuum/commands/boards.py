"""``residuum boards``."""

from residuum.boards.catalogue import DESCRIPTION, EXAMPLES, configure, run

__all__ = ["DESCRIPTION", "EXAMPLES", "configure", "run"]

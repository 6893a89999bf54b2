"""``python -m residuum``."""

import sys

from residuum.cli import main

sys.exit(main())

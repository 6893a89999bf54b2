"""Training, conversion, the integer network and its golden model."""

import os
import sys

# Waiting torch threads must sleep: on a busy machine, spinning makes the golden model many times
# slower (docs/decisions.md). OMP_WAIT_POLICY takes effect only if it is set before torch is
# imported; see `residuum.sw.threads` for the other case.
THREADS_SLEEP = "torch" not in sys.modules or "OMP_WAIT_POLICY" in os.environ
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""Training, conversion, the integer network and its golden model."""

import os
import sys

# Threads of torch must sleep while they wait for each other: where other programs need the cores,
# spinning makes the golden model ten times slower. The variable counts only before torch is loaded;
# `residuum.sw.threads` says what is done where torch came first.
THREADS_SLEEP = "torch" not in sys.modules or "OMP_WAIT_POLICY" in os.environ
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

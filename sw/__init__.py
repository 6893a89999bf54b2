"""Training, conversion, the integer network and its golden model."""

import os

# Threads of torch sleep while they wait for each other: where others need the cores, spinning makes
# the golden model ten times slower. It counts only if it is set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""Settings for all tests."""

import hypothesis
import torch

# Tests run side by side: threads of one would only wait for those of the other.
torch.set_num_threads(1)

# One failing case must be enough to run it again; times vary too much on shared machines.
hypothesis.settings.register_profile(
    "residuum", deadline=None, print_blob=True, derandomize=False, database=None
)
hypothesis.settings.load_profile("residuum")

"""Settings for all tests."""

import hypothesis

# One failing case must be enough to run it again; times vary too much on shared machines.
hypothesis.settings.register_profile(
    "residuum", deadline=None, print_blob=True, derandomize=False, database=None
)
hypothesis.settings.load_profile("residuum")

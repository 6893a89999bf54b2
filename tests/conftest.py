"""Settings for all tests."""

from pathlib import Path

import hypothesis
import pytest
import torch

from tests.folders import work_in

# Tests run side by side: threads of one would only wait for those of the other.
torch.set_num_threads(1)

# One failing case must be enough to run it again; times vary too much on shared machines.
hypothesis.settings.register_profile(
    "residuum", deadline=None, print_blob=True, derandomize=False, database=None
)
hypothesis.settings.load_profile("residuum")


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working folder; what commands make goes to ``build/`` in it."""
    work_in(tmp_path, monkeypatch)
    return tmp_path

"""Settings for all tests."""

from pathlib import Path

import hypothesis
import pytest
import torch

from tests.folders import work_in

# Tests run in parallel: more threads would only wait for each other.
torch.set_num_threads(1)

# Print what reproduces a failing case. No deadline: times vary too much on shared machines.
hypothesis.settings.register_profile(
    "residuum", deadline=None, print_blob=True, derandomize=False, database=None
)
hypothesis.settings.load_profile("residuum")


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; commands write to ``build/`` in it."""
    work_in(tmp_path, monkeypatch)
    return tmp_path


def pytest_collection_modifyitems(items):
    """The folder with the longest files first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.path.parent.name != "sim")

"""Waiting torch threads: the order of imports decides whether they sleep or spin."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch
torch.set_num_threads(3)
import residuum.sw
from residuum.sw.golden import golden_model
from residuum.sw.network.library import load_network
import numpy as np

seen = []
batch = golden_model._simulate_batch
golden_model._simulate_batch = lambda *args: (seen.append(torch.get_num_threads()), batch(*args))[1]
golden_model.simulate(load_network("digits"), np.zeros((1, 1, 8, 8), np.uint8), tau=1, T=1)
print(*seen, torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("first", "policy", "expected"),
    [
        ("import torch", None, "1 3"),
        ("import torch", "PASSIVE", "3 3"),
        ("import residuum.sw", None, "3 3"),
    ],
)
def test_golden_model_takes_one_thread_where_threads_would_spin(
    first: str, policy: str | None, expected: str
) -> None:
    """Number of threads during and after a batch."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{SCRIPT}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected

"""Threads of torch where they would spin."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from residuum.sw import THREADS_SLEEP


@contextmanager
def no_spinning_threads() -> Iterator[None]:
    """In the block torch computes on one thread if its threads spin while they wait.

    They do if torch was imported before `residuum.sw` and OMP_WAIT_POLICY was not set. On a busy
    machine of two cores, two spinning threads took 20 to 70 seconds for what one did in 4 to 9;
    on an idle one, one thread takes up to twice as long as two. To have all threads, import
    `residuum.sw` first, or set OMP_WAIT_POLICY=PASSIVE.
    """
    if THREADS_SLEEP:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Limits torch to one thread if its waiting threads would spin."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from residuum.sw import THREADS_SLEEP


@contextmanager
def no_spinning_threads() -> Iterator[None]:
    """In the block, torch computes on one thread if its waiting threads would spin.

    Waiting threads spin if torch was imported before `residuum.sw` and OMP_WAIT_POLICY was not set.
    On a busy machine with two cores, the same work took two spinning threads 20 to 70 seconds, and
    one thread 4 to 9. On an idle machine, one thread takes up to twice as long as two. To use all
    threads, import `residuum.sw` first, or set OMP_WAIT_POLICY=PASSIVE.
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

"""Functions that the tests of the pieces run, also in other processes."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from residuum.sw.errors import ResiduumError


def double(number: int) -> int:
    return 2 * number


def logged(number: int, log: str) -> int:
    """Append the number to a file, one byte, for each time that the piece runs."""
    with Path(log).open("ab") as file:
        file.write(bytes([number]))
    return number


def slow(number: int, log: str, seconds: float) -> int:
    time.sleep(seconds)
    return logged(number, log)


def bad(number: int) -> Any:
    """Most numbers are doubled; 2 raises, 3 is killed, 5 takes too much memory, 7 is refused."""
    if number == 2:
        raise ValueError("no 2 here")
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        return out_of_memory()
    if number == 7:
        raise ResiduumError("the number 7 is not possible")
    if number == 11:
        return object()
    return 2 * number


def out_of_memory() -> int:
    """Allocate more than the process may have."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, before[1]))
    try:
        return len(bytearray(1 << 34))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

"""Prints what a piece of work costs besides its own work: ``python -m tests.pieces_overhead``."""

import os
import tempfile
import time

from residuum.sw.files import BUILD_VARIABLE
from residuum.sw.pieces.run import Piece, Pool, run
from tests.sw.pieces_work import double

COUNT = 10_000


def milliseconds(pool: Pool) -> tuple[float, float]:
    """Mean time of a trivial piece, with an empty store: elapsed, and of this process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[BUILD_VARIABLE] = folder
        started, busy = time.perf_counter(), time.process_time()
        run([Piece(double, {"number": n}, str(n)) for n in range(COUNT)], pool, title="doubles")
        elapsed, used = time.perf_counter() - started, time.process_time() - busy
        return 1000 * elapsed / COUNT, 1000 * used / COUNT


if __name__ == "__main__":
    for name, pool in {"processes": Pool(), "threads": Pool(in_threads=True)}.items():
        elapsed, used = milliseconds(pool)
        print(f"{COUNT:,} pieces in {name}: {elapsed:.2f} ms each, {used:.2f} ms of this process")

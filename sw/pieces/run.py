"""Runs independent pieces of work on the cores of this machine or on a Dask cluster.

A piece is a function with plain arguments. Its result is kept (`residuum.sw.pieces.store`) under
the digest of function, arguments, code and tools (`residuum.sw.pieces.depends`), as soon as the
piece is finished. So any command that runs pieces may end at any moment, and goes on from there.
"""

import contextlib
import hashlib
import importlib
import logging
import os
import pickle
import platform
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from threading import Event
from typing import Any

from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, shown
from residuum.sw.pieces.depends import code_digest
from residuum.sw.pieces.store import Store, decode, digest_of, encode
from residuum.sw.progress import SILENT, Dropped, Reporter, Task, followed

# Seconds between two looks at the progress, and between two looks at the workers of a cluster.
POLL = 0.25
LOOK = 2.0
# Pieces travel in batches, up to this number and about this many seconds: a piece alone costs more
# than a millisecond.
LARGEST_BATCH = 64
SHORT = 0.1
# Failed pieces that a message names.
NAMED = 20
LOCAL = "local"

Watcher = Callable[[float], None]
# Seconds that a batch took, and for each piece how it ended, with its result or the reason.
Outcome = tuple[float, list[tuple[str, Any]]]


@dataclass(frozen=True)
class Piece:
    """A function of a module, and its arguments.

    Attributes
    ----------
    arguments
        Plain values, numpy arrays, and dataclasses of them: everything that the result depends on.
        A file is named by the digest of its content.
    name
        What the piece is, for messages.
    size
        Amount of work, in the unit of the progress.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    name: str
    size: float = 1

    @property
    def module(self) -> str:
        """The module of the function, also if it is the main program."""
        name = self.function.__module__
        return sys.modules[name].__spec__.name if name == "__main__" else name  # type: ignore[union-attr]

    @property
    def code(self) -> str:
        """The digest of the sources and tools of the function."""
        return code_digest(self.module)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={_short(value)}" for name, value in self.arguments.items())
        return f"{self.name} ({given})"


@dataclass(frozen=True)
class Pool:
    """Where pieces run.

    Attributes
    ----------
    jobs
        Number of pieces that run at a time on this machine.
    cluster
        "local" for a Dask cluster on this machine, or the address of a Dask scheduler; None: no
        cluster.
    in_threads
        Run them in threads of this process, not in processes: for pieces that mostly wait for
        other programs. Without effect on a cluster.
    threads
        Threads of torch for a piece.
    """

    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    cluster: str | None = None
    in_threads: bool = False
    threads: int = 1


class Interrupted(KeyboardInterrupt):
    """Pieces that were interrupted; the message says what is kept and how to go on."""


class PiecesFailed(ResiduumError):
    """Some pieces failed; the message names each with its arguments."""


def run(
    pieces: Sequence[Piece],
    pool: Pool,
    *,
    title: str,
    unit: str = "pieces",
    doing: str = "computed",
    reporter: Reporter = SILENT,
) -> list[Any]:
    """The results of pieces, in their order: JSON values and arrays. Runs only what is not kept.

    Parameters
    ----------
    title, unit
        The name of all pieces together, and the unit of their sizes.
    doing
        What happens to a piece, for the message at Ctrl-C: "measured".

    Raises
    ------
    PiecesFailed
        After all others are done, if pieces raised an exception, or their process was killed.
    ResiduumError
        If the cluster cannot be reached, a worker has other sources or tools, or the store cannot
        be used.
    Interrupted
        At Ctrl-C, after the pieces that run are finished and kept; a second Ctrl-C drops them.
    """
    store, memory = Store(build_folder() / "pieces"), dict[int, bytes]()
    keys = [_key(piece, memory) for piece in pieces]
    work = dict(zip(keys, pieces, strict=True))
    total = sum(piece.size for piece in work.values())
    runner = _Runner(store, work, pool, reporter)
    left = sum(work[key].size for key in runner.waiting)
    if 0 < left < total:
        reporter.say(f"{title}: {total - left:,.0f} of {total:,.0f} {unit} were done before")
    if runner.waiting:
        with reporter.task(title, total=left, unit=unit) as task:
            try:
                runner.run(task, doing)
            except KeyboardInterrupt:
                done = sum(work[key].size for key in runner.results)
                raise Interrupted(
                    f"{done:,.0f} of {total:,.0f} {unit} of {title} are done and kept in "
                    f"{shown(store.folder)}; the same command goes on from there"
                ) from None
    if runner.failed:
        lines = [f"{work[key]}: {runner.failed[key]}" for key in work if key in runner.failed]
        more = [f"and {len(lines) - NAMED:,} more"] * (len(lines) > NAMED)
        raise PiecesFailed(
            f"{len(lines):,} of {len(work):,} pieces of {title} failed, the others are done and "
            f"kept in {shown(store.folder)}: " + "\n  ".join(["", *lines[:NAMED], *more]).lstrip()
        )
    return [runner.results[key] for key in keys]


def _key(piece: Piece, memory: dict[int, bytes]) -> str:
    """The digest of everything that the result of a piece depends on."""
    name = f"{piece.module} {piece.function.__qualname__} {piece.code} "
    return hashlib.sha256(name.encode() + digest_of(piece.arguments, memory)).hexdigest()


def _short(value: object) -> str:
    """A value for a message."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"array {'x'.join(map(str, shape))}"
    text = repr(getattr(value, "name", None) or value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Runner:
    """Runs the pieces that are not kept, in batches: a few more than there are workers."""

    def __init__(
        self, store: Store, work: Mapping[str, Piece], pool: Pool, reporter: Reporter
    ) -> None:
        self._store, self._work, self._pool, self._reporter = store, work, pool, reporter
        self.results: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.waiting = deque(key for key in work if not self._kept(key))
        # Pieces that ran when a process was killed: they run again, one at a time. Then the piece
        # that runs alone is to blame.
        self._suspects: deque[str] = deque()
        self._alone: list[str] = []
        self._running: dict[Future[Outcome], list[str]] = {}
        self._batch = 1
        # Work that is done: of the finished pieces, and of each that runs in a thread.
        self._done = 0.0
        self._steps: dict[str, float] = {}
        self._drop = Event()

    def _kept(self, key: str) -> bool:
        try:
            self.results[key] = self._store.get(key)
        except KeyError:
            return False
        except ValueError:
            path = shown(self._store.path(key))
            self._reporter.say(f"{path} is damaged; {self._work[key].name} is computed again")
            return False
        return True

    def run(self, task: Task, doing: str) -> None:
        """Run all pieces. The first Ctrl-C lets the running ones finish, the second drops them."""
        workers = _Workers(self._pool, self._reporter)
        try:
            while self.waiting or self._suspects or self._running:
                self._start(workers)
                self._keep_finished(task, workers)
        except KeyboardInterrupt:
            self._reporter.say(f"finishing what is being {doing}; interrupt again to drop it")
            # loky stumbles over cancelled work when it has to end at once: processes run what they
            # have been given.
            if self._pool.cluster is None and self._pool.in_threads:
                for future in [each for each in self._running if each.cancel()]:
                    del self._running[future]
            while self._running:
                self._keep_finished(task, workers)
            raise
        finally:
            self._drop.set()
            workers.close(drop=bool(self._running))

    def _start(self, workers: "_Workers") -> None:
        """Start as many batches as there is room for; a suspect only if no other piece runs."""
        queue, room, size = self.waiting, workers.room(), self._batch
        if self._suspects:
            queue, room, size = self._suspects, 1, 1
        while queue and len(self._running) < room:
            keys = [queue.popleft() for _ in range(min(size, -(-len(queue) // room)))]
            if queue is self._suspects:
                self._alone = keys
            watchers = [partial(self._watch, key) for key in keys]
            self._running[workers.submit([self._work[key] for key in keys], watchers)] = keys

    def _watch(self, key: str, share: float) -> None:
        if self._drop.is_set():
            raise Dropped
        self._steps[key] = share * self._work[key].size

    def _keep_finished(self, task: Task, workers: "_Workers") -> None:
        """Wait up to `POLL` seconds, keep what is finished, and report the progress."""
        done, _ = wait(self._running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            keys = self._running[future]
            try:
                seconds, found = future.result()
            except CancelledError:
                raise ResiduumError(
                    f"the connection to the Dask scheduler at {self._pool.cluster} is lost; what "
                    "was finished is kept, and the same command goes on from there"
                ) from None
            except Exception as error:
                if not _was_killed(error):
                    raise
                if keys == self._alone:
                    self._take(keys[0], "failed", _killed(error))
                else:
                    self._suspects.extend(keys)
                workers.mend()
            else:
                for key, (how, what) in zip(keys, found, strict=True):
                    self._take(key, how, what)
                self._batch = max(1, min(LARGEST_BATCH, int(len(keys) * SHORT / (seconds + 1e-9))))
            # This comes last: after a Ctrl-C before it, the batch still counts as running and is
            # kept again.
            del self._running[future]
        task.update(done=self._done + sum(list(self._steps.values())))

    def _take(self, key: str, how: str, what: Any) -> None:
        """Keep the result of a piece, or remember why there is none."""
        if how == "other sources":
            raise ResiduumError(
                f"{what} has other sources or tools than this command: stop its workers, bring "
                "it to the same commit and the same set-up, and start them again"
            )
        if how == "failed":
            self.failed[key] = what
        else:
            self._store.put(key, what)
            self.results[key] = decode(what)
        self._steps.pop(key, None)
        self._done += self._work[key].size


class _Workers:
    """The threads, processes or cluster that pieces run on."""

    def __init__(self, pool: Pool, reporter: Reporter) -> None:
        self._pool, self._reporter = pool, reporter
        self._exits = contextlib.ExitStack()
        self._client: Any = None
        self._known: dict[str, int] = {}
        self._looked = 0.0
        if pool.cluster is not None:
            self._client = self._exits.enter_context(_client(pool))
            self._executor: Executor = self._client.get_executor(pure=False)
        elif pool.in_threads:
            self._executor = ThreadPoolExecutor(pool.jobs)
        else:
            self.mend()

    def mend(self) -> None:
        """Start processes, also in place of killed ones; a cluster does that by itself."""
        if self._client is None:
            from joblib.externals.loky import get_reusable_executor

            # A process may be idle while others have long pieces: loky ends it, with a warning,
            # after ten seconds unless told otherwise.
            self._executor = get_reusable_executor(
                self._pool.jobs,
                timeout=86_400,
                initializer=_ignore_ctrl_c,
                env={"OMP_NUM_THREADS": str(self._pool.threads)},
            )

    def room(self) -> int:
        """How many batches to have started: enough that no worker waits for the next one."""
        if self._client is None:
            return self._pool.jobs if self._pool.in_threads else 2 * self._pool.jobs
        if time.monotonic() > self._looked + LOOK:
            now = self._client.nthreads()
            for address in self._known.keys() - now.keys():
                self._reporter.say(f"the worker {address} is gone; others take over its pieces")
            if not now and (self._known or not self._looked):
                self._reporter.say("the cluster has no workers; waiting for one")
            self._known, self._looked = now, time.monotonic()
        return 2 * sum(self._known.values()) or 1

    def submit(self, batch: Sequence[Piece], watchers: Sequence[Watcher]) -> Future[Outcome]:
        """Start pieces."""
        threads = self._pool.threads
        if self._client is None and self._pool.in_threads:
            calls = [(piece.function, piece.arguments) for piece in batch]
            return self._executor.submit(_execute, calls, threads, watchers, self._reporter)
        names = [(each.module, each.function.__qualname__, each.code) for each in batch]
        packed = pickle.dumps([dict(piece.arguments) for piece in batch])
        try:
            return self._executor.submit(_execute_packed, names, packed, threads)
        except BrokenExecutor:
            self.mend()
            return self._executor.submit(_execute_packed, names, packed, threads)

    def close(self, *, drop: bool) -> None:
        """Leave the workers; ``drop`` ends what still runs."""
        if self._client is not None:
            self._executor.shutdown(wait=not drop)
        elif self._pool.in_threads:
            self._executor.shutdown()
        elif drop:
            # `shutdown(kill_workers=True)` of loky races with its own thread.
            for process in list(self._executor._processes.values()):  # type: ignore[attr-defined]
                process.terminate()
            self._executor.shutdown()
        self._exits.close()


@contextlib.contextmanager
def _client(pool: Pool) -> Iterator[Any]:
    """A client of the cluster that ``pool`` names."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ResiduumError(
            "Dask is not installed; install it with: pip install 'residuum[cluster]'"
        ) from None
    with contextlib.ExitStack() as exits:
        address: Any = pool.cluster
        if address == LOCAL:
            address = exits.enter_context(
                LocalCluster(
                    n_workers=pool.jobs,
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        try:
            client = exits.enter_context(Client(address, timeout=10))
        except (OSError, ValueError) as error:
            raise ResiduumError(
                f"there is no Dask scheduler at {address} ({error}); start one with "
                "`dask scheduler`, or name the address that it prints"
            ) from None
        yield client


def _ignore_ctrl_c() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _was_killed(error: Exception) -> bool:
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _killed(error: Exception) -> str:
    ends = re.search(r"\{(.*)\}", str(error))
    how = f" by {ends[1]}" if ends else ""
    return f"its process was killed{how}, as when memory runs out"


def _execute_packed(names: list[tuple[str, str, str]], arguments: bytes, threads: int) -> Outcome:
    """In a worker process: run pieces if the sources here are those of the command."""
    if any(code_digest(module) != code for module, _, code in names):
        return 0, [("other sources", platform.node())] * len(names)
    functions = [getattr(importlib.import_module(module), name) for module, name, _ in names]
    return _execute(list(zip(functions, pickle.loads(arguments), strict=True)), threads)


def _execute(
    calls: Sequence[tuple[Callable[..., Any], Mapping[str, Any]]],
    threads: int,
    watchers: Iterable[Watcher] = repeat(lambda share: None),
    reporter: Reporter = SILENT,
) -> Outcome:
    """Run pieces one after another."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    started = time.monotonic()
    found = []
    for (function, arguments), watcher in zip(calls, watchers, strict=False):
        with followed(watcher, reporter):
            found.append(_outcome(function, arguments))
    return time.monotonic() - started, found


def _outcome(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[str, Any]:
    """("done", the encoded result), or ("failed", the reason)."""
    try:
        return "done", encode(function(**arguments))
    except Dropped:
        raise
    except ResiduumError as error:
        return "failed", str(error)
    except (Exception, SystemExit) as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        return "failed", f"{type(error).__name__} in {place}: {error}"

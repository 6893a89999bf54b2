"""Progress reports of long work, independent of a console.

The caller passes a `Reporter`. The commands pass one that draws progress bars; `SILENT` prints
nothing.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """A task in progress."""

    def advance(self, amount: float = 1) -> None:
        """Report ``amount`` more units as done."""

    def update(
        self,
        *,
        name: str | None = None,
        done: float | None = None,
        total: float | None = None,
        detail: str | None = None,
    ) -> None:
        """Change the given values; ``done`` and ``total`` are in the unit of the task."""


class Reporter(Protocol):
    """Receiver of progress reports."""

    def say(self, line: str) -> None:
        """Print a line that stays on the screen or in the log."""

    def task(
        self, name: str, *, total: float | None = None, unit: str = ""
    ) -> AbstractContextManager[Task]:
        """Start a task that lasts until the end of the block.

        ``total`` is None while the amount of work is not known. ``unit`` is "B" for bytes, else the
        noun of what is counted ("images").
        """


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        pass

    def update(
        self,
        *,
        name: str | None = None,
        done: float | None = None,
        total: float | None = None,
        detail: str | None = None,
    ) -> None:
        pass


class _Silent:
    def say(self, line: str) -> None:
        pass

    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        yield _SilentTask()


SILENT: Reporter = _Silent()


class Dropped(Exception):
    """Ends work whose result is no longer wanted."""


_watchers = threading.local()


def watch(done: float) -> None:
    """Called by long work, in the units of its caller: tells who watches this thread.

    Raises `Dropped` if the result is no longer wanted.
    """
    getattr(_watchers, "watcher", lambda done: None)(done)


@contextmanager
def watched(watcher: Callable[[float], None]) -> Iterator[None]:
    """In the block, `watch` in this thread calls ``watcher``."""
    _watchers.watcher = watcher
    try:
        yield
    finally:
        del _watchers.watcher

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


class _Here(threading.local):
    """Who follows the work in a thread."""

    reporter: Reporter = SILENT
    watcher: Callable[[float], None] = staticmethod(lambda share: None)


_here = _Here()


def watch(share: float) -> None:
    """Called by work with the share of it that is done, 0..1, for who follows it.

    Raises `Dropped` if its result is no longer wanted.
    """
    _here.watcher(share)


def reporter_here() -> Reporter:
    """The reporter of who follows the work in this thread."""
    return _here.reporter


@contextmanager
def followed(watcher: Callable[[float], None], reporter: Reporter) -> Iterator[None]:
    """In the block, `watch` and `reporter_here` in this thread lead to these."""
    before = _here.watcher, _here.reporter
    _here.watcher, _here.reporter = watcher, reporter
    try:
        yield
    finally:
        _here.watcher, _here.reporter = before

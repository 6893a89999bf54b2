"""Progress of long work, reported without knowing a console.

Whoever starts the work hands in a `Reporter`; the commands have one that draws bars, and `SILENT`
says nothing.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """A piece of work that is being done."""

    def advance(self, amount: float = 1) -> None:
        """``amount`` more units are done."""

    def update(
        self,
        *,
        name: str | None = None,
        done: float | None = None,
        total: float | None = None,
        detail: str | None = None,
    ) -> None:
        """Change what is given; ``done`` and ``total`` are in the unit of the task."""


class Reporter(Protocol):
    """Receives the progress of work."""

    def say(self, line: str) -> None:
        """A line that stays on the screen or in the log."""

    def task(
        self, name: str, *, total: float | None = None, unit: str = ""
    ) -> AbstractContextManager[Task]:
        """A piece of work, from here to the end of the block.

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

"""Console output of the commands: progress, and the paths of results."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from residuum.sw.data.data_sets import Access
from residuum.sw.files import shown, write_json
from residuum.sw.progress import Task

# Seconds between two lines on a task if no bar can be drawn, as in a log.
LINE_EVERY = 60.0


def say_written(*paths: Path) -> None:
    """Print a line for each written file."""
    for path in paths:
        print(f"written: {shown(path)}")


def write_report(path: Path, report: object) -> None:
    """Write a report as JSON, atomically, and print its path."""
    write_json(path, report)
    say_written(path)


def data_access(args: argparse.Namespace) -> Access:
    """Data set access with ``--allow-modified`` and downloads shown on the console."""
    return Access(args.allow_modified, ConsoleReporter())


class _Count(ProgressColumn):
    """Amount done and total, in the unit of the task."""

    def render(self, task: RichTask) -> Text:
        if task.total is None:
            return Text("")
        amounts = (task.completed, task.total)
        if task.fields["unit"] == "B":
            return Text("/".join(decimal(int(amount)) for amount in amounts))
        return Text("/".join(f"{amount:,.0f}" for amount in amounts))


class ConsoleReporter:
    """Progress on standard error: bars on a terminal, else one line per minute and task.

    Implements `residuum.sw.progress.Reporter`. Several threads may have tasks in parallel.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self._lock = RLock()
        self._running = 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Count(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            # A single step may take a minute.
            speed_estimate_period=3600,
        )

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        """See `residuum.sw.progress.Reporter.task`."""
        with self._lock:
            self._running += 1
            if self._running == 1:
                self._progress.start()
        try:
            task = _ConsoleTask(self, name, total, unit)
            try:
                yield task
            finally:
                self._progress.remove_task(task.row)
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._progress.stop()


class _ConsoleTask:
    def __init__(self, reporter: ConsoleReporter, name: str, total: float | None, unit: str):
        self._reporter = reporter
        self._name, self._unit = name, unit
        self._done, self._total, self._detail = 0.0, total, ""
        self._started = self._told = time.monotonic()
        self.row = reporter._progress.add_task(name, total=total, unit=unit, detail="")

    def advance(self, amount: float = 1) -> None:
        self.update(done=self._done + amount)

    def update(
        self,
        *,
        name: str | None = None,
        done: float | None = None,
        total: float | None = None,
        detail: str | None = None,
    ) -> None:
        if name is not None:
            self._name = name
        if total is not None:
            self._total = total
        if done is not None:
            self._done = done
        if detail is not None:
            self._detail = detail
        self._reporter._progress.update(
            self.row,
            description=self._name,
            completed=self._done,
            total=self._total,
            detail=self._detail,
        )
        self._tell()

    def _tell(self) -> None:
        """Without a terminal, print a line per minute."""
        now = time.monotonic()
        if self._reporter.console.is_terminal or now - self._told < LINE_EVERY or not self._done:
            return
        self._told = now
        line = f"{self._name}: {self._done:,.0f}"
        if self._total:
            left = (now - self._started) / self._done * (self._total - self._done)
            line += f" of {self._total:,.0f} {self._unit}".rstrip()
            line += f", about {left / 60:,.0f} min left"
        self._reporter.say(line)

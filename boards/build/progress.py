"""Progress of the tools, read off the lines that they print."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_PASS = re.compile(r"[\d.]+\. Executing (\S+) ")
_PLACEMENT = re.compile(r"at (?:initial placer )?iter(?:ation)? #?(\d+)")
_ARCS = re.compile(r"Routing (\d+) arcs")
# Router 1: "| IterCnt | w/ripup wo/ripup | delta wo/ripup | remaining | ..."
_ROUTING = re.compile(r"^Info: +\d+ \|[ \d]+\|[ \d]+\| +(\d+)\|")


@dataclass
class Step:
    """Where a tool is: the phase, what it is at, and which share of the phase is done."""

    phase: str
    detail: str = ""
    done: float | None = None


@dataclass
class SynthesisLog:
    """Lines of yosys to steps: the pass that is running."""

    def __call__(self, line: str) -> Step | None:
        found = _PASS.match(line)
        return Step("synthesis", found[1].lower()) if found else None


@dataclass
class LayoutLog:
    """Lines of nextpnr to steps: iterations of the placer, then the share of routed connections."""

    arcs: int = field(default=0)

    def __call__(self, line: str) -> Step | None:
        if found := _ARCS.search(line):
            self.arcs = int(found[1])
            return Step("routing", f"{self.arcs:,} connections", 0)
        if self.arcs and (found := _ROUTING.match(line)):
            left = int(found[1])
            return Step("routing", f"{left:,} left", max(0.0, 1 - left / self.arcs))
        if not self.arcs and (found := _PLACEMENT.search(line)):
            return Step("placement", f"iteration {found[1]}")
        return None


class Display:
    """Shows what several builds are at; on a terminal live, elsewhere a line for every phase."""

    def __init__(self, console: Console):
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def phase(self, name: str, what: str) -> Iterator[Callable[[Step | None], None]]:
        """One phase (or two, as nextpnr places and routes in one go) of the build ``name``."""
        started = time.monotonic()
        task = self._progress.add_task(f"{name}: {what}", total=None, detail="")
        at = what

        def show(step: Step | None) -> None:
            nonlocal at, started
            if step is None:
                return
            if step.phase != at:
                self._finished(name, at, started)
                at, started = step.phase, time.monotonic()
                self._progress.reset(task, description=f"{name}: {at}")
            total = None if step.done is None else 1.0
            self._progress.update(task, total=total, completed=step.done or 0, detail=step.detail)

        try:
            yield show
        finally:
            self._progress.remove_task(task)
        self._finished(name, at, started)

    def _finished(self, name: str, phase: str, started: float) -> None:
        self.console.print(f"{name}: {phase} took {time.monotonic() - started:.0f} s")

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._progress.stop()

"""Progress of the tools, read off the lines that they print."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from residuum.sw.progress import Reporter

_PASS = re.compile(r"[\d.]+\. Executing (\S+) ")
_PLACEMENT = re.compile(r"at (?:initial placer )?iter(?:ation)? #?(\d+)")
_ARCS = re.compile(r"Routing (\d+) arcs")
# Router 1: "| IterCnt | w/ripup wo/ripup | delta wo/ripup | remaining | ..."
_ROUTING = re.compile(r"^Info: +\d+ \|[ \d]+\|[ \d]+\| +(\d+)\|")


@dataclass(frozen=True)
class Step:
    """Where a tool is: its phase, what it does there, and how much of how much is done."""

    phase: str
    detail: str = ""
    done: int | None = None
    total: int | None = None


class SynthesisLog:
    """Lines of yosys to steps: the pass that is running."""

    def __call__(self, line: str) -> Step | None:
        found = _PASS.match(line)
        return Step("synthesis", found[1].lower()) if found else None


class LayoutLog:
    """Lines of nextpnr to steps: iterations of the placer, then the connections routed so far."""

    def __init__(self) -> None:
        self.arcs = 0

    def __call__(self, line: str) -> Step | None:
        left = self.arcs
        if found := _ARCS.search(line):
            self.arcs = left = int(found[1])
        elif self.arcs and (found := _ROUTING.match(line)):
            left = int(found[1])
        elif not self.arcs and (found := _PLACEMENT.search(line)):
            return Step("placement", f"iteration {found[1]}")
        else:
            return None
        return Step("routing", "connections", max(0, self.arcs - left), self.arcs)


@contextmanager
def phase(reporter: Reporter, name: str, what: str) -> Iterator[Callable[[Step | None], None]]:
    """Report the phase ``what`` of the build ``name``, and at its end the seconds that it took.

    The block calls what it is given with every step of its tool. A step of another phase ends the
    one before: nextpnr places and routes in one run.
    """
    with ExitStack() as running:
        at, started = what, time.monotonic()
        task = running.enter_context(reporter.task(f"{name}: {what}"))

        def finish() -> None:
            running.close()
            reporter.say(f"{name}: {at} took {time.monotonic() - started:.0f} s")

        def show(step: Step | None) -> None:
            nonlocal at, started, task
            if step is None:
                return
            if step.phase != at:
                finish()
                at, started = step.phase, time.monotonic()
                task = running.enter_context(reporter.task(f"{name}: {at}", total=step.total))
            task.update(detail=step.detail, done=step.done)

        yield show
        finish()

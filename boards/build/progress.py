"""Progress of the tools, parsed from their output."""

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
    """A progress step of a tool: its phase, its work in this phase, amount done and total."""

    phase: str
    detail: str = ""
    done: int | None = None
    total: int | None = None


class SynthesisLog:
    """Parses the output of yosys: the current pass."""

    def __call__(self, line: str) -> Step | None:
        found = _PASS.match(line)
        return Step("synthesis", found[1].lower()) if found else None


class LayoutLog:
    """Parses the output of nextpnr: iterations of the placer, then the number of routed arcs."""

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
    """Report the phase ``what`` of the build ``name``, and its duration when it ends.

    The block calls the yielded function with every step of its tool. A step of another phase ends
    the previous phase: nextpnr places and routes in one run.
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

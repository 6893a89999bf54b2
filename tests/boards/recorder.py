"""A reporter that records all calls."""

from contextlib import contextmanager


class Recorder:
    """Implements `residuum.sw.progress.Reporter` and `Task`.

    ``lines`` are the printed lines; ``events`` are the tasks and their updates, in order.
    """

    def __init__(self):
        self.lines = []
        self.events = []

    def say(self, line):
        self.lines.append(line)

    @contextmanager
    def task(self, name, *, total=None, unit=""):
        self.events.append((name, total))
        yield self

    def advance(self, amount=1):
        raise AssertionError("builds tell amounts, not differences")

    def update(self, *, name=None, done=None, total=None, detail=None):
        self.events.append((detail, done))

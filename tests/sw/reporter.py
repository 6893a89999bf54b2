"""Reporters for tests."""

from collections.abc import Iterator
from contextlib import contextmanager

from residuum.sw.progress import SILENT


class Lines:
    """Records the printed lines; see `residuum.sw.progress.Reporter`."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.task = SILENT.task

    def say(self, line: str) -> None:
        self.said.append(line)


class Recorder(Lines):
    """Records the tasks too: the last amount done and the total, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, tuple[float | None, float | None]] = {}
        self.task = self._task  # type: ignore[method-assign]

    @contextmanager
    def _task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator:
        recorder = self

        class Task:
            def update(self, *, done: float | None = None, **_: object) -> None:
                recorder.tasks[name] = done, total

        yield Task()

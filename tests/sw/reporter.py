"""A reporter for tests."""

from residuum.sw.progress import SILENT


class Lines:
    """Records the printed lines; see `residuum.sw.progress.Reporter`."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.task = SILENT.task

    def say(self, line: str) -> None:
        self.said.append(line)

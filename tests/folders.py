"""Folders of their own for tests."""

from pathlib import Path

import pytest

from residuum.sw.files import BUILD_VARIABLE, build_folder


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an empty folder the working folder, and ``build/`` in it the one of the commands.

    Simulations that were compiled before are used again.
    """
    compiled = build_folder() / "verilator"
    compiled.mkdir(parents=True, exist_ok=True)
    (folder / "build").mkdir()
    (folder / "build" / "verilator").symlink_to(compiled)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(BUILD_VARIABLE, str(folder / "build"))

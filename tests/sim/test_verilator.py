import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import cocotb
import cocotb_tools.config
import numpy as np
import pytest
from amaranth.hdl import Const, Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.sim.verilator import build as verilator
from residuum.sim.verilator.build import (
    Port,
    SimulationError,
    build,
    build_program,
    module_ports,
    verilog_text,
)
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder
from tests.sim.demo import Demo

BENCH = "tests.sim.wrapper_bench"
VISIBLE = ["clk", "rst", "streak", "host__address"]
GIVEN = {"cycles": 3, "words": np.arange(5), "text": "µ", "ports": [*VISIBLE, "valid_1"]}


@pytest.fixture(scope="module")
def simulation():
    return build(Demo(), name="demo")


class Wide(wiring.Component):
    level: In(signed(5))
    same: Out(signed(5))
    one: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.same.eq(self.level), self.one.eq(Const(1))]
        return m


def test_ports_of_the_verilog():
    ports = module_ports(verilog_text(Wide(), name="wide"), "wide")
    assert set(ports) == {
        Port("level", "input", 5),
        Port("same", "output", 5),
        Port("one", "output", 1),
    }


def test_verilog_does_not_depend_on_the_place_of_the_sources():
    assert str(Path(__file__).parent) not in verilog_text(Demo())


def test_values_and_arrays_go_in_and_come_back(simulation):
    values = simulation.run(BENCH, testcase="count", parameters=GIVEN)
    assert (values["doubled"].tolist(), values["text"]) == ([0, 2, 4, 6, 8], "µ")


def test_only_ports_are_visible(simulation):
    values = simulation.run(BENCH, testcase="count", parameters=GIVEN)
    assert values["ports"] == [True, True, True, True, False]


def test_a_seed_repeats_what_is_drawn(simulation):
    runs = [
        simulation.run(BENCH, testcase="count", parameters=GIVEN, seed=seed) for seed in (5, 5, 6)
    ]
    first, again, other = (values["drawn"] for values in runs)
    assert first == again != other


def test_steps_and_log(simulation, tmp_path):
    log, steps = tmp_path / "run.log", []
    simulation.run(BENCH, testcase="count", parameters=GIVEN, log=log, watch=steps.append)
    assert "written to the log" in log.read_text()
    assert steps[-1] == 3


def test_a_failing_test_raises_with_its_message_and_the_log(simulation, tmp_path):
    log = tmp_path / "run.log"
    with pytest.raises(SimulationError, match="wrong: the streak is not what it should") as error:
        simulation.run(BENCH, testcase="wrong", log=log)
    assert f"The end of the log {log}:" in str(error.value)


def test_a_run_that_does_not_end_is_stopped(simulation):
    with pytest.raises(SimulationError, match="stopped after 3 seconds"):
        simulation.run(BENCH, testcase="endless", timeout=3)


def test_a_bench_without_a_matching_test(simulation):
    with pytest.raises(SimulationError, match=r"no test that matches|ended before"):
        simulation.run(BENCH, testcase="none_of_this_name")


def test_make_variable_waves_does_not_reach_a_build_without_waves(simulation, monkeypatch):
    monkeypatch.setenv("WAVES", "1")
    assert simulation.run(BENCH, testcase="count", parameters=GIVEN)["text"] == "µ"


def test_waves():
    simulation = build(Demo(), name="demo-waves", waves=True)
    file = build_folder() / "waves" / "demo-waves.vcd"
    file.unlink(missing_ok=True)
    simulation.run(BENCH, testcase="count", parameters=GIVEN)
    assert "valid_1" in file.read_text()


def test_waves_of_a_run_that_broke_off_are_removed(in_tmp):
    """If the caller stops the run, or the file grows too large, nothing of the waves remains."""
    simulation = build(Demo(), name="demo-waves", waves=True)
    with pytest.raises(SimulationError, match="stopped after 1 seconds"):
        simulation.run(BENCH, testcase="endless", timeout=1)
    small = dataclasses.replace(simulation, most_waves=100_000)
    with pytest.raises(SimulationError, match="the waves take more than 0 MB, so the simulation"):
        small.run(BENCH, testcase="endless")
    assert list(small.waves_file.parent.iterdir()) == []


def test_waves_of_a_failed_test_stay(in_tmp):
    simulation = build(Demo(), name="demo-waves", waves=True)
    with pytest.raises(SimulationError, match="wrong: the streak"):
        simulation.run(BENCH, testcase="wrong")
    assert [path.name for path in simulation.waves_file.parent.iterdir()] == ["demo-waves.vcd"]


def test_an_exception_in_the_caller_ends_the_simulation(simulation, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running = []

    def interrupt(steps):
        cwds = {process: Path(f"/proc/{process}/cwd") for process in child_processes()}
        running.extend(p for p, cwd in cwds.items() if tmp_path in cwd.resolve().parents)
        if running:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.run(BENCH, testcase="endless", watch=interrupt)
    assert not set(running) & set(child_processes())


def child_processes() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(number) for task in tasks for number in task.read_text().split()]


def test_the_same_component_is_built_once(simulation, monkeypatch):
    monkeypatch.setattr(verilator, "_compile", None)
    assert build(Demo(), name="again").folder == simulation.folder


def test_another_component_is_another_build(simulation):
    assert build(Demo(salt=1), name="salted").folder != simulation.folder


BUILD_SALTED = """
import sys
from residuum.sim.verilator import build as verilator
from residuum.sw.files import build_folder
from tests.sim.demo import Demo
compile = verilator._compile
def counted(*arguments, **options):
    print("compiled")
    compile(*arguments, **options)
verilator._compile = counted
print(verilator.build(Demo(salt=int(sys.argv[1])), name="salted").folder)
"""


def test_two_processes_build_the_same_once():
    salt = str(int.from_bytes(os.urandom(3)))
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD_SALTED, salt], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [builder.communicate()[0].split() for builder in builders]
    folder = Path(said[0][-1])
    shutil.rmtree(folder)
    folder.with_suffix(".lock").unlink()
    assert sorted(len(lines) for lines in said) == [1, 2]
    assert said[0][-1] == said[1][-1]


def test_a_build_that_broke_off_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))

    def interrupted(name, folder, sources, **options):
        (folder / "simulation").write_text("half of a program")
        raise KeyboardInterrupt

    monkeypatch.setattr(verilator, "_compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(Demo(), name="demo")
    assert [path.suffix for path in (tmp_path / "verilator").iterdir()] == [".lock"]


def test_wrong_verilog_shows_the_tools_own_words(monkeypatch, tmp_path):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(
        verilator, "verilog_text", lambda *_, **__: "module top(a);\n  input a;\n  oops\nendmodule"
    )
    with pytest.raises(SimulationError, match=r"could not build demo(?s:.)*syntax error"):
        build(None, name="demo")


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SimulationError, match="`g\\+\\+` is needed"):
        verilator._require_programs()


TINY = {
    "top.v": 'module top(input clk); initial $write("42"); endmodule',
    "main.cpp": '#include "Vtop.h"\nint main() { Vtop top; top.eval(); return 0; }',
}


@pytest.mark.long
def test_the_runtime_of_verilator_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    logs = []
    for number in (1, 2):
        main = TINY["main.cpp"] + f"// {number}"
        program = build_program({**TINY, "main.cpp": main}, name="tiny")
        logs.append(program.with_name("build.log").read_text())
    assert ["verilated.cpp" in log for log in logs] == [True, False]


@pytest.mark.long
def test_a_path_with_characters_of_make_and_the_shell(tmp_path, monkeypatch):
    """The build folder and the folder of Python's packages may have arbitrary paths."""
    folder = tmp_path / 'it\'s $HOME #1 "x" \\ &;'
    (folder / "build" / "verilator").mkdir(parents=True)
    for runtime in (build_folder() / "verilator").glob("runtime-*"):
        (folder / "build" / "verilator" / runtime.name).symlink_to(runtime)
    site = folder / "site"
    site.symlink_to(Path(cocotb.__file__).parents[1])
    monkeypatch.setattr(cocotb_tools.config, "libs_dir", site / "cocotb" / "libs")
    monkeypatch.setattr(cocotb_tools.config, "share_dir", site / "cocotb" / "share")
    monkeypatch.setattr("importlib.metadata.Distribution.locate_file", lambda _, path: site / path)
    monkeypatch.setenv("RESIDUUM_BUILD", str(folder / "build"))
    program = build_program(TINY, name="tiny")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "42"
    values = build(Demo(), name="demo").run(BENCH, testcase="count", parameters=GIVEN)
    assert values["text"] == "µ"


def test_a_temporary_directory_that_make_cannot_use(tmp_path, monkeypatch):
    (tmp_path / "a b").mkdir()
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a b"))
    with pytest.raises(SimulationError, match=r"make cannot build in .*a b, .*; name another one"):
        build_program(TINY, name="tiny")


def test_no_temporary_directory(simulation, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(SimulationError, match=r"cannot be used: No such file or directory; name"):
        simulation.run(BENCH, testcase="count", parameters=GIVEN)


def test_a_temporary_directory_that_is_full_before_the_run(simulation, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(SimulationError, match="cannot be used: No space left on device; name"):
        simulation.run(BENCH, testcase="count", parameters=GIVEN)


def test_a_temporary_directory_that_is_full_in_the_run(simulation, monkeypatch):
    """The error message names the full disk, which the simulation itself does not."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(SimulationError, match="cannot be used: No space left on device; name"):
        simulation.run(BENCH, testcase="wrong")


@pytest.mark.parametrize("place", ["/proc/x", "file"])
def test_a_build_folder_that_cannot_be_made(place, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path / place))
    with pytest.raises(ResiduumError, match=r"verilator/\w+\.lock cannot be written: "):
        build_program(TINY, name="tiny")


def test_a_build_folder_that_is_full(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(verilator, "_run_verilator", lambda *_, **__: None)
    monkeypatch.setattr(shutil, "copy", full)
    with pytest.raises(ResiduumError, match=r"\w+.partial cannot be written: No space left on dev"):
        build_program(TINY, name="tiny")
    assert [path.suffix for path in (tmp_path / "verilator").iterdir()] == [".lock"]


def test_the_mover_needs_a_host_port():
    with pytest.raises(ValueError, match="needs the ports host__address, "):
        build(Wide(), name="wide", bulk=True)

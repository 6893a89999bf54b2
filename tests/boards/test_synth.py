import argparse
import json

import pytest
from amaranth.back import rtlil

from residuum.boards.build import synth, toolchain
from residuum.hw.isa.config import EngineConfig
from residuum.sw.errors import ResiduumError
from tests.boards.fake import fake
from tests.sim.demo import Demo


def synth_run(*words):
    parser = argparse.ArgumentParser()
    synth.configure(parser)
    return synth.run(parser.parse_args(words))


@pytest.fixture
def demo_unit(monkeypatch, tmp_path):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(synth, "UNITS", {"demo": lambda config: Demo()})
    return tmp_path / "synth"


def test_carry_cells_count_as_two_tables_and_lut_memories_as_six():
    cells = {"LUT4": 100, "CCU2C": 10, "TRELLIS_DPR16X4": 3, "PFUMX": 7, "TRELLIS_FF": 9}
    assert synth.count(cells).lut4 == 100 + 2 * 10 + 6 * 3


def test_both_kinds_of_block_ram_count():
    assert synth.count({"DP16KD": 3, "PDPW16KD": 2}).block_ram == 5


def test_a_unit_is_synthesised_and_reported(demo_unit, capsys):
    status = synth_run("--unit", "demo")
    report = json.loads((demo_unit / "demo.json").read_text())
    assert status == 0
    # 254 words of 32 bits are one block; five counters and two stages of data have 32 bits each.
    assert (report["block_ram"], report["multiplier"], report["lut_ram"]) == (1, 0, 0)
    assert 32 * 5 <= report["flip_flop"] <= 32 * 10
    assert f"{report['lut4']:,}" in capsys.readouterr().out


def test_an_unknown_unit_names_the_known_ones(demo_unit):
    with pytest.raises(ResiduumError, match="no unit 'engin'; the units are demo"):
        synth_run("--unit", "engin")


def test_a_size_that_cannot_be_is_one_sentence():
    with pytest.raises(ResiduumError, match="cannot be built: lanes must be in 1..1024, not 0"):
        synth_run("--lanes", "0")


@pytest.mark.parametrize("unit", synth.UNITS)
def test_every_unit_can_be_made(unit):
    config = EngineConfig.for_lanes(2, steps=2, weight_rows=8, feature_rows=8, memory="ecp5")
    assert rtlil.convert(synth.UNITS[unit](config), platform=None).count("\nmodule ") >= 1


def test_a_failing_yosys_is_one_sentence(demo_unit, monkeypatch):
    failing = fake(demo_unit, "failing-yosys", "echo 'ERROR: out of luck' >&2; exit 1")
    monkeypatch.setenv("YOSYS", str(failing))
    with pytest.raises(ResiduumError, match="could not synthesise demo: ERROR: out of luck"):
        synth_run("--unit", "demo")


def test_a_yosys_that_trips_over_names_is_run_again_without_them(demo_unit, monkeypatch, capsys):
    """It reports the cells of the second run, which has its own script."""
    yosys = toolchain.find("yosys")
    tripping = fake(
        demo_unit,
        "tripping-yosys",
        f'case "$*" in *purge*) exec {yosys} "$@" ;; esac\n'
        "echo 'ERROR: Assert `size of a name` failed in rtlil.cc.' >$2; exit 1",
    )
    synth_run("--unit", "demo")
    usual = capsys.readouterr().out
    monkeypatch.setenv("YOSYS", str(tripping))
    synth_run("--unit", "demo")
    assert capsys.readouterr().out == usual


def test_a_yosys_that_trips_both_times_is_one_sentence(demo_unit, monkeypatch):
    failing = fake(demo_unit, "failing-yosys", "echo 'ERROR: Assert `no` failed.' >$2; exit 1")
    monkeypatch.setenv("YOSYS", str(failing))
    with pytest.raises(
        ResiduumError, match=r"synthesise demo: ERROR: Assert `no` failed\. \(log: "
    ):
        synth_run("--unit", "demo")

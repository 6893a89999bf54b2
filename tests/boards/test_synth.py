import argparse
import json

import pytest

from boards import synth
from sw.errors import ResiduumError
from tests.sim.demo import Demo


def synth_main(*words):
    parser = argparse.ArgumentParser()
    synth.add_arguments(parser)
    return synth.main(parser.parse_args(words))


@pytest.fixture
def demo_unit(monkeypatch, tmp_path):
    monkeypatch.setattr(synth, "BUILD", tmp_path)
    monkeypatch.setattr(synth, "UNITS", {"demo": lambda lanes, steps, weight_rows: Demo()})
    return tmp_path


def test_carry_cells_count_as_two_tables_and_lut_memories_as_six():
    cells = {"LUT4": 100, "CCU2C": 10, "TRELLIS_DPR16X4": 3, "PFUMX": 7, "TRELLIS_FF": 9}
    assert synth.count(cells).lut4 == 100 + 2 * 10 + 6 * 3


def test_both_kinds_of_block_ram_count():
    assert synth.count({"DP16KD": 3, "PDPW16KD": 2}).block_ram == 5


def test_a_unit_is_synthesised_and_reported(demo_unit, capsys):
    status = synth_main("--unit", "demo")
    report = json.loads((demo_unit / "demo.json").read_text())
    assert status == 0
    # 254 words of 32 bits are one block; the design holds five counters of 32 bits and a data path.
    assert (report["block_ram"], report["multiplier"], report["lut_ram"]) == (1, 0, 0)
    assert 32 * 5 <= report["flip_flop"] <= 32 * 8
    assert f"{report['lut4']:,}" in capsys.readouterr().out


def test_an_unknown_unit_names_the_known_ones(demo_unit):
    with pytest.raises(ResiduumError, match="no unit 'engin'; the units are demo"):
        synth_main("--unit", "engin")


def test_a_size_that_cannot_be_is_one_sentence(monkeypatch):
    def factory(lanes, steps, weight_rows):
        raise ValueError(f"lanes must be in 1..1024, not {lanes}")

    monkeypatch.setattr(synth, "UNITS", {"engine": factory})
    with pytest.raises(ResiduumError, match="cannot be built: lanes must be in 1..1024, not 0"):
        synth_main("--lanes", "0")


def test_a_failing_yosys_is_one_sentence(demo_unit, monkeypatch):
    failing = demo_unit / "failing-yosys"
    failing.write_text("#!/bin/sh\necho 'ERROR: out of luck' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(failing))
    with pytest.raises(ResiduumError, match="could not synthesise demo: ERROR: out of luck"):
        synth_main("--unit", "demo")

import argparse
import json
import os
import subprocess
import sys

import pytest
from amaranth.back import rtlil

from residuum.boards.build import synth
from residuum.commands import synth as synth_command
from residuum.hw.isa.config import EngineConfig
from residuum.sw.errors import ResiduumError
from tests.boards.fake import fake
from tests.sim.demo import Demo


def synth_run(*words):
    parser = argparse.ArgumentParser()
    synth_command.configure(parser)
    return synth_command.run(parser.parse_args(words))


@pytest.fixture
def demo_unit(monkeypatch, tmp_path):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(synth, "UNITS", {"demo": lambda config: Demo()})
    folder = tmp_path / "synth" / "demo-16x8-2048"
    folder.mkdir(parents=True)
    return folder


def test_carry_cells_count_as_two_tables_and_lut_memories_as_six():
    cells = {"LUT4": 100, "CCU2C": 10, "TRELLIS_DPR16X4": 3, "PFUMX": 7, "TRELLIS_FF": 9}
    assert synth.count(cells).lut4 == 100 + 2 * 10 + 6 * 3


def test_both_kinds_of_block_ram_count():
    assert synth.count({"DP16KD": 3, "PDPW16KD": 2}).block_ram == 5


def test_a_unit_is_synthesised_and_reported(demo_unit, capsys):
    status = synth_run("--unit", "demo")
    report = json.loads((demo_unit / "report.json").read_text())
    assert status == 0
    # 254 words of 32 bits fit one EBR; five counters and two data registers have 32 bits each.
    assert (report["block_ram"], report["multiplier"], report["lut_ram"]) == (1, 0, 0)
    assert 32 * 5 <= report["flip_flop"] <= 32 * 10
    assert f"{report['lut4']:,}" in capsys.readouterr().out


def test_an_unknown_unit_names_the_known_ones(demo_unit):
    with pytest.raises(ResiduumError, match="no unit 'engin'; the units are demo"):
        synth_run("--unit", "engin")


def test_a_size_that_cannot_be_is_one_sentence():
    with pytest.raises(ResiduumError, match="cannot be built: lanes must be in 1..1024, not 2000"):
        synth_run("--lanes", "2000")


def test_every_size_is_an_option_with_a_folder_of_its_own(monkeypatch):
    made = []

    def note(unit, config, **_):
        made.append(config)
        raise ResiduumError("enough")

    monkeypatch.setattr(synth, "synthesise_unit", note)
    sizes = {"lanes": 24, "steps": 4, "weight_rows": 9, "feature_rows": 8, "parameter_rows": 7}
    sizes |= {"table_entries": 6, "layers": 5, "weight_bits": 5, "accumulator_bits": 12}
    sizes |= {"potential_bits": 20, "logit_rows": 3}
    with pytest.raises(ResiduumError, match="enough"):
        synth_run(*(w for k, v in sizes.items() for w in (f"--{k.replace('_', '-')}", str(v))))
    assert {name: getattr(made[0], name) for name in sizes} == sizes
    assert (
        len({synth.unit_folder("engine", synth.engine_of({k: v})) for k, v in sizes.items()}) == 11
    )


@pytest.mark.parametrize("unit", synth.UNITS)
def test_every_unit_can_be_made(unit):
    config = EngineConfig.for_lanes(2, steps=4, weight_rows=8, feature_rows=8, memory="ecp5")
    assert rtlil.convert(synth.UNITS[unit](config), platform=None).count("\nmodule ") >= 1


def test_a_failing_yosys_is_one_sentence(demo_unit, monkeypatch):
    failing = fake(demo_unit, "failing-yosys", "echo 'ERROR: out of luck' >&2; exit 1")
    monkeypatch.setenv("YOSYS", str(failing))
    with pytest.raises(ResiduumError, match="could not synthesise demo: ERROR: out of luck"):
        synth_run("--unit", "demo")


def test_a_failed_assertion_of_yosys_is_one_sentence(demo_unit, monkeypatch):
    failing = fake(demo_unit, "failing-yosys", "echo 'ERROR: Assert `no` failed.' >$2; exit 1")
    monkeypatch.setenv("YOSYS", str(failing))
    with pytest.raises(
        ResiduumError, match=r"synthesise demo: ERROR: Assert `no` failed\. \(log: "
    ):
        synth_run("--unit", "demo")


NOTHING = '{"modules": {}}'
# A slow stub of yosys: after 2 s, reports the size of the design in bytes as LUT4.
SLOW_YOSYS = """sleep 2
lut4=$(wc -c < argmax.il)
echo '{"design": {"num_cells_by_type": {"LUT4": '$lut4'}}}' > argmax.stat.json
echo '{"modules": {}}' > argmax.netlist.json"""


def synth_processes(folder, *lanes):
    """Reports and output of concurrent runs of `residuum synth --unit argmax`."""
    environment = {
        **os.environ,
        "RESIDUUM_BUILD": str(folder / "build"),
        "YOSYS": str(fake(folder, "slow-yosys", SLOW_YOSYS)),
    }
    words = [sys.executable, "-m", "residuum", "synth", "--unit", "argmax", "--lanes"]
    started = [
        subprocess.Popen(
            [*words, str(number)], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )
        for number in lanes
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0 for _ in lanes]
    reports = [folder / "build" / "synth" / f"argmax-{n}x8-2048" / "report.json" for n in lanes]
    return [json.loads(path.read_text()) for path in reports], [err for _, err in said]


def test_two_sizes_at_once_do_not_mix(tmp_path):
    together, said = synth_processes(tmp_path, 4, 32)
    alone = [synth_processes(tmp_path, lanes)[0][0] for lanes in (4, 32)]
    assert [one["lut4"] for one in together] == [one["lut4"] for one in alone]
    assert together[0]["lut4"] < together[1]["lut4"]
    assert not any("waiting" in text for text in said)


def test_the_same_size_twice_at_once_is_done_in_turn(tmp_path):
    _, said = synth_processes(tmp_path, 4, 4)
    assert sorted("another command builds in" in text for text in said) == [False, True]


@pytest.mark.parametrize("columns", ["40", "60", "80"])
def test_the_table_is_not_cut_on_a_narrow_terminal(columns, demo_unit, monkeypatch, capsys):
    statistics = '{"design": {"num_cells_by_type": {"LUT4": 1234567}}}'
    writes = f"echo '{statistics}' > demo.stat.json; echo '{NOTHING}' > demo.netlist.json"
    monkeypatch.setenv("YOSYS", str(fake(demo_unit, "y", writes)))
    monkeypatch.setenv("COLUMNS", columns)
    synth_run("--unit", "demo")
    printed = capsys.readouterr().out.split("written")[0]
    assert "1,234,567" in printed
    assert "TRELLIS_DPR16X4," in printed
    assert max(map(len, printed.splitlines())) <= int(columns)

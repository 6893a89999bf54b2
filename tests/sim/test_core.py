"""The exported core: its Verilog example, its description, its area, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from residuum.boards.build.synth import engine_of, synthesise, synthesise_unit
from residuum.cli import main
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Control, HostMap, Region
from residuum.sim.core.example import example_files, passed, run_example
from residuum.sim.core.export import MODULE, export_core
from residuum.sim.verilator.build import module_ports, verilog_text
from residuum.sw.compiler.program import compile_network
from residuum.sw.data.data_sets import load_dataset
from residuum.sw.errors import ResiduumError
from residuum.sw.network.library import load_network
from tests.folders import work_in
from tests.sim.random_graphs import random_graph_cases

STEPS = {"tau": 4, "T": 4, "correction": "mask"}


@pytest.fixture(scope="module")
def digits():
    return export_core(EngineConfig(), load_network("digits"), **STEPS)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def example(capsys, *options: str) -> str:
    """The last line of `residuum verilog --example`."""
    assert main(["verilog", "-o", "core/engine.v", *options]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_twenty_digits_through_the_verilog_example(folder, capsys):
    said = example(capsys, "--model", "digits", "--example", "20")
    assert said.startswith("20 images, 0 mismatches, ")
    files = {path.name for path in (folder / "core").iterdir()}
    assert files >= {"engine.v", "engine.json", "reader.v", "bench.v", "clock.cpp"}


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        ("--model", "mnist", "--preset", "12f"),
        ("--model", "mnist-radix", "--bits", "4", "--preset", "12f-4bit"),
        ("--model", "cifar10", "--bits", "4", "--preset", "85f-4bit", "--tau", "0", "--T", "4"),
    ],
    ids=["interleaved", "two passes", "colours"],
)
def test_other_networks_through_the_verilog_example(folder, capsys, options):
    shape = load_network(options[1]).input_shape
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)
    np.savez("pictures.npz", images=images, labels=np.arange(5))
    said = example(capsys, *options, "--example", "5", "--data", "pictures.npz", "--split", "all")
    assert said.startswith("5 images, 0 mismatches, ")


def test_the_test_bench_finds_a_wrong_result(digits):
    network, images = load_network("digits"), load_dataset("digits").test_images[:20]
    files = example_files(digits, network, images, **STEPS)
    words = files["expected.hex"].splitlines()
    for place in (0, 13, 14, 239):  # a class, a margin, and the first and last logit of an image
        words[place] = f"{int(words[place], 16) ^ 1:08x}"
    said = run_example(digits.verilog, files | {"expected.hex": "\n".join(words)})
    assert "20 images, 4 mismatches, " in said
    assert not passed(said, 20)


def test_the_description_has_the_ports_of_the_verilog(digits):
    told = {
        (port["name"], port["direction"], port["width"]) for port in digits.description["ports"]
    }
    ports = module_ports(digits.verilog, MODULE)
    assert told == {(port.name, port.direction, port.width) for port in ports}
    header = digits.verilog.split("\nmodule ")[0].splitlines()
    assert all(line.startswith("//") or not line for line in header)
    assert all(any(f" {port.name} " in line for line in header) for port in ports)


def test_the_description_has_the_addresses_of_the_engine(digits):
    host_map = HostMap(EngineConfig())
    for region in digits.description["memory_map"]:
        number = Region[region["region"]]
        assert region["first_address"] == host_map.address(number)
        assert region["words"] == host_map.size(number)
        widths = [(name, width) for name, (_, width) in region["fields"].items()]
        assert widths == list(host_map.fields(number))
        assert f"{region['first_address']:#x} " in digits.verilog


def test_the_name_of_a_network_ends_no_comment():
    network = replace(load_network("digits"), name="a\nmodule x; endmodule\r*/")
    export = export_core(EngineConfig(), network, **STEPS)
    assert "// Network: a?module x; endmodule?*/ (images" in export.verilog


def test_the_writes_are_the_program_and_its_steps(folder):
    arguments = ["--model", "digits", "--tau", "3", "--T", "2"]
    assert main(["verilog", "-o", "engine.v", "--writes", "writes.txt", *arguments]) == 0
    lines = Path("writes.txt").read_text().splitlines()
    found = [[int(word, 16) for word in line.split()] for line in lines]
    program = compile_network(load_network("digits"), EngineConfig(), tau=3, T=2)
    steps = HostMap(EngineConfig()).address(Region.CONTROL, word=Control.STEPS)
    wanted = np.stack([program.addresses, program.words], axis=1).tolist()
    assert found == [*wanted, [steps, 3 | 2 << 8]]
    about = json.loads(Path("engine.json").read_text())
    assert about["network"]["name"] == "digits"
    assert about["steps_after_reset"]["word"] == 3 | 2 << 8


@pytest.mark.long
def test_the_area_is_that_of_the_project_itself(folder):
    """Of the Verilog alone, against `residuum synth --unit core` of the same sizes."""
    config = engine_of({"lanes": 16})
    own = synthesise_unit("core", config)
    export = export_core(config, **STEPS, image_bytes=4096)
    found = synthesise(export.verilog, name="engine", folder=folder, suffix="v", top=MODULE)
    assert found.lut4 == pytest.approx(own["lut4"], rel=0.02)
    assert found.flip_flop == pytest.approx(own["flip_flop"], rel=0.02)
    assert found.block_ram == own["block_ram"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("-o", "engine.sv"), "engine.sv does not end in .v"),
        (("--example", "3"), "--example needs a network; name one with --model"),
        (("--writes", "w.txt"), "--writes needs a network; name one with --model"),
        (("--image-bytes", "100"), "must be a power of two in 2..65,536, not 100"),
        (("--steps", "3"), "an engine of 3 steps cannot read images"),
        (("--tau", "9"), "tau = 9 and T = -1 do not fit this engine"),
        (("--correction", "offset"), "the engine has no correction 'offset'"),
        (("--model", "digits", "--weight-rows", "10"), "this engine has 10"),
        (("--model", "digits", "--image-bytes", "32"), "has 64 bytes, and this core room for 32"),
        (("--preset", "99f"), "there is no preset '99f'"),
        (("--model", "mnist", "--preset", "12f", "--layers", "2"), "this engine holds 2"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(folder, capsys, options, sentence):
    output = () if options[0] == "-o" else ("-o", "engine.v")
    assert main(["verilog", *output, *options]) == 1
    assert sentence in capsys.readouterr().err
    assert not Path("engine.v").exists()


def test_a_network_that_reads_spikes_is_refused():
    cases = random_graph_cases(5, EngineConfig(), 30, images=1)
    spikes = next(case.network for case in cases if case.network.input == "spikes")
    with pytest.raises(ResiduumError, match="reads spike trains; a core takes images"):
        export_core(EngineConfig(), spikes, tau=0, T=1, correction="none")


def test_the_example_of_the_page_makes_a_core():
    page = Path(__file__).parents[2] / "docs" / "core.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    scope: dict = {}
    exec(example, scope)
    assert module_ports(verilog_text(scope["core"], name="top"), "top")

"""``residuum bench``: digits on the engine of a board, with a stub of place and route."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from residuum import cli
from residuum.boards.build.published import MISSED, REPORT
from residuum.hw.isa.host_map import Counter
from residuum.hw.isa.presets import preset
from residuum.sim.bench import bench, measure
from residuum.sim.bench import routed as routing
from residuum.sim.bench.bench_page import ANCHORS, COLUMNS
from residuum.sim.bench.compared import Totals
from residuum.sim.bench.transfer import count_transfer
from residuum.sw.compiler.program import compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file, write_json
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.library import load_network, zoo_file
from residuum.sw.pieces import run as pieces
from tests.boards.tiny import order_and_design
from tests.folders import work_in

BUILD = {
    "device": "LFE5U-12F",
    "speed_grade": "6",
    "fmax_mhz": 160.5,
    "target_mhz": 150.0,
    "met": True,
    "seed": 2,
    "digest": "ab",
    "tools": {"yosys": "0.70"},
    "lut": 10_934,
    "ff": 15_405,
    "ebr": 33,
    "dsp": 0,
    "available": {"lut": 12_000, "ff": 12_000, "ebr": 32, "dsp": 28},
}


def already_routed(**_) -> dict:
    return BUILD


def run(*arguments: str) -> tuple[int, dict, str]:
    status = cli.main(["bench", "--models", "digits", *arguments])
    folder = Path("build/bench")
    return (
        status,
        json.loads((folder / "report.json").read_text()),
        (folder / "results.md").read_text(),
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A first call: its folder, its status and its output."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, patch)
        patch.setattr(bench, "STAGES", ((4, 4),))
        patch.setattr(routing, "routed", already_routed)
        return folder, run("--images", "3")


@pytest.fixture
def again(measured, monkeypatch):
    """The folder of the first call; any further piece fails."""

    def fail(*_, **__):
        raise AssertionError("this was done before")

    monkeypatch.chdir(measured[0])
    monkeypatch.setenv("RESIDUUM_BUILD", str(measured[0] / "build"))
    monkeypatch.setattr(bench, "STAGES", ((4, 4),))
    monkeypatch.setattr(routing, "routed", already_routed)
    monkeypatch.setattr(pieces, "_execute", fail)
    return measured[1]


def table(page: str, heading: str) -> list[dict[str, str]]:
    """The rows of the table whose first column has this heading; cells by column heading."""
    lines = page.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[first:]
        if line.startswith("|")
    ]
    width = len(cells[0])
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:] if len(row) == width]


def test_digits_on_the_engine_of_a_board(measured):
    status, report, _ = measured[1]
    (row,) = report["rows"]
    assert (status, row["rtl_images"], row["mismatches"]) == (0, 3, 0)
    assert (row["cycles"], row["worst_cycle_error"]) == (row["predicted_cycles"], 0)
    assert row["cycles"] == pytest.approx(sum(layer["cycles"] for layer in row["layers"]))
    # As printed by `residuum eval digits`.
    assert row["accuracy"] == pytest.approx(99.7222, abs=1e-3)


def test_what_follows_from_the_clock(measured):
    (row,) = measured[1][1]["rows"]
    assert row["latency_us"] == pytest.approx(row["cycles"] / 150)
    assert row["images_per_second"] * row["latency_us"] == pytest.approx(1e6)
    assert row["gsops"] == pytest.approx(row["sops"] * row["images_per_second"] / 1e9)


def test_the_page_says_what_the_report_says(measured):
    _, report, page = measured[1]
    (row,), (shown,) = report["rows"], table(page, "network")[:1]
    assert list(shown) == [column.heading for column in COLUMNS]
    assert shown["accuracy"] == "99.72 %"
    assert shown["cycles"] == f"{row['cycles']:,.0f}"
    assert (shown["model / RTL"], shown["mismatches"], shown["checked"]) == ("1.0000", "0", "3")
    assert (shown["clock"], shown["LUT"], shown["EBR"]) == ("150 MHz", "10,934", "33")
    assert shown["latency"] == f"{row['latency_us']:.1f} us"
    assert report["command"] in page


def test_anchors_keep_their_marks(measured):
    shown = table(measured[1][2], "system")
    assert {row["system"]: row["source"] for row in shown} == {a.system: a.mark for a in ANCHORS}
    assert {a.system for a in ANCHORS if a.mark == "S"} == {"Cerebron", "SyncNN (open, HLS)"}


def test_more_than_the_data_sheet_names_is_said(measured):
    assert "takes more FF and EBR than the data sheet of the LFE5U-12F" in measured[1][2]


def test_a_second_call_runs_nothing_anew(again):
    assert run("--images", "3") == again


def test_without_place_and_route_the_page_says_so(again):
    _, report, page = run("--images", "3", "--no-build")
    (row,) = report["rows"]
    assert (row["build"], row["latency_us"], row["gsops"]) == (None, None, None)
    assert table(page, "network")[0]["latency"] == ""
    assert "**Place and route was left out**" in page


def test_a_cycle_model_that_is_off_is_told(again, monkeypatch, capsys):
    real = measure.report
    monkeypatch.setattr(
        measure, "report", lambda *a, **k: real(*a, **k) | {"worst_cycle_error": 0.011}
    )
    assert run("--images", "3")[0] == 1
    assert "the cycle model is off by 1.10 % for an image" in capsys.readouterr().err


def test_a_mismatch_is_told_and_ends_with_status_1(tmp_path, monkeypatch, capsys):
    """A golden model without silencing differs from the engine."""

    def unmasked(network, images, *, tau, T, correction):
        return simulate(network, images, tau=0, T=tau + T)

    work_in(tmp_path, monkeypatch)
    monkeypatch.setattr(bench, "STAGES", ((4, 4),))
    monkeypatch.setattr("residuum.sw.golden.golden_model.simulate", unmasked)
    status, report, page = run("--images", "1", "--no-build")
    assert (status, report["rows"][0]["mismatches"] > 0) == (1, True)
    assert "values differ; the first: layer 'conv1', image 0" in capsys.readouterr().err
    assert "the first: layer 'conv1', image 0" in page


@pytest.mark.parametrize(
    ("row", "arguments", "sentence"),
    [
        (None, ["--models", "digits,letters"], "'letters' is not measured; there are cifar10, "),
        (None, ["--models", "digits", "--images", "361"], "361 images are wanted, but digits has"),
        (
            bench.Row(model="fashion", bits=8, board="ulx3s-12f", preset="12f"),
            ["--models", "fashion"],
            "fashion does not fit the preset 12f: layer",
        ),
    ],
)
def test_bad_arguments_are_one_sentence(row, arguments, sentence, tmp_path, monkeypatch, capsys):
    work_in(tmp_path, monkeypatch)
    if row:
        monkeypatch.setattr(bench, "ROWS", (row,))
    assert cli.main(["bench", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_bytes_on_the_wire_are_those_of_the_protocol():
    """The image is one frame, with the steps before its pixels. A frame has 16 bytes and two ENDs
    around its payload; that of the reply has 3 words and 10 logits. Escapes come on top."""
    network = load_network("digits")
    program = compile_network(network, preset("12f"), tau=4, T=4)
    counted = count_transfer(program, np.zeros((4, 1, 8, 8), np.uint8), tau=4, T=4)
    sent, received = 18 + 4 + 64, 18 + 12 + 40
    assert sent <= counted.sent <= sent + 12
    assert received <= counted.received <= received + 12
    assert counted.image_seconds(1_000_000) == pytest.approx(1e-5 * counted.sent)


def test_memory_that_a_network_takes():
    """3 x 3 x 1 + 3 x 3 x 16 x 2 groups + ..., from the shapes of the layers."""
    network = load_network("digits")
    taken = bench.memory(compile_network(network, preset("12f"), tau=4, T=4))
    rows = sum(
        -(-layer.out_channels // 16) * layer.source.weight[0].size for layer in network.layers
    )
    assert (taken["weight_rows"], taken["weight_rows_there"]) == (rows, 2048)
    assert taken["weight_kbit"] == rows * 16 * 8 / 1024
    assert taken["feature_rows"] <= taken["feature_rows_there"] == 512


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """A stub of place and route that only writes its report; the list of designs it has built."""
    done: list[str] = []
    order, _ = order_and_design(150)
    design = SimpleNamespace(digest=bytes(31) + b"\1")

    def build(order, design, folder, reporter):
        done.append(design.digest.hex())
        missed = {"digest": design.digest.hex(), "fmax_mhz": 140, "tries": len(done)}
        write_json(folder / MISSED, missed)
        raise ResiduumError("too slow")

    work_in(tmp_path, monkeypatch)
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(routing, "build", build)
    monkeypatch.setattr(routing, "prepare", lambda *_, **__: (order, design))
    return SimpleNamespace(done=done, digest=design.digest.hex(), root=tmp_path / "build")


def routed(tries: int = 1) -> dict:
    digits = digest_of_file(zoo_file("digits", 8))
    return routing.routed("ulx3s-12f", "12f", tries, digits)


def test_a_machine_with_another_network_is_told(builds):
    with pytest.raises(ResiduumError, match="the network digits on this machine is another one"):
        routing.routed("ulx3s-12f", "12f", 1, "00")


def test_a_build_that_misses_its_clock_has_a_clock_too_and_is_not_repeated(builds):
    assert routed()["fmax_mhz"] == routed()["fmax_mhz"] == 140
    assert builds.done == [builds.digest]


def test_more_tries_are_made_after_a_miss(builds):
    routed()
    assert routed(tries=2)["tries"] == 2
    assert len(builds.done) == 2


def test_a_bitstream_that_met_its_clock_counts_more_than_a_miss(builds):
    routed()
    write_json(builds.root / "ulx3s-12f" / REPORT, {"digest": builds.digest, "fmax_mhz": 155})
    assert (routed()["fmax_mhz"], len(builds.done)) == (155, 1)


def test_the_bitstream_of_the_same_design_counts(builds):
    write_json(builds.root / "ulx3s-12f" / REPORT, {"digest": builds.digest, "fmax_mhz": 155})
    assert (routed()["fmax_mhz"], builds.done) == (155, [])


def test_the_bitstream_of_another_design_does_not_count(builds):
    write_json(builds.root / "ulx3s-12f" / REPORT, {"digest": "00", "fmax_mhz": 155})
    assert (routed()["fmax_mhz"], len(builds.done)) == (140, 1)


def test_cycles_of_one_image_cannot_hide_those_of_another():
    one, other = Totals.empty(1), Totals.empty(1)
    one.predicted[0, Counter.CYCLES] = one.counters[0, Counter.CYCLES] = 100
    other.worst_cycles = 0.5
    one.add(other)
    one.add(Totals.empty(1))
    assert Totals.from_json(json.loads(json.dumps(one.to_json()))).worst_cycles == 0.5

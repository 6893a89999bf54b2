"""Exploration of engines: estimates, predicted points, the best of them, and the command."""

import argparse
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from residuum.boards.build import estimate
from residuum.boards.build.bitstream import prepare
from residuum.boards.build.estimate import Built, Estimate, Model, area_terms, built, sizes_of
from residuum.boards.build.layout import Layout
from residuum.boards.catalogue import find
from residuum.cli import main
from residuum.commands.bitstream import add_design, design_options
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.hw.isa.memories import DEVICE_EBR, DEVICE_LUT, block_memories
from residuum.sim.bench import explore
from residuum.sim.bench.explore import Candidate, Point, Run, best_of, spread
from residuum.sw.compiler.fit import engine_named
from residuum.sw.data.held_out import held_out
from residuum.sw.network.library import load_network
from residuum.sw.pieces.run import Pool

# Errors of the estimates that are allowed: of LUTs, and of clocks.
LUT_ERROR, CLOCK_ERROR = 0.05, 0.15


def without(index):
    """The model fitted to all designs but one."""
    return Model.fitted([design for number, design in enumerate(built()) if number != index])


def test_the_area_of_each_design_follows_from_the_others():
    errors = []
    for index, design in enumerate(built()):
        found = without(index)
        guess = found.lut4 @ area_terms(design.config)
        errors.append(abs(guess / design.lut4 - 1))
    assert max(errors) < LUT_ERROR, np.round(errors, 3).tolist()


def test_the_clock_of_each_placed_design_follows_from_the_others():
    placed = [(n, design) for n, design in enumerate(built()) if design.fmax_mhz]
    assert len(placed) >= 4
    for index, design in placed:
        guess = without(index).estimate(design.config).fmax_mhz
        assert guess == pytest.approx(design.fmax_mhz, rel=CLOCK_ERROR)


def test_a_model_finds_the_weights_of_its_terms():
    """Designs whose area is a sum of the terms, and whose LUT sites are 1.05 of their LUT4."""
    generator = np.random.default_rng(3)
    weights = np.array([3000, 400, 70, 1.4, 2.5, 9])
    designs = []
    for _ in range(30):
        config = EngineConfig(
            lanes=int(generator.choice([16, 32, 64])),
            tile_lanes=int(generator.choice([4, 8])),
            event_width=int(generator.choice([1, 2])),
            steps=int(generator.integers(2, 9)),
            weight_bits=int(generator.integers(4, 9)),
            accumulator_bits=int(generator.integers(12, 17)),
            potential_bits=int(generator.integers(20, 25)),
        )
        area = float(weights @ area_terms(config))
        period = 6 + 0.1 * np.log2(config.lanes * config.steps)
        designs.append(
            Built(
                sizes=sizes_of(config),
                lut4=area,
                ff=2 * area,
                lut=1.05 * area,
                fmax_mhz=1000 / period,
            )
        )
    found = Model.fitted(designs[:20])
    for design in designs[20:]:
        guess = found.estimate(design.config)
        assert guess.lut == pytest.approx(design.lut)
        assert guess.ff == pytest.approx(design.ff)
        assert guess.fmax_mhz == pytest.approx(design.fmax_mhz)
        assert guess.ebr == sum(block_memories(design.config).values())


def test_designs_are_read_as_they_were_written(tmp_path, monkeypatch):
    path = tmp_path / "built.json"
    path.write_text(estimate.text_of(built()))
    monkeypatch.setattr(estimate, "BUILT", path)
    assert built.__wrapped__() == built()


@pytest.fixture(scope="module")
def network():
    return load_network("digits")


def point(network, accuracy, cycles, lut):
    one = Run(Candidate("digits", network), 0, 4, "none", 4, accuracy)
    guess = Estimate(lut=lut, ff=lut, ebr=10, fmax_mhz=100.0)
    return Point(one, EngineConfig(), cycles, guess)


def test_the_best_points_are_those_that_no_other_one_beats(network):
    points = [
        point(network, 90, 500, 9000),
        point(network, 90, 400, 9000),  # beats the first
        point(network, 91, 600, 9000),
        point(network, 89, 700, 8000),
        point(network, 89, 700, 8500),
        point(network, 90, 400, 9000),  # as good as the second
    ]
    assert best_of(points) == [points[1], points[5], points[2], points[3]]


def test_points_to_build_are_new_and_spread_over_all(network, monkeypatch):
    points = [
        replace(point(network, 90, cycles, 9000), config=EngineConfig(lanes=8 * (1 + cycles)))
        for cycles in range(9)
    ]
    points.insert(0, replace(points[0], cycles=-1))
    known = Built(sizes=sizes_of(points[1].config), lut4=1, ff=1)
    monkeypatch.setattr(estimate, "built", lambda: (known,))
    assert [found.cycles for found in spread(points, 3)] == [1, 5, 8]
    assert len(spread(points, 100)) == 8


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(explore, "LANES", (8, 64))
    monkeypatch.setattr(explore, "TILE_LANES", (8,))
    monkeypatch.setattr(explore, "SLOTS", (2, 4))


@pytest.mark.usefixtures("few")
def test_cycles_and_accuracy_are_those_of_the_models(network):
    board, pool = find("ulx3s-12f"), Pool(1)
    images, labels = held_out(network, "digits", 20)
    candidates = [Candidate("digits", network)]
    runs = explore.runs_of(candidates, images, labels, correction="mask", pool=pool)
    assert [(one.slots, one.tau + one.T) for one in runs] == [(2, 2), (4, 4)]
    points = explore.points_of(board, runs, images, pool=pool)
    assert {(found.run.slots, found.config.steps) for found in points} == {(2, 4), (4, 4)}
    for found in points:
        assert found.estimate.ebr <= DEVICE_EBR["12"]
        assert found.estimate.lut <= DEVICE_LUT["12"]
    found = points[-1]
    from residuum.sw.compiler.cycles import predict
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.golden.golden_model import simulate

    program = compile_network(network, found.config, **found.run.steps)
    golden = simulate(network, images, **found.run.steps)
    cycles = [predict(program, images[n], golden, n)[:, Counter.CYCLES].sum() for n in range(4)]
    assert found.cycles == np.mean(cycles)
    assert found.run.accuracy == 100 * np.mean(golden.prediction == labels)


@pytest.mark.usefixtures("few")
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    built = []

    def build(board, points, **_):
        built.extend(points)
        used = {"TRELLIS_COMB": 7000, "TRELLIS_FF": 8000, "DP16KD": 30, "MULT18X18D": 0}
        layout = Layout(fmax_mhz=140.0, met=True, used=used, available=used, path=("a", "b"))
        return [layout for _ in points]

    monkeypatch.setattr(explore, "build", build)
    arguments = ["explore", "digits", "--board", "ulx3s-12f", "--images", "20", "--jobs", "1"]
    assert main([*arguments, "--build", "2"]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "explore" / "ulx3s-12f-digits-4bit-digits-8bit"
    report = json.loads((folder / "report.json").read_text())
    assert (folder / "explore.png").stat().st_size > 10_000
    assert {row["network"] for row in report["points"]} == {"digits-4bit", "digits-8bit"}
    assert f"{len(report['best'])} of {len(report['points'])} points" in printed
    assert "8 lanes in 1 x 8, 1 event, 4 slots" in printed
    assert len(built) == len(report["built"]) == 2
    # The command of a point makes its engine.
    found = report["points"][0]
    words = found["command"].split()
    assert words[:3] == ["residuum", "bitstream", "ulx3s-12f"]
    parser = argparse.ArgumentParser()
    add_design(parser)
    options = design_options(parser.parse_args(words[3:]))
    order, _ = prepare(find("ulx3s-12f"), **options)
    assert order.network.name == found["network"]
    assert asdict(engine_named("12f", options["sizes"])) == found["engine"]
    assert "7,000" in printed


def test_networks_of_different_images_are_refused(capsys):
    assert main(["explore", "digits", "mnist", "--board", "ulx3s-12f"]) == 1
    assert "read different images" in capsys.readouterr().err


@pytest.mark.usefixtures("few")
def test_a_network_that_no_engine_holds_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setitem(DEVICE_EBR, "12", 3)
    arguments = ["explore", "digits", "--board", "ulx3s-12f", "--images", "2", "--jobs", "1"]
    assert main(arguments) == 1
    assert (
        "no engine of ulx3s-12f holds digits-4bit, digits-8bit with its" in capsys.readouterr().err
    )

"""``residuum netlist``: its output, report and status; the netlists are stubs."""

import json
from contextlib import ExitStack
from threading import Timer

import pytest

from residuum import cli
from residuum.sim.netlist import netlist
from residuum.sw.files import locked
from residuum.sw.trace.compare import Comparison

EMPTY = {"modules": {"top": {"cells": {"a": {"type": "LUT4"}}}}}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command with the given comparison results, one per netlist and network."""

    def run_with(*found: Comparison):
        left = iter(found)
        asked = []

        def check(link, network, images, *, tau, T, load, done):
            asked.append((network.name, network.weight_bits, load, len(images), tau + T))
            return next(left)

        monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
        monkeypatch.setattr(netlist, "synthesise_netlist", lambda *_, **__: EMPTY)
        monkeypatch.setattr(netlist, "place_and_route", lambda *_, **__: EMPTY)
        monkeypatch.setattr(netlist, "netlist_sources", lambda *_: {})
        monkeypatch.setattr(netlist, "build_link", lambda *_, **__: tmp_path / "program")
        monkeypatch.setattr(netlist, "ChildLink", lambda *_, **__: None)
        monkeypatch.setattr(netlist, "check", check)
        status = cli.main(["netlist", "digits", "--images", "3"])
        return status, json.loads((tmp_path / "netlist" / "report.json").read_text()), asked

    return run_with


def test_equal_netlists(run, capsys):
    status, report, asked = run(*[Comparison(0, "")] * 6)
    assert (status, report["mismatches"]) == (0, 0)
    assert (
        asked
        == [
            ("digits", 4, False, 3, netlist.STEPS),
            ("digits", 8, True, 3, netlist.STEPS),
            ("graph", 8, True, 3, 1),
        ]
        * 2
    )
    assert [report["netlists"][stage]["cells"] for stage in ("synthesised", "routed")] == [
        {"LUT4": 1},
        {"LUT4": 1},
    ]
    assert capsys.readouterr().out.count("0 mismatches") == 2


def test_a_difference_is_an_error_and_named(run, capsys):
    good, bad = Comparison(0, ""), Comparison(2, "layer 'conv1': the spike is 0")
    status, report, _ = run(*[good] * 5, bad)
    assert (status, report["mismatches"]) == (1, 2)
    assert report["netlists"]["synthesised"]["mismatches"] == 0
    assert "layer 'conv1': the spike is 0" in capsys.readouterr().err


def test_a_second_command_waits_for_the_first(run, tmp_path, capsys, monkeypatch):
    """Both would use the same file names in the same folder."""
    with ExitStack() as first:
        first.enter_context(locked(tmp_path / "netlist" / "lock"))
        alone_in = netlist.alone_in

        def waiting(*args):
            Timer(0.5, first.close).start()
            return alone_in(*args)

        monkeypatch.setattr(netlist, "alone_in", waiting)
        assert run(*[Comparison(0, "")] * 6)[0] == 0
    assert "another command builds in" in capsys.readouterr().err

"""Bad frames against the simulated link; ``make fuzz`` sends many more."""

import pytest

from residuum import cli
from residuum.hw.isa.host_map import HostMap
from residuum.sim.bench.fuzz import fuzz
from residuum.sim.link.simulated import build_accelerator


@pytest.mark.parametrize("seed", [1, 2])
def test_bad_frames_have_no_effect(seed):
    report = fuzz(frames=1500, seed=seed)
    assert report.frames == 1500
    assert report.dropped > 1000
    assert report.refused > 200
    assert report.classified > 3


@pytest.mark.long
def test_a_wrong_effect_is_found(monkeypatch, capsys):
    """An accelerator that accepts one address too many in every region."""
    size = HostMap.size
    monkeypatch.setattr(HostMap, "size", lambda self, region: size(self, region) + 1)
    build_accelerator.cache_clear()
    assert cli.main(["fuzz", "--frames", "1000", "--seed", "1"]) == 1
    build_accelerator.cache_clear()
    assert "residuum: seed 1: burst" in capsys.readouterr().err

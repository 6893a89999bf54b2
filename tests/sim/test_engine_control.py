"""The engine's controls: reset in mid-run, refused runs."""

import dataclasses

import numpy as np
import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.engine import build_engine
from residuum.sw.data.data_sets import load_dataset
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.library import ZOO, load_network

CONFIG = EngineConfig(lanes=8, tile_lanes=4, feature_rows=1024)


@pytest.fixture(scope="module")
def images():
    return load_dataset("digits").test_images[:2]


def run(testcase: str, images: np.ndarray, **parameters) -> dict:
    return build_engine(CONFIG).run(
        "tests.sim.control_bench",
        testcase=testcase,
        parameters={
            "config": dataclasses.asdict(CONFIG),
            "network": str(ZOO / "digits-8bit.npz"),
            "images": images,
            **parameters,
        },
    )


def test_reset_in_mid_run(images):
    stops = [5, 40, 60, 100, 333, 700, 1500, 3000, 4321]
    logits = run("reset_in_mid_run", images, stops=stops)["logits"]
    golden = simulate(load_network("digits"), images, tau=4, T=4).logits[1]
    assert logits.tolist() == [golden.tolist()] * len(stops)


def test_impossible_steps_are_refused(images):
    """The status is 2 (refused) and nothing runs until the steps are valid."""
    seen = run("refused_runs", images)["seen"]
    assert [row[2:] for row in seen] == [[0, 2]] * 6 + [[1, 0]]

"""The table of networks in an SDRAM, with simulations that are made up."""

import json

import numpy as np
import pytest

from residuum.cli import main
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sim.bench import sdram
from residuum.sim.bench.compared import Totals
from residuum.sw.data.images import Images
from residuum.sw.pieces import run as pieces
from residuum.sw.train import untrained

WAITING = 16  # conv17 waits for its weights, whose last part comes at the peak
PEAK = 0.95
# Eight groups of rows of 16 words: a kernel of 3 x 3 over 512 channels, and an identity of 64.
WORDS = 8 * (9 * 512 + 64) * 16
# A ring of them may have come before.
RING = 8192 * 16


@pytest.fixture
def simulations(monkeypatch, tmp_path):
    """CIFAR-10 is noise; the simulations count cycles, and find a difference in batches."""
    monkeypatch.setattr(sdram, "NETWORKS", ("resnet18",))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)

    def load_images(source, *, at_most, **_):
        found = pixels[:at_most]
        return Images(source, found, np.zeros(len(found), np.int64), (), range(len(found)))

    monkeypatch.setattr("residuum.sw.data.images.load_images", load_images)
    monkeypatch.setattr(untrained, "load_images", load_images)
    seen = []

    def run(work, pool, **_):
        for piece in work:
            given = piece.arguments
            seen.append(given["batch"].images)
            plans = given["network"].layers
            counters = np.zeros((len(plans), COUNTER_WORDS), np.int64)
            counters[:, Counter.CYCLES] = 100_000
            counters[WAITING, Counter.CYCLES] = WORDS / PEAK
            counters[WAITING, Counter.WEIGHT_STALLS] = 0.8 * WORDS
            yield Totals(
                counters,
                counters,
                counters[:, Counter.CYCLES],
                [0] * (len(plans) - 1),
                images=given["batch"].images,
                mismatches=int(given["batch"].images > 1),
                first="conv3 differs",
            ).to_json()

    monkeypatch.setattr(pieces, "run", run)
    return seen


def test_the_table(simulations, tmp_path, capsys):
    path = tmp_path / "sdram.json"
    assert main(["bench", "--sdram", "--json", str(path)]) == 1
    out, error = capsys.readouterr()
    assert simulations == [1, 3]
    cycles = 17 * 100_000 + int(WORDS / PEAK)
    rows = json.loads(path.read_text())["rows"]
    assert [(row["batch"], row["images"], row["mismatches"]) for row in rows] == [
        (1, 1, 0),
        (3, 3, 1),
    ]
    for row in rows:
        assert row["cycles"] == cycles / row["images"]
        assert row["rate"] == pytest.approx(115e6 * row["images"] / cycles)
        assert row["peak"] == pytest.approx(PEAK * (1 - RING / WORDS), abs=1e-5)
        assert all(cell in out for cell in sdram.cells(row).values())
    assert error == "residuum: resnet18-untrained: conv3 differs\n"

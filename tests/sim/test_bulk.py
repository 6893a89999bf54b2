import numpy as np
import pytest

from residuum.sim.verilator.build import build
from tests.sim.demo import DEPTH, Demo

BENCH = "tests.sim.bulk_bench"
LATENCY = 3


@pytest.fixture(scope="module")
def simulation():
    return build(Demo(), name="demo-bulk", bulk=True)


@pytest.mark.parametrize("count", [1, 2, 3, 100, DEPTH])
def test_what_is_written_is_read(simulation, count):
    words = np.random.default_rng(count).integers(1 << 32, size=count, dtype=np.uint32)
    values = simulation.run(BENCH, testcase="round_trip", parameters={"words": words})
    np.testing.assert_array_equal(values["answers"], words)


def test_one_word_per_cycle_and_a_few_cycles_per_transfer(simulation):
    words = np.arange(200)
    values = simulation.run(BENCH, testcase="round_trip", parameters={"words": words})
    assert (values["writes"], values["streak"]) == (200, 200)
    assert values["write_cycles"] <= 200 + 4
    assert values["read_cycles"] <= 200 + LATENCY + 6


@pytest.mark.parametrize("seed", range(4))
def test_random_commands_against_an_array(simulation, seed):
    given = {"programs": 200, "seed": seed}
    assert simulation.run(BENCH, testcase="programs", parameters=given)["wrong"] == []


def test_wait_idle_waits_for_the_run_that_the_last_write_started(simulation):
    lengths = [1, 2, 3, 1000]
    values = simulation.run(BENCH, testcase="runs", parameters={"lengths": lengths})
    beyond = [cycles - length for cycles, length in zip(values["cycles"], lengths, strict=True)]
    assert min(beyond) >= 1
    assert max(beyond) <= 7


def test_a_hang_names_the_command(simulation):
    values = simulation.run(BENCH, testcase="hangs")
    assert values["wait"] == "wait_idle(): busy was still high after 100 cycles"
    assert values["early"].startswith("read(address=0x0, count=2): 0 of 2 words were answered")
    assert values["late"].tolist() == [70, 71]
    assert values["read"] == (
        "read(address=0x5, count=4): 0 of 4 words were answered, then none for 50 cycles"
    )
    assert values["after"].tolist() == [70, 71]
    assert values["reset"] == "read(address=0x7, count=1): rst was held for 20 cycles"
    assert values["dropped"].tolist() == [71]


def test_an_answer_that_nobody_asked_for_is_an_error(simulation):
    values = simulation.run(BENCH, testcase="stray")
    assert values["stray"].endswith("read_valid rose although no read was waiting for an answer")


def test_commands_that_cannot_be_right_are_refused(simulation):
    values = simulation.run(BENCH, testcase="refused")
    assert values["high"] == "addresses 0x100..0x100 are outside of the port's 0..0xff"
    assert values["over"] == "addresses 0xff..0x100 are outside of the port's 0..0xff"
    assert values["negative"].startswith("addresses -0x1..")
    assert values["word"] == "words must fit in 32 bits"
    assert values["pairs"] == "2 addresses do not match 1 words"
    assert (values["empty"], values["signed"]) == ("accepted", "accepted")
    assert values["minus_one"].tolist() == [0xFFFF_FFFF]


def test_two_tasks_share_the_mover(simulation):
    values = simulation.run(BENCH, testcase="two_tasks")
    assert (values["wrong"], values["count"]) == ([], 40)

"""Every deliberate fault of the engine must be found by its named oracle."""

from pathlib import Path

import pytest

from residuum.sw.pieces.run import Piece, Pool, run
from tests.sim.mutants import MUTANTS, Mutant, Oracle
from tests.sim.mutants_cases import CONFIG, DEEP, WIDE
from tests.sim.mutants_syntax import MutationError, Place, Whole
from tests.sim.mutants_told import told, told_by

ROOT = Path(__file__).resolve().parents[2]

# Mutants that always run, one per folder and oracle; the others run in a `long` test.
SHORT = {
    "threshold-not-reached-by-equality",
    "sums-not-cleared-by-a-flush",
    "shared-occupancy-of-the-latest-row",
    "dropped-rows-not-given-back",
    "pitch-x-for-y",
    "stages-swapped",
    "cycles-one-less",
}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(CONFIG, id="small"),
        pytest.param(DEEP, id="deep", marks=pytest.mark.long),
        pytest.param(WIDE, id="wide", marks=pytest.mark.long),
    ],
)
def test_engine_without_a_fault_is_right(config, tmp_path):
    assert told_by(tmp_path, None, config) == (None, "")


@pytest.mark.parametrize(
    "mutant", [pytest.param(each, id=each.name) for each in MUTANTS if each.name in SHORT]
)
def test_fault_is_told(mutant, tmp_path):
    oracle, words = told_by(tmp_path, mutant, mutant.config)
    assert oracle == mutant.caught_by, words


@pytest.mark.long
def test_every_other_fault_is_told():
    """In pieces of work: only what a change concerns runs again."""
    chosen = [mutant for mutant in MUTANTS if mutant.name not in SHORT]
    pieces = [
        Piece(told, {"mutant": each.name, "config": each.config}, each.name) for each in chosen
    ]
    found = run(pieces, Pool(in_threads=True), title="mutants")
    wrong = [
        f"{mutant.name}: {oracle} instead of {mutant.caught_by.name}: {words}"
        for mutant, (oracle, words) in zip(chosen, found, strict=True)
        if oracle != mutant.caught_by.name
    ]
    assert wrong == []


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS])
def test_the_place_of_a_fault_is_found_once(mutant):
    mutant.mutated(ROOT / "hw")


def test_a_mutant_whose_place_is_gone_is_named(tmp_path):
    (tmp_path / "adder.py").write_text("x.eq(1)\nx.eq(2)")
    mutant = Mutant("gone", Place("adder.py", "x"), Whole("0"))
    with pytest.raises(MutationError, match=r"^mutant gone: .* assignments to x, found 2: "):
        mutant.apply(tmp_path)


def test_names_are_unique_and_every_oracle_is_needed():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.caught_by for mutant in MUTANTS} == set(Oracle)


def test_short_runs_need_every_oracle_and_most_rooms():
    short = [mutant for mutant in MUTANTS if mutant.name in SHORT]
    assert len(short) == len(SHORT)
    assert {mutant.caught_by for mutant in short} == set(Oracle)
    assert {m.place.room for m in short} == {m.place.room for m in MUTANTS}

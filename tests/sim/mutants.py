"""Deliberate faults of the RTL: each is one change to the syntax tree of a file in ``hw/``."""

import enum
from dataclasses import dataclass
from pathlib import Path

from residuum.hw.isa.config import EngineConfig
from tests.sim.mutants_cases import CONFIG, DEEP, WIDE
from tests.sim.mutants_syntax import (
    Exchange,
    MutationError,
    Node,
    Operand,
    Operator,
    Place,
    Whole,
    drop,
    mutate,
    read_room,
)


class Oracle(enum.Enum):
    """The check that finds a fault; the first one that fails."""

    HANG = "the engine does not end a run, or does not answer a read"
    REPETITION = "layer by layer the logits are not those of one run"
    VALUES = "trains, masks, logits or class are not those of the golden model"
    COUNTERS = "all values are right, the counters are not those of the cycle model"


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes
    ----------
    name
        Description of the fault, used as a test name.
    place, operator
        Position of the fault, and the change.
    caught_by
        The oracle that must find the fault.
    config
        The engine in which the oracle finds it.
    """

    name: str
    place: Place
    operator: Operator
    caught_by: Oracle = Oracle.VALUES
    config: EngineConfig = CONFIG

    def mutated(self, hardware: Path) -> tuple[str, str]:
        """The changed file under ``hw/`` and its faulty text; `MutationError` if the place is not
        found exactly once."""
        try:
            return mutate(read_room(hardware, self.place.room), self.place, self.operator)
        except MutationError as error:
            raise MutationError(f"mutant {self.name}: {error}") from None

    def apply(self, hardware: Path) -> None:
        """Apply the fault to a copy of ``hw/``."""
        file, text = self.mutated(hardware)
        (hardware / file).write_text(text)


def _in(room: str, *faults: tuple) -> list[Mutant]:  # type: ignore[type-arg]
    """Mutants in a folder; a fault is a name, the signal or keywords of a `Place`, other fields."""
    return [
        Mutant(name, Place(room, **({"signal": at} if isinstance(at, str) else at)), *rest)
        for name, at, *rest in faults
    ]


ANYWHERE: dict[str, str] = {}

MUTANTS = [
    *_in(
        "neuron",
        (
            "threshold-not-reached-by-equality",
            "spike",
            Node("~[-1]", ("after",), "_0 > 0"),
        ),
        ("mask-ignored", "spoken", drop("&", "inference", "silenced_here")),
        (
            "mask-applied-to-the-probe",
            "self.train",
            Operand("Cat", ("slots",), "Mux(silenced, 0, _)"),
        ),
        ("no-restart-after-the-probe", "restart", drop("|", "mask_begins")),
        ("no-start-behind-unused-slots", "restart", drop("|", "run_begins")),
        ("start-potential-TH", "kept", drop(">>", "1")),
        ("start-potential-rounded-up", "start", Operand(">>", ("threshold_here",), "_ + 1")),
        ("residual-0-silences", "verdict", Node("[-1]", ("before",), "_0 <= 0")),
        ("bias-dropped", "constant", drop("+", "bias")),
        ("bit-planes-reversed", "terms", Node("range", ("planes",), "reversed(_)")),
        ("no-shift-between-passes", "write.data", drop("<<", "planes")),
        (
            "parameter-group-not-advanced",
            {"signal": "group", "owner": "NeuronPipeline"},
            drop("+", "1"),
        ),
        ("argmax-takes-the-last-of-equals", "larger", Node("[-1]", ("logit",), "_0 <= 0")),
        (
            "argmax-unsigned",
            "larger",
            Operand(
                "[-1]",
                ("logit",),
                "(largest & ~(-1 << len(logit))) - (logit & ~(-1 << len(logit)))",
            ),
        ),
    ),
    *_in(
        "array",
        (
            "sums-not-cleared-by-a-flush",
            {"signal": "total", "under": "clear"},
            Whole("total"),
            Oracle.REPETITION,
        ),
        ("sums-not-cleared-by-a-flush-with-event", "adder.clear", Whole("0")),
        ("event-of-a-flush-lost", "clear", drop("&", "train")),
        (
            "ticket-during-a-drain-lost",
            {"signal": "tickets", "under": "slot_valid"},
            drop("+", "ticket"),
        ),
        ("shared-row-not-advanced", "empty_row", drop("+", "1")),
    ),
    *_in(
        "memory",
        ("occupancy-of-the-last-lane-lost", "occupancy", Node("Mux", ("spiking",), "_2")),
        (
            "shared-occupancy-of-the-latest-row",
            {"signal": "shared", "condition": True},
            Exchange("write.shared", "last"),
            Oracle.COUNTERS,
        ),
        (
            "silenced-neurons-count-as-spiking",
            "spiking",
            Node("[:]", ("train",), "_0"),
            Oracle.COUNTERS,
        ),
    ),
    *_in(
        "scanner",
        ("head-mask-off-by-one", "after_head", Node(">=", ("head",), "_0 > _1")),
        ("tail-mask-off-by-one", "before_tail", Node("<=", ("tail",), "_0 < _1")),
        ("shared-train-of-group-0", "empty_row", drop("+", "1")),
        ("end-given-to-a-bank-with-an-end", "merge", drop("&", "end")),
        ("end-never-merged", "merge", Whole("_ & 0"), Oracle.COUNTERS),
        ("ticket-waits-for-the-drain", "ticket", Node("Mux", ("room",), "_1"), Oracle.COUNTERS),
        (
            "windows-without-events-drain-in-full",
            "seen",
            drop("&", "close"),
            Oracle.COUNTERS,
        ),
        (
            "flush-one-cycle-early",
            "free",
            Node("==", ("last_lane", "0"), "_0 <= 1"),
            Oracle.REPETITION,
        ),
        ("flush-one-cycle-late", "free", Node("==", ("busy", "1"), "_0 == 0"), Oracle.COUNTERS),
        ("ticket-of-a-flush-not-counted", "busy", drop("+", "ticket"), Oracle.VALUES, WIDE),
        (
            "flush-named-by-the-empty-window",
            "token.how",
            Operand("Mux", ("due",), "_ & ~silent"),
        ),
        ("dropped-rows-not-given-back", "outstanding", drop("change", "dropped"), Oracle.HANG),
        ("pitch-x-for-y", ANYWHERE, Exchange("layer.pitch_y", "pitch_x")),
        ("weight-row-of-the-next-group-wrong", "weight", Operand("+", ("lanes",), "1")),
        ("weight-row-of-a-kernel-row-wrong", ANYWHERE, Exchange("layer.weight_y", "weight_x")),
        (
            "pool-counter-off-by-one",
            ANYWHERE,
            Node("~[-1]", ("pool_x",), "_0 != layer.pool_x - 1"),
        ),
        (
            "layer-ends-with-a-partial-pass",
            "how",
            drop("&", "last_pass"),
            Oracle.COUNTERS,
        ),
        ("weights-of-the-first-group", "entry_group", drop("+", "1")),
        ("axis-tables-swapped", "entry_y", Exchange("layer.table_y", "table_x")),
    ),
    *_in(
        "",  # the engine, which connects the rooms
        ("stages-swapped", "inference", Exchange("self.inference", "tau")),
        ("steps-left-aligned", "mode.active", Exchange("left", "step")),
        (
            "scan-before-the-results",
            "scanner.start",
            Exchange("start", "prepare"),
            Oracle.REPETITION,
            DEEP,
        ),
    ),
    *_in(
        "sequencer",
        (
            "drain-fields-before-the-results",
            {"signal": "used", "condition": True},
            Whole("1"),
            Oracle.REPETITION,
            DEEP,
        ),
        (
            "descriptors-not-fetched-ahead",
            "fetching",
            Whole("_ & finished"),
            Oracle.COUNTERS,
        ),
        ("counters-of-the-wrong-layer", "counted", Exchange("layer", "final"), Oracle.COUNTERS),
        (
            "cycles-one-less",
            {"signal": "cycles", "under": "finish"},
            Whole("0"),
            Oracle.COUNTERS,
        ),
    ),
]

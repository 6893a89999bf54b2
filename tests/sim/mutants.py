"""Deliberate faults of the RTL: each is one change to the syntax tree of a file in ``hw/``."""

import enum
from dataclasses import dataclass
from pathlib import Path

from residuum.hw.isa.config import EngineConfig
from tests.sim.mutants_cases import CONFIG, RING, WIDE
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
            Whole("Mux(silenced, silenced << c.steps, _)"),
        ),
        ("no-restart-after-the-probe", "restart", drop("|", "mask_begins")),
        ("no-start-behind-unused-slots", "restart", drop("|", "run_begins")),
        ("start-potential-TH", "kept", Node(">>", ("threshold",), "_0")),
        ("start-potential-rounded-up", "start", Node(">>", ("threshold_here",), "(_0 + 1) >> 1")),
        ("start-at-zero-ignored", "kept", Node("Mux", ("start_zero",), "_2")),
        ("later-start-at-zero-ignored", "start", Node("Mux", ("start_zero",), "_2")),
        ("residual-0-silences", "verdict", Node("[-1]", ("before",), "_0 <= 0")),
        ("bias-dropped", "constant", drop("+", "bias")),
        ("bit-planes-reversed", "node", Node("+", ("low", "high"), "high + (low << planes)")),
        ("number-always-with-fraction", "scaled", Node("Mux", ("fraction",), "_1")),
        (
            "parameter-group-not-advanced",
            {"signal": "group", "owner": "NeuronPipeline", "under": "group_last"},
            Whole("group"),
        ),
        ("one-parameter-row-per-group", "group", drop("+", "last_lane")),
        (
            "high-thresholds-of-unused-lanes-cut-off",
            "threshold",
            Whole("_[:-2].as_signed()"),
            Oracle.COUNTERS,
        ),
        ("strict-bias-also-in-the-first-step", "one_more", drop("&", "earlier")),
        ("strict-bias-of-every-neuron", "one_more", drop("&", "strict")),
        ("carry-ends-the-probe", "mask_begins", drop("&", "carry")),
        ("constant-in-every-stage", "constant_next", Node("Mux", ("divides",), "_2")),
        ("threshold-not-halved", "threshold_now", Node("Mux", ("divides",), "_2")),
        ("threshold-halved-in-unused-slots", "divides", drop("&", "now")),
        ("stages-not-reversed", "between", Node("Mux", ("radix",), "_2")),
        (
            "first-and-last-stage-not-exchanged",
            {"owner": "_integrate"},
            Node("Mux", ("radix", "first"), "_2"),
        ),
        ("smallest-for-largest", "largest", Node(">", ("number",), "_0 < _1")),
        ("maximum-signed", "largest", Node(">", ("number",), "_0.as_signed() > _1.as_signed()")),
        ("maximum-never-begins-again", "largest", drop("&", "later"), Oracle.REPETITION),
        ("parts-of-a-maximum-written", "result_valid", drop("&", "more")),
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
            "sums-not-cleared-by-a-load",
            {"signal": "total", "under": "clear"},
            Whole("total"),
            Oracle.REPETITION,
        ),
        (
            "event-of-a-flush-lost",
            {"signal": "flush", "owner": "elaborate"},
            drop("&", "used"),
            Oracle.REPETITION,
            WIDE,
        ),
        ("sums-not-cleared-by-a-flush-with-event", "gated.clear", Whole("0"), Oracle.VALUES, WIDE),
        ("sums-with-those-of-the-window-before", "total", drop("-", "then")),
        (
            "first-window-less-the-layer-before",
            "then",
            Node("Mux", ("later",), "_1"),
            Oracle.REPETITION,
        ),
        (
            "sums-of-another-lane-subtracted",
            {"signal": "write.addr", "owner": "_subtract"},
            Whole("place + 1"),
            Oracle.REPETITION,
        ),
        (
            "ticket-during-a-drain-lost",
            {"signal": "tickets", "under": "slot_valid"},
            drop("+", "ticket"),
            Oracle.REPETITION,
        ),
        ("shift-ignored", "shifted", Node("Mux", ("shift",), "_2")),
        ("sum-of-two-events-lost", "with_first", Node("Mux", ("to_both",), "_2")),
        (
            "sum-of-two-events-always",
            "with_first",
            Node("Mux", ("to_both",), "_1"),
            Oracle.REPETITION,
        ),
        (
            "first-event-for-the-second",
            "adder.b",
            Node("Mux", ("trains",), "_1"),
            Oracle.REPETITION,
        ),
        (
            "steps-of-the-first-event-only",
            "used",
            Node("any", ("train",), "self.action.trains[0][step]"),
        ),
        # `load` is 0 while windows drain.
        ("first-lane-ignored", "first", Exchange("self.first_lane", "load")),
        ("shared-row-not-advanced", "empty_row", drop("+", "1")),
        (
            "group-written-over-the-one-before",
            {"signal": "row", "under": "group_last"},
            drop("+", "1"),
            Oracle.REPETITION,
        ),
        ("packed-row-one-position-longer", "full", Node("==", ("next_lane",), "_0 > _1")),
        ("line-begins-in-a-packed-row", "row_done", drop("|", "line_last")),
        (
            "line-begins-behind-the-last-lane",
            {"signal": "lane", "under": "row_done"},
            Whole("next_lane"),
        ),
        (
            "logit-rows-of-the-first-group",
            {"signal": "write.addr", "owner": "_store_logits"},
            Whole("neurons.result.lane"),
        ),
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
        ("shared-train-of-the-first-row", "walk.empty_row", drop("+", "1")),
        ("end-given-to-a-bank-with-an-end", "merge", drop("&", "end"), Oracle.HANG),
        ("end-never-merged", "merge", Whole("_ & 0"), Oracle.COUNTERS),
        (
            "windows-wait-for-the-drain",
            "complete",
            Operand("&", ("clears",), "free"),
            Oracle.COUNTERS,
        ),
        ("windows-without-events-drain-in-full", "seen", drop("&", "complete"), Oracle.COUNTERS),
        ("last-event-of-a-window-not-seen", "silent", drop("&", "spiking")),
        (
            "window-ends-with-its-first-stream",
            "complete",
            Node("Cat", ("ending",), "Cat(_0)[0]"),
            Oracle.HANG,
        ),
        (
            "flush-one-cycle-early",
            "ended",
            Node("==", ("last_lane", "0"), "_0 <= 1"),
            Oracle.REPETITION,
        ),
        ("flush-one-cycle-late", "ended", Node("==", ("busy", "1"), "_0 == 0"), Oracle.COUNTERS),
        ("ticket-of-a-flush-not-counted", "busy", Exchange("ticket", "0"), Oracle.REPETITION, WIDE),
        (
            "flush-named-by-the-next-window",
            {"signal": "due_how", "condition": True},
            Whole("1"),
            Oracle.HANG,
        ),
        ("empty-window-hands-over", "token.empty", Whole("0")),
        ("dropped-rows-not-given-back", "following", drop("change", "dropped"), Oracle.HANG),
        ("pitch-x-for-y", ANYWHERE, Exchange("layer.pitch_y", "pitch_x")),
        ("weight-row-of-the-next-row-wrong", "weight", Operand("+", ("lanes",), "1")),
        ("weight-row-of-a-kernel-row-wrong", ANYWHERE, Exchange("layer.weight_y", "weight_x")),
        (
            "pool-counter-off-by-one",
            ANYWHERE,
            Node("~[-1]", ("pool_x",), "_0 != layer.pool_x - 1"),
        ),
        (
            "window-ends-with-its-first-pass",
            "request.end",
            drop("&", "last_pass"),
            Oracle.REPETITION,
        ),
        ("upper-planes-count-once", "request.shift", drop("|", "last_pass")),
        ("axis-tables-swapped", "entry_y", Exchange("layer.table_y", "table_x")),
        ("entries-of-the-first-group", {"signal": "entry_group", "under": "group"}, drop("+", "1")),
        (
            "second-entry-read-as-the-next-first",
            {"signal": "tag.second", "under": "SECOND"},
            Whole("0"),
        ),
        ("row-of-a-group-ignored", "line.row", drop("+", "first"), Oracle.REPETITION),
        ("weights-of-a-group-ignored", "line.weight", drop("+", "first")),
        ("span-of-a-group-ignored", "span", drop("|", "first")),
        ("tail-of-a-group-ignored", "of_first", drop("|", "first")),
        ("second-source-in-the-rows-of-the-first", "line.second_row", drop("+", "second")),
        ("second-source-with-the-lines-of-the-first", "single", drop("|", "second")),
        ("second-weights-of-slot-0", "of_second", drop("-", "second_head")),
        ("second-source-ends-too-early", "of_second", drop("+", "second_head")),
        (
            "second-shared-row-ignored",
            "of_second",
            Exchange("second.empty_row", "row"),
            Oracle.COUNTERS,
        ),
        (
            "second-source-in-place-of-the-first",
            {"signal": "tag.second", "under": "POSITION"},
            drop("&", "whole"),
        ),
        (
            "window-ends-with-its-first-source",
            "request.end",
            drop("&", "continues"),
            Oracle.REPETITION,
        ),
        ("shift-of-both-sources", "window.shift", drop("&", "second")),
        ("shift-lost-with-a-row", "entry.shift", Whole("0")),
        (
            "lines-of-a-maximum-side-by-side",
            {"signal": "entry_x", "under": "pool_positions"},
            Whole("entry_x + 1"),
        ),
        (
            "next-maximum-below",
            {"signal": "entry_y", "under": "max_y"},
            Whole("entry_y + 1"),
            Oracle.REPETITION,
        ),
        ("maximum-of-the-last-window", "tag.later", Whole("0")),
        (
            "maximum-of-a-whole-line",
            "tag.more",
            Exchange("pool_last", "line_last"),
            Oracle.REPETITION,
        ),
    ),
    *_in(
        "host",
        (
            "stages-swapped",
            {"signal": "inference", "owner": "RunControl"},
            Exchange("self.inference", "tau"),
        ),
        ("steps-left-aligned", "mode.active", Exchange("left", "step")),
        ("bits-of-a-map-ignored", "total", Node("Mux", ("radix",), "_2")),
        ("output-layer-carries", "mode.carry", drop("&", "output")),
        ("carry-not-stored", {"signal": "carry", "under": "control"}, Whole("0")),
    ),
    *_in(
        "",  # the engine, which connects the rooms
        (
            "scan-before-the-results",
            "scanner.start",
            Exchange("start", "prepare"),
            Oracle.REPETITION,
        ),
        (
            "second-weights-of-the-first-stream",
            {"signal": "slot", "owner": "_weight_rows"},
            drop("+", "stream"),
        ),
        (
            "trains-of-the-first-bank",
            "action.trains",
            Node("Mux", ("train",), "Mux(_0, found[0], 0)"),
            Oracle.REPETITION,
        ),
        (
            "events-of-one-stream-counted",
            "counters.events",
            Whole("scanner.token.events[0].valid"),
            Oracle.COUNTERS,
        ),
    ),
    *_in(
        "memory/ring.py",
        (
            "group-starts-without-its-rows",
            "enough",
            Node(">=", ("ahead",), "_0 >= 0"),
            Oracle.REPETITION,
            RING,
        ),
        (
            "group-claims-no-rows",
            "ahead",
            Node("Mux", ("accepted",), "0"),
            Oracle.REPETITION,
            RING,
        ),
        (
            "rows-never-released",
            {"signal": "released", "owner": "_ask"},
            Whole("0"),
            Oracle.HANG,
            RING,
        ),
        (
            "ring-starts-with-its-first-row",
            {"signal": "rows", "under": "starting"},
            Whole("0"),
            Oracle.REPETITION,
            RING,
        ),
        (
            "layers-start-with-the-first-burst",
            {"signal": "burst", "under": "starting"},
            Whole("0"),
            Oracle.REPETITION,
            RING,
        ),
        (
            "chunk-read-again",
            {"signal": "burst", "under": "taken"},
            Whole("burst"),
            Oracle.REPETITION,
            RING,
        ),
        (
            "words-a-cycle-early",
            "self.word",
            Whole("delayed(m, external.word, WORD_LATENCY - 1, 'early')"),
            Oracle.VALUES,
            RING,
        ),
    ),
    *_in(
        "scanner",
        ("second-event-in-spite-of-a-row", "second", drop("&", "hold"), Oracle.REPETITION, RING),
    ),
    *_in(
        "",
        (
            "rows-released-with-every-window",
            "ring.released",
            drop("&", "group_last"),
            Oracle.REPETITION,
            RING,
        ),
    ),
    *_in(
        "sequencer",
        (
            "drain-fields-before-the-results",
            {"signal": "used", "condition": True},
            Whole("1"),
            Oracle.HANG,
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

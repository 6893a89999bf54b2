"""Deliberate faults of the RTL, each one replacement in a file under ``hw/``."""

import enum
from dataclasses import dataclass
from pathlib import Path

from residuum.hw.isa.config import EngineConfig
from tests.sim.mutants_cases import CONFIG, DEEP, WIDE


class Oracle(enum.Enum):
    """What tells a fault; the first one that applies."""

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
        What is wrong, as a test's name.
    file
        Under ``hw/``.
    original, replacement
        Text that occurs in the file exactly once, and what stands there instead.
    caught_by
        The oracle that must tell this fault.
    config
        The engine in which it does.
    """

    name: str
    file: str
    original: str
    replacement: str
    caught_by: Oracle = Oracle.VALUES
    config: EngineConfig = CONFIG

    def apply(self, hardware: Path) -> None:
        """Put the fault into a copy of ``hw/``; ValueError if its place is not found once."""
        path = hardware / self.file
        text = path.read_text()
        found = text.count(self.original)
        if found != 1:
            raise ValueError(
                f"mutant {self.name}: hw/{self.file} must hold this text exactly once, "
                f"not {found} times; adapt the mutant to the source: {self.original!r}"
            )
        path.write_text(text.replace(self.original, self.replacement))


def _of(file: str, *faults: tuple) -> list[Mutant]:  # type: ignore[type-arg]
    """The other fields of all mutants of a file."""
    return [Mutant(name, file, *rest) for name, *rest in faults]


MUTANTS = [
    *_of(
        "neuron/pipeline.py",
        ("threshold-not-reached-by-equality", "~after[-1] & ~mode", "(after > 0) & ~mode"),
        ("mask-ignored", " & ~(mode.inference[step] & silenced_here)", ""),
        (
            "mask-applied-to-the-probe",
            "Cat(train, silenced)",
            "Cat(Mux(silenced, 0, train), silenced)",
        ),
        (
            "no-restart-after-the-probe",
            "(~now[0] & now[1]) | (~then[0] & then[1])",
            "~now[0] & now[1]",
        ),
        (
            "no-start-behind-unused-slots",
            "(~now[0] & now[1]) | (~then[0] & then[1])",
            "~then[0] & then[1]",
        ),
        ("start-potential-TH", 'register("start", threshold >> 1)', 'register("start", threshold)'),
        (
            "start-potential-rounded-up",
            "Mux(restart, threshold_here >> 1,",
            "Mux(restart, (threshold_here + 1) >> 1,",
        ),
        ("residual-0-silences", "before[-1], silenced_here", "before <= 0, silenced_here"),
        ("bias-dropped", "constant.eq(late.bias + planes)", "constant.eq(planes)"),
        ("bit-planes-reversed", "for k in range(c.planes)]", "for k in reversed(range(c.planes))]"),
        ("no-shift-between-passes", "(before << c.planes) + total", "before + total"),
        ("parameter-group-not-advanced", "group.eq(group + 1)", "group.eq(group)"),
    ),
    *_of(
        "neuron/argmax.py",
        ("argmax-takes-the-last-of-equals", "(largest - logit)[-1]", "(largest - logit) <= 0"),
        (
            "argmax-unsigned",
            "(largest - logit)[-1]",
            "((largest & ~(-1 << len(logit))) - (logit & ~(-1 << len(logit))))[-1]",
        ),
    ),
    *_of(
        "array/lanes.py",
        ("sums-not-cleared-by-a-flush", "total.eq(0)", "total.eq(total)", Oracle.REPETITION),
        (
            "sums-not-cleared-by-a-flush-with-event",
            "adder.clear.eq(action.flush)",
            "adder.clear.eq(0)",
        ),
        (
            "event-of-a-flush-lost",
            "self.action.flush & ~self.action.train[step]",
            "self.action.flush",
        ),
        (
            "ticket-during-a-drain-lost",
            "tickets.eq(tickets + action.ticket),",
            "tickets.eq(tickets),",
        ),
    ),
    *_of(
        "array/tile.py",
        ("shared-row-not-advanced", "empty_row.eq(empty_row + 1)", "empty_row.eq(empty_row)"),
    ),
    *_of(
        "memory/feature.py",
        ("occupancy-of-the-last-lane-lost", "Mux(write.lane == lane, spiking, earlier)", "earlier"),
        (
            "shared-occupancy-of-the-latest-row",
            "with m.If(write.shared):",
            "with m.If(write.last):",
            Oracle.COUNTERS,
        ),
        (
            "silenced-neurons-count-as-spiking",
            "taken.train[: c.steps].any()",
            "taken.train.any()",
            Oracle.COUNTERS,
        ),
    ),
    *_of(
        "scanner/events.py",
        ("head-mask-off-by-one", "slot >= early.head", "slot > early.head"),
        ("tail-mask-off-by-one", "slot <= early.tail", "slot < early.tail"),
        ("shared-train-of-group-0", "self.empty_row + read.index", "self.empty_row"),
        (
            "end-given-to-a-bank-with-an-end",
            " & ~bank.final & ~bank.end",
            " & ~bank.final",
        ),
        ("end-never-merged", " & ~bank.final & ~bank.end", " & 0", Oracle.COUNTERS),
        (
            "ticket-waits-for-the-drain",
            "Mux(due, free, room)",
            "free",
            Oracle.COUNTERS,
        ),
        (
            "windows-without-events-drain-in-full",
            "seen.eq((seen | event) & ~close)",
            "seen.eq(seen | event)",
            Oracle.COUNTERS,
        ),
        (
            "flush-one-cycle-early",
            "free.eq((self.last_lane == 0) & ~ticket)",
            "free.eq((self.last_lane <= 1) & ~ticket)",
            Oracle.REPETITION,
        ),
        (
            "flush-one-cycle-late",
            "free.eq(busy == 1)",
            "free.eq(busy == 0)",
            Oracle.COUNTERS,
        ),
        (
            "ticket-of-a-flush-not-counted",
            "busy.eq(self.last_lane + ticket)",
            "busy.eq(self.last_lane)",
            Oracle.VALUES,
            WIDE,
        ),
        (
            "flush-named-by-the-empty-window",
            "token.how.eq(Mux(due, due_how, how))",
            "token.how.eq(Mux(due & ~silent, due_how, how))",
        ),
        ("dropped-rows-not-given-back", "advance, dropped, taken", "advance, taken", Oracle.HANG),
    ),
    *_of(
        "scanner/walker.py",
        ("pitch-x-for-y", "row_y + layer.pitch_y", "row_y + layer.pitch_x"),
        ("weight-row-of-the-next-group-wrong", "weight + c.lanes", "weight + 1"),
        (
            "weight-row-of-a-kernel-row-wrong",
            'm, "y", weight_y, layer.weight_y',
            'm, "y", weight_y, layer.weight_x',
        ),
        (
            "pool-counter-off-by-one",
            "stay=~pool_x[-1]",
            "stay=pool_x != layer.pool_x - 1",
        ),
        (
            "layer-ends-with-a-partial-pass",
            "window.layer_last & last_pass",
            "window.layer_last",
            Oracle.COUNTERS,
        ),
    ),
    *_of(
        "scanner/windows.py",
        (
            "weights-of-the-first-group",
            "base_weight.eq(base_weight + layer.weight_group)",
            "base_weight.eq(base_weight)",
        ),
        ("axis-tables-swapped", "entry_y.eq(layer.table_y)", "entry_y.eq(layer.table_x)"),
    ),
    *_of(
        "engine.py",
        (
            "stages-swapped",
            "mode.inference[step].eq(inference > left)",
            "mode.inference[step].eq(tau > left)",
        ),
        (
            "steps-left-aligned",
            "mode.active[step].eq(total > left)",
            "mode.active[step].eq(total > step)",
        ),
        (
            "scan-before-the-results",
            "scanner.start.eq(sequencer.start)",
            "scanner.start.eq(sequencer.prepare)",
            Oracle.REPETITION,
            DEEP,
        ),
    ),
    *_of(
        "sequencer/sequencer.py",
        (
            "drain-fields-before-the-results",
            "with m.If(self.start):",
            "with m.If(1):",
            Oracle.REPETITION,
            DEEP,
        ),
        (
            "descriptors-not-fetched-ahead",
            "fetching.eq(word != len(FIELDS))",
            "fetching.eq((word != len(FIELDS)) & finished)",
            Oracle.COUNTERS,
        ),
        ("counters-of-the-wrong-layer", "counted.eq(layer)", "counted.eq(final)", Oracle.COUNTERS),
    ),
    *_of(
        "sequencer/counters.py",
        (
            "cycles-one-less",
            "taken.eq(cycles), cycles.eq(1)",
            "taken.eq(cycles), cycles.eq(0)",
            Oracle.COUNTERS,
        ),
    ),
]

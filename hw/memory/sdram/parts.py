"""SDR SDRAM parts: what their data sheets say, and what that is in cycles of a clock."""

from dataclasses import dataclass, fields
from fractions import Fraction
from math import ceil

from residuum.hw.isa.config import EXTERNAL_BURST_WORDS, EXTERNAL_WORD_BITS, bits_for_count

# Words of one read command: the burst length in the mode register.
BURST = EXTERNAL_BURST_WORDS
# Bits of a word.
WIDTH = EXTERNAL_WORD_BITS
BANKS = 4
BANK_BITS = 2
ADDRESS_BITS = 13
# Times longer than this many cycles do not fit the timers of `Controller` and of the chip's model.
LONGEST = 31


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part, from its data sheet. Times in ns, the least where not said otherwise.

    Attributes
    ----------
    rows, columns
        Rows of a bank, and words of a row. A part has four banks of 16-bit words.
    cycle_3, cycle_2
        tCK with a CAS latency of 3 and of 2.
    activate_to_activate
        tRC, in one bank.
    activate_to_precharge
        tRAS.
    activate_to_column
        tRCD.
    precharge_to_activate
        tRP.
    other_bank
        tRRD: activate in one bank to activate in another.
    refresh
        tRFC: refresh to the next command.
    write_to_precharge
        tWR (tDPL), from the last word written.
    mode_to_command
        tMRD (tRSC).
    access, hold
        tAC, at most, and tOH: a word is on the pins from ``access`` after one clock edge to
        ``hold`` after the next.
    retention
        tREF: every row is refreshed once in this time.
    pause
        Time between power-up and the first command.
    """

    rows: int = 8192
    columns: int = 512
    cycle_3: float
    cycle_2: float = 10
    activate_to_activate: float
    activate_to_precharge: float
    activate_to_column: float
    precharge_to_activate: float
    other_bank: float
    refresh: float
    write_to_precharge: float
    mode_to_command: float
    access: float
    hold: float
    retention: float = 64_000_000
    pause: float = 200_000

    @property
    def burst_bits(self) -> int:
        """Bits of the address of a burst of `BURST` words: row, bank, and column from the top."""
        return bits_for_count(self.rows) + BANK_BITS + self.column_bits

    @property
    def column_bits(self) -> int:
        """Bits of the number of a burst in its row."""
        return bits_for_count(self.columns // BURST)

    @property
    def row_bits(self) -> int:
        return bits_for_count(self.rows)

    @property
    def words(self) -> int:
        return self.rows * BANKS * self.columns


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The times of a part in cycles of a clock, named as in `Part`; CAS latency in cycles."""

    cas_latency: int
    activate_to_activate: int
    activate_to_precharge: int
    activate_to_column: int
    precharge_to_activate: int
    other_bank: int
    refresh: int
    write_to_precharge: int
    mode_to_command: int
    retention: int
    pause: int

    @classmethod
    def of(cls, part: Part, clock_hz: int) -> "Timing":
        """Times rounded up to cycles, except the retention, which is rounded down.

        Raises
        ------
        ValueError
            If the clock is too fast for the part.
        """
        period = Fraction(10**9, clock_hz)
        if period < Fraction(part.cycle_3):
            fastest = 1000 / part.cycle_3
            raise ValueError(f"the part runs at {fastest:.2f} MHz at most, not {clock_hz / 1e6:g}")
        counts = {
            field.name: ceil(Fraction(getattr(part, field.name)) / period)
            for field in fields(cls)
            if field.name != "cas_latency"
        }
        counts["retention"] = int(Fraction(part.retention) / period)
        return cls(cas_latency=2 if period >= Fraction(part.cycle_2) else 3, **counts)


# The parts of ULX3S boards. Times that a data sheet gives in cycles are ns at its fastest clock;
# where revisions of a part differ, the longer time.
PARTS = {
    # ISSI; tRP, tRCD, tWR and tRFC of the first revisions, which are the slowest.
    "is42s16160g-7": Part(
        cycle_3=7,
        activate_to_activate=63,
        activate_to_precharge=42,
        activate_to_column=20,
        precharge_to_activate=20,
        other_bank=14,
        refresh=70,
        write_to_precharge=20,
        mode_to_command=14,
        access=5.4,
        hold=2.5,
    ),
    # Winbond
    "w9825g6kh-6": Part(
        cycle_3=6,
        activate_to_activate=60,
        activate_to_precharge=42,
        activate_to_column=15,
        precharge_to_activate=15,
        other_bank=12,
        refresh=60,
        write_to_precharge=12,
        mode_to_command=12,
        access=5,
        hold=3,
    ),
    # Micron
    "mt48lc16m16a2-6a": Part(
        cycle_3=6,
        activate_to_activate=60,
        activate_to_precharge=42,
        activate_to_column=20,
        precharge_to_activate=20,
        other_bank=12,
        refresh=66,
        write_to_precharge=15,
        mode_to_command=12,
        access=5.4,
        hold=2.5,
    ),
    # Alliance; table 16 of revision 1.0
    "as4c32m16sb-7": Part(
        columns=1024,
        cycle_3=7,
        activate_to_activate=63,
        activate_to_precharge=42,
        activate_to_column=21,
        precharge_to_activate=21,
        other_bank=14,
        refresh=63,
        write_to_precharge=14,
        mode_to_command=14,
        access=5.4,
        hold=2.5,
    ),
}


def slowest(parts: dict[str, Part]) -> Part:
    """What all of the parts can do: the longest of the least times, the shortest of the others,
    the smallest of the sizes."""
    shortest = {"rows", "columns", "hold", "retention"}
    return Part(
        **{
            field.name: (min if field.name in shortest else max)(
                getattr(part, field.name) for part in parts.values()
            )
            for field in fields(Part)
        }
    )


# For a board whose part is not known.
SLOWEST = slowest(PARTS)

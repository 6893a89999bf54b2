"""Runs commands on the model of an SDRAM chip in Amaranth's simulator."""

from dataclasses import replace
from typing import Any

from residuum.hw.memory.sdram.bus import A10, Command, mode_register
from residuum.hw.memory.sdram.parts import SLOWEST, Timing
from residuum.sim.sdram.chip import Chip
from residuum.sim.sdram.rules import Rule
from tests.hw.simulation import simulate

PART = replace(SLOWEST, rows=16, columns=32)
# Times that differ from each other, and from sums of others.
TIMES = Timing(
    cas_latency=2,
    activate_to_activate=14,
    activate_to_precharge=8,
    activate_to_column=3,
    precharge_to_activate=4,
    other_bank=5,
    refresh=11,
    write_to_precharge=6,
    mode_to_command=7,
    retention=3000,
    pause=20,
)


def command(kind: Command, bank: int = 0, address: int = 0, *, gap: int = 20, **more: Any) -> dict:
    """A command ``gap`` cycles after the one before; ``more``: other members of the bus."""
    return {"gap": gap, "command": kind, "bank": bank, "address": address, **more}


def activate(bank: int = 0, row: int = 0, **more: Any) -> dict:
    return command(Command.ACTIVATE, bank, row, **more)


def read(bank: int = 0, column: int = 0, **more: Any) -> dict:
    return command(Command.READ, bank, column, **more)


def write(bank: int = 0, column: int = 0, data: int = 0, **more: Any) -> dict:
    return command(Command.WRITE, bank, column, **({"drive": 1, "data_out": data} | more))


def precharge(bank: int = 0, *, all_banks: bool = False, **more: Any) -> dict:
    return command(Command.PRECHARGE, bank, A10 * all_banks, **more)


def refresh(**more: Any) -> dict:
    return command(Command.REFRESH, **more)


def mode(value: int = mode_register(2), **more: Any) -> dict:
    return command(Command.MODE, address=value, **more)


START = [precharge(all_banks=True, gap=21), *[refresh() for _ in range(8)], mode()]


def run(commands: list[dict], *, after: int = 20, **options: Any) -> list[dict]:
    """What the chip does in each cycle: its word, and the rules that are broken."""
    chip = Chip(PART, TIMES, **options)
    seen = []

    async def testbench(ctx):
        async def cycle(driven: dict) -> None:
            for name in ("command", "bank", "address", "data_out", "drive"):
                ctx.set(getattr(chip.bus, name), driven.get(name, 0))
            broken = ctx.get(chip.broken)
            seen.append(
                {
                    "word": ctx.get(chip.bus.data_in),
                    "broken": [rule for rule in Rule if broken >> rule & 1],
                    "command": driven.get("command"),
                }
            )
            await ctx.tick()

        for one in commands:
            for _ in range(one["gap"] - 1):
                await cycle({})
            await cycle(one)
        for _ in range(after):
            await cycle({})

    simulate(chip, testbench)
    return seen


def broken(commands: list[dict], **options: Any) -> list[Rule]:
    """All rules that initialisation and commands break, one after another."""
    cycles = run([*START, *commands], after=1, **options)
    return [rule for cycle in cycles for rule in cycle["broken"]]


def words(commands: list[dict], **options: Any) -> list[int]:
    """The words of the cycles from the last read command on."""
    seen = run([*START, *commands], **options)
    last = max(index for index, cycle in enumerate(seen) if cycle["command"] == Command.READ)
    return [cycle["word"] for cycle in seen[last:]]

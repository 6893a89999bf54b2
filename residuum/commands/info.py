"""``residuum info``."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from residuum.commands.arguments import add_device

if TYPE_CHECKING:
    from residuum.sw.host.external import Held

DESCRIPTION = "Print engine, clock, build, program and frame counters of a device."
EXAMPLES = """\
examples:
  residuum info --device serial:/dev/ttyUSB0          a board; tries the baud rates of all boards
  residuum info --device serial:/dev/ttyUSB0@115200   a board at this baud rate
  residuum info --device sim:lanes=32                 a simulated engine with 32 lanes
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from residuum.commands.console import ConsoleReporter
    from residuum.commands.devices import open_device
    from residuum.hw.isa.protocol import VERSION
    from residuum.sw.host.external import held
    from residuum.sw.host.links import latency_note

    with open_device(args.device, ConsoleReporter()) as device:
        identity, status = device.identity, device.status()
        memory = held(device) if identity.config.external else None
    sizes = dataclasses.asdict(identity.config)
    del sizes["memory"]
    rows = [
        *((name.replace("_", " "), f"{size:,}") for name, size in sizes.items()),
        ("clock", f"{identity.clock_hz / 1e6:g} MHz"),
        ("build", identity.digest.hex() if any(identity.digest) else "not named"),
        ("program of the bitstream", identity.name or "none"),
        ("protocol version", str(VERSION)),
        ("busy", "yes" if status.busy else "no"),
        ("frames dropped", f"{status.dropped:,}"),
        ("frames refused", f"{status.refused:,}"),
    ]
    if identity.config.external:
        rows.append(("external memory", _described(memory)))
    if note := latency_note(device.link):
        rows.append(("latency", note))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    print(args.device)
    Console().print(table)
    return 0


def _described(memory: Held | None) -> str:
    from residuum.sw.host.external import BURST_BYTES

    if memory is None:
        return "no network"
    state = "intact" if memory.intact else "damaged: load it again"
    return f"{memory.name}, CRC {memory.crc:08x}, {memory.bursts * BURST_BYTES:,} bytes, {state}"

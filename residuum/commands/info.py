"""``residuum info``."""

import argparse
import dataclasses

from residuum.commands.arguments import add_device

DESCRIPTION = "Print what a device says about itself: engine, clock, build, program and counters."
EXAMPLES = """\
examples:
  residuum info --device serial:/dev/ttyUSB0          a board at the default baud rate
  residuum info --device serial:/dev/ttyUSB0@115200   at another one
  residuum info --device sim:lanes=32                 a simulated engine with 32 lanes
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from residuum.commands.devices import open_device
    from residuum.hw.isa.protocol import VERSION

    with open_device(args.device) as device:
        identity, status = device.identity, device.status()
    table = Table(title=args.device, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    sizes = dataclasses.asdict(identity.config)
    del sizes["memory"]
    for name, size in sizes.items():
        table.add_row(name.replace("_", " "), f"{size:,}")
    table.add_section()
    table.add_row("clock", f"{identity.clock_hz / 1e6:g} MHz")
    table.add_row("build", identity.digest.hex() if any(identity.digest) else "not named")
    table.add_row("program of the bitstream", identity.name or "none")
    table.add_row("protocol version", str(VERSION))
    table.add_section()
    table.add_row("busy", "yes" if status.busy else "no")
    table.add_row("frames dropped", f"{status.dropped:,}")
    table.add_row("frames refused", f"{status.refused:,}")
    Console().print(table)
    return 0

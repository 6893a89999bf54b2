"""``residuum memtest``."""

from __future__ import annotations

import argparse

from residuum.commands.arguments import add_device, megabytes, positive_number

DESCRIPTION = """\
Test the external memory of a device: write patterns to the whole memory, or a part, and read them
back. The network in it is lost. Prints a row for each pattern, with the bits that were wrong and
the first wrong word; ends with status 1 if there was any."""
EXAMPLES = """\
examples:
  residuum memtest --device serial:/dev/ttyUSB0               the whole memory, all patterns
  residuum memtest --device serial:/dev/ttyUSB0 --megabytes 1 its first megabyte
  residuum memtest --device sim:sdram=1024 --megabytes 0.01   a simulated one

Bits that are always wrong tell of a pin, wrong words in one place of a cell, and wrong words
everywhere of the clock: build the bitstream with another phase of the chip's clock (--sdram-phase),
or with a slower clock (--freq).
"""

SEED = 0x2545F491


def configure(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument(
        "--megabytes",
        type=megabytes,
        metavar="MB",
        help="test so much from the start of the memory on (default: all)",
    )
    parser.add_argument(
        "--rounds", type=positive_number, default=1, metavar="N", help="repeat (default 1)"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter
    from residuum.commands.devices import open_device
    from residuum.commands.tables import print_records
    from residuum.sw.errors import ResiduumError
    from residuum.sw.host.external import BURST_BYTES, PATTERNS, test

    reporter = ConsoleReporter()
    with open_device(args.device, reporter) as device:
        config = device.identity.config
        if not config.external:
            raise ResiduumError(
                f"the engine of {device.link.name} has no external memory; those of presets called "
                "-sdram have one"
            )
        most = 1 << config.burst_bits
        bursts = most
        if args.megabytes is not None:
            bursts = round(args.megabytes * 1e6 / BURST_BYTES)
            if not 0 < bursts <= most:
                raise ResiduumError(
                    f"--megabytes must be above 0 and at most {most * BURST_BYTES / 1e6:g}, not "
                    f"{args.megabytes:g}"
                )
        records, wrong = [], 0
        steps = args.rounds * len(PATTERNS)
        with reporter.task("testing the memory", total=steps, unit="patterns") as task:
            for number in range(args.rounds):
                for name, pattern in PATTERNS.items():
                    found = test(device, pattern, bursts, seed=SEED + number)
                    wrong += found.errors
                    records.append(
                        {
                            "pattern": name,
                            "wrong words": f"{found.errors:,}",
                            "wrong bits": found.bits,
                            "first at": found.place,
                        }
                    )
                    task.advance(1)
    print_records(records)
    size = bursts * BURST_BYTES / 1e6
    print(f"{size:g} MB of {device.link.name}: {wrong:,} wrong words in {len(records)} patterns")
    return int(wrong > 0)

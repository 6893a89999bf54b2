"""``residuum memtest``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import add_device, megabytes, megahertz, positive_number

if TYPE_CHECKING:
    from residuum.boards.board import Board
    from residuum.sw.host.device import Device
    from residuum.sw.host.external import TestResult
    from residuum.sw.progress import Reporter

DESCRIPTION = """\
Test the external memory of a device: write patterns to the whole memory, or a part, and read them
back. The network in it is lost. Prints a row for each pattern, with the bits that were wrong and
the first wrong word; ends with status 1 if there was any.

With --sweep, find the phase of the SDRAM's clock that suits a board: for each of ten phases, build
a bitstream, load it into the FPGA with openFPGALoader, and test. The first bitstream takes as long
as any, the others seconds: only a setting of the PLL differs. Prints a row for each phase, and the
middle of those without a wrong word."""
EXAMPLES = """\
examples:
  residuum memtest --device serial:/dev/ttyUSB0               the whole memory, all patterns
  residuum memtest --device serial:/dev/ttyUSB0 --megabytes 1 its first megabyte
  residuum memtest --device sim:sdram=1024 --megabytes 0.01   a simulated one
  residuum memtest --sweep ulx3s --device serial:/dev/ttyUSB0 all phases

Bits that are always wrong tell of a pin, wrong words in one place of a cell, and wrong words
everywhere of the clock: try --sweep, or build the bitstream with a slower clock (--freq).
"""

SEED = 0x2545F491
# Seeds of place and route that a sweep tries.
TRIES = 3
# Seconds that the port of a board may be gone, while it is loaded through the same cable.
GONE = 10.0


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
    sweep = parser.add_argument_group("phases of the SDRAM's clock")
    sweep.add_argument("--sweep", metavar="BOARD", help="test all phases; see `residuum boards`")
    sweep.add_argument(
        "--preset", help="engine with an SDRAM (default: the first one of that board)"
    )
    sweep.add_argument("--sdram", metavar="PART", help="as of `residuum bitstream`")
    sweep.add_argument("--freq", type=megahertz, metavar="MHZ", help="as of `residuum bitstream`")
    sweep.add_argument("--cable", metavar="NAME", help="as of `residuum program`")


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter
    from residuum.commands.devices import open_device
    from residuum.commands.tables import print_records
    from residuum.sw.errors import ResiduumError

    reporter = ConsoleReporter()
    if args.sweep:
        return _sweep(args, reporter)
    if strange := [name for name in ("preset", "sdram", "freq", "cable") if getattr(args, name)]:
        raise ResiduumError(f"--{strange[0]} is for a sweep over the phases, --sweep BOARD")
    with open_device(args.device, reporter) as device:
        found, size = _test(device, args, reporter)
        name = device.link.name
    print_records([_record("pattern", pattern, result) for pattern, result in found])
    wrong = sum(result.errors for _, result in found)
    print(f"{size:g} MB of {name}: {wrong:,} wrong words in {len(found)} patterns")
    return int(wrong > 0)


def _test(
    device: Device, args: argparse.Namespace, reporter: Reporter
) -> tuple[list[tuple[str, TestResult]], float]:
    """What each pattern finds, round by round, and the size of the tested part in MB."""
    from residuum.sw.errors import ResiduumError
    from residuum.sw.host.external import BURST_BYTES, PATTERNS, test

    config = device.identity.config
    if not config.external:
        raise ResiduumError(
            f"the engine of {device.link.name} has no external memory; those of presets called "
            "-sdram have one"
        )
    bursts = most = 1 << config.burst_bits
    if args.megabytes is not None:
        bursts = round(args.megabytes * 1e6 / BURST_BYTES)
        if not 0 < bursts <= most:
            raise ResiduumError(
                f"--megabytes must be above 0 and at most {most * BURST_BYTES / 1e6:g}, not "
                f"{args.megabytes:g}"
            )
    found = []
    steps = args.rounds * len(PATTERNS)
    with reporter.task("testing the memory", total=steps, unit="patterns") as task:
        for number in range(args.rounds):
            for name, pattern in PATTERNS.items():
                found.append((name, test(device, pattern, bursts, seed=SEED + number)))
                task.advance(1)
    return found, bursts * BURST_BYTES / 1e6


def _record(kind: str, name: str, result: TestResult) -> dict[str, str]:
    return {
        kind: name,
        "wrong words": f"{result.errors:,}",
        "wrong bits": result.bits,
        "first at": result.place,
    }


def _sweep(args: argparse.Namespace, reporter: Reporter) -> int:
    """Tests the memory of a board at each phase; prints the phases and the best one."""
    from residuum.boards.build.sdram import SWEPT, best_phases
    from residuum.boards.catalogue import find
    from residuum.commands.tables import print_records
    from residuum.hw.isa.contents import CONTENTS_DIGEST_BYTES
    from residuum.hw.isa.presets import PRESETS
    from residuum.sw.errors import ResiduumError
    from residuum.sw.host.external import combined

    board = find(args.sweep)
    if not args.device.startswith("serial:"):
        raise ResiduumError("a sweep needs a board: name its port with --device serial:PORT")
    presets = [name for name in board.presets if PRESETS[name].external]
    if not presets:
        raise ResiduumError(f"{board.name} has no SDRAM with words of 16 bits")
    preset = args.preset or presets[0]
    if preset not in presets:
        raise ResiduumError(
            f"{preset} is no engine of {board.name} with an SDRAM; those are {', '.join(presets)}"
        )
    options = {"preset_name": preset, "freq": args.freq, "tries": TRIES}
    records, wrong, size = [], {}, 0.0
    for phase in SWEPT:
        digest = _load(board, options, phase, args, reporter)
        with _reopened(args.device, reporter) as device:
            if device.identity.digest[:CONTENTS_DIGEST_BYTES] != digest[:CONTENTS_DIGEST_BYTES]:
                raise ResiduumError(
                    f"the device at {args.device} is not the board that was loaded; name the port "
                    "of that board"
                )
            found, size = _test(device, args, reporter)
        result = combined([result for _, result in found])
        wrong[phase] = result.errors
        records.append(_record("phase", f"{phase:g}", result))
        reporter.say(f"{board.name}: {result.errors:,} wrong words at {phase:g} degrees")
    print_records(records)
    if (best := best_phases(wrong)) is None:
        print(
            f"{size:g} MB of {board.name}: wrong words at every phase; try a slower clock, --freq"
        )
        return 1
    print(
        f"{size:g} MB of {board.name}: no wrong words from {best[0]:g} to {best[1]:g} degrees; "
        f"take --sdram-phase {sum(best) / 2:g}"
    )
    return 0


def _load(
    board: Board,
    options: Mapping[str, Any],
    phase: float,
    args: argparse.Namespace,
    reporter: Reporter,
) -> bytes:
    """Loads a bitstream of this phase into a board; returns the digest of its design."""
    from residuum.boards.build.bitstream import prepare
    from residuum.boards.build.flow import build, make_layout
    from residuum.boards.build.program import load
    from residuum.boards.build.published import BITSTREAM
    from residuum.boards.build.sdram import SWEPT, UNKNOWN, Sdram
    from residuum.sw.files import build_folder

    with reporter.task(f"{board.name}: elaboration"):
        sdram = Sdram(args.sdram or UNKNOWN, phase)
        order, design = prepare(board, **options, sdram=sdram)
    folder = build_folder() / board.name / "phases"
    if phase == SWEPT[0]:
        # It must be kept, or each phase would take as long.
        make_layout(order, design, folder, reporter)
    report = build(order, design, folder, reporter)
    load(board, (folder / BITSTREAM).resolve(), cable=args.cable)
    return bytes.fromhex(report["digest"])


def _reopened(address: str, reporter: Reporter) -> Device:
    """The device at an address that may be gone for a while."""
    from residuum.commands.devices import open_device
    from residuum.sw.errors import ResiduumError

    until = time.monotonic() + GONE
    while True:
        try:
            return open_device(address, reporter)
        except ResiduumError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)

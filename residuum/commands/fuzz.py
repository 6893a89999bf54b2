"""``residuum fuzz``: damaged, random and hostile frames against the simulated link."""

from __future__ import annotations

import argparse
import time

from residuum.commands.arguments import positive_number, whole_number

DESCRIPTION = """\
Send damaged, random and hostile frames to the simulated accelerator. After each burst good requests
must be answered, and every byte of an answer and every word of the memories must be what a second
model of the protocol says. Ends with status 1 at the first difference."""
EXAMPLES = """\
examples:
  residuum fuzz                          100,000 bad frames, which takes some minutes
  residuum fuzz --frames 5000 --seed 7   fewer, and others
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames",
        type=positive_number,
        default=100_000,
        metavar="N",
        help="bad frames (default %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=1,
        metavar="N",
        help="of the random frames; the same seed sends the same frames (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the frames, print the totals."""
    from residuum.commands.console import ConsoleReporter
    from residuum.sim.bench.fuzz import FuzzError, fuzz

    start = time.monotonic()
    try:
        report = fuzz(frames=args.frames, seed=args.seed, reporter=ConsoleReporter())
    except FuzzError as error:
        raise FuzzError(f"seed {args.seed}: {error}") from None
    print(
        f"seed {args.seed}: {report.frames:,} bad frames in {report.bursts:,} bursts "
        f"({report.sent:,} bytes): {report.dropped:,} frames dropped, {report.refused:,} refused, "
        f"{report.executed:,} good requests answered, {report.classified} images classified, "
        f"0 wrong effects, {time.monotonic() - start:.0f} s"
    )
    return 0

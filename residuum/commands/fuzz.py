"""``residuum fuzz``: damaged, random and hostile frames against the simulated link."""

from __future__ import annotations

import argparse
import time

from residuum.commands.arguments import positive_number, whole_number

DESCRIPTION = """\
Send damaged, random and hostile frames to the simulated accelerator. After each burst, it must
answer good requests. Every byte of its answers and every word of its memories must equal those of
an independent model of the protocol. Ends with status 1 at the first difference."""
EXAMPLES = """\
examples:
  residuum fuzz                          100,000 bad frames, in some minutes
  residuum fuzz --frames 5000 --seed 7   fewer and different frames
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames",
        type=positive_number,
        default=100_000,
        metavar="N",
        help="number of bad frames (default %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=1,
        metavar="N",
        help="seed of the random frames; equal seeds send equal frames (default %(default)s)",
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

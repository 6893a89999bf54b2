"""``residuum suggest``."""

import argparse
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import (
    add_allow_modified,
    add_network,
    image_count,
    positive_number,
)
from residuum.hw.isa.config import MAX_STEPS
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Try every split of a total number of steps into tau (probe) and T (inference) and print the best.
Uses training images, so that the held-out images remain an independent test of the choice."""
EXAMPLES = """\
examples:
  residuum suggest mnist              8 steps in total, on the first 2,000 training images
  residuum suggest cifar10 --steps 12
  residuum suggest digits --bits 4 --images all
"""

DEFAULT_STEPS = 8
DEFAULT_IMAGES = 2000


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument(
        "--steps",
        type=positive_number,
        default=DEFAULT_STEPS,
        metavar="S",
        help=f"tau + T, at most {MAX_STEPS} (default %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=image_count,
        # Without --images, fewer images than the default are allowed; with it, the data set must
        # have as many.
        default=argparse.SUPPRESS,
        metavar="N",
        help='use the first N training images, or "all" '
        f"(default {DEFAULT_IMAGES}, or all if there are fewer)",
    )
    add_allow_modified(parser)


def run(args: argparse.Namespace) -> int:
    import torch

    from residuum.commands.console import data_access
    from residuum.sw.data.held_out import training
    from residuum.sw.network.library import load_network
    from residuum.sw.study.suggest import divisions

    if args.steps > MAX_STEPS:
        raise ResiduumError(f"--steps must be at most {MAX_STEPS}, not {args.steps}")
    network, access = load_network(args.model, args.bits), data_access(args)
    images, labels = training(network, args.model, getattr(args, "images", None), access)
    if "images" not in args:
        images, labels = images[:DEFAULT_IMAGES], labels[:DEFAULT_IMAGES]
    torch.set_num_threads(1)
    rows = divisions(network, images, labels, args.steps, access.reporter)
    _show(network, rows, args.steps, len(labels))
    return 0


def _show(network: "IntegerNetwork", rows: list[dict[str, Any]], steps: int, images: int) -> None:
    from residuum.commands.tables import print_records
    from residuum.sw.study.suggest import advice, best

    print_records(
        [
            {
                "tau": str(row["tau"]),
                "T": str(row["T"]),
                "accuracy": f"{row['accuracy']:.2f} %",
                "less plain": f"{row['difference']:+.2f} ± {row['error']:.2f}" * (row["tau"] > 0),
            }
            for row in rows
        ],
        title=f"{network.name}, {network.weight_bits}-bit weights, {steps} steps",
        numbers=("tau", "T", "accuracy", "less plain"),
    )
    chosen = best(rows)
    print(
        f"best on {images:,} training images: tau {chosen['tau']}, T {chosen['T']} with "
        f"{chosen['accuracy']:.2f} %"
    )
    print(advice(rows))

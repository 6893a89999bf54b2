"""``residuum suggest``."""

import argparse
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import (
    TRAINING,
    add_correction,
    add_data,
    add_network,
    add_some_images,
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
  residuum suggest cifar10 --steps 4 --correction carry
  residuum suggest digits --bits 4 --images all
  residuum suggest my.npz --data photos/
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
    add_some_images(parser, DEFAULT_IMAGES)
    add_correction(parser)
    add_data(parser, split=TRAINING)


def run(args: argparse.Namespace) -> int:
    import torch

    from residuum.commands.console import data_access
    from residuum.commands.images import chosen_images
    from residuum.sw.network.corrections import MASK
    from residuum.sw.network.library import load_network
    from residuum.sw.study.suggest import divisions

    if args.steps > MAX_STEPS:
        raise ResiduumError(f"--steps must be at most {MAX_STEPS}, not {args.steps}")
    network, access = load_network(args.model, args.bits), data_access(args)
    data = chosen_images(args, network, default=DEFAULT_IMAGES, access=access)
    labels = data.need_labels("the choice of tau and T")
    torch.set_num_threads(1)
    correction = args.correction or MASK
    rows = divisions(network, data.images, labels, args.steps, correction, reporter=access.reporter)
    _show(network, rows, f"{args.steps} steps, {correction}", len(labels))
    return 0


def _show(network: "IntegerNetwork", rows: list[dict[str, Any]], run: str, images: int) -> None:
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
        title=f"{network.name}, {network.weight_bits}-bit weights, {run}",
        numbers=("tau", "T", "accuracy", "less plain"),
    )
    chosen = best(rows)
    print(
        f"best on {images:,} training images: tau {chosen['tau']}, T {chosen['T']} with "
        f"{chosen['accuracy']:.2f} %"
    )
    print(advice(rows))

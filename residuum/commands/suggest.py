"""``residuum suggest``."""

import argparse
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import add_network, positive_number
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    import numpy as np

    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Try every division of a total number of steps into tau (probe) and T (inference) and print the
best. It uses training images, so that the held-out images can still judge the choice."""
EXAMPLES = """\
examples:
  residuum suggest mnist              8 steps in total, on the first 2,000 training images
  residuum suggest cifar10 --steps 12
  residuum suggest digits --bits 4 --images all
"""

DEFAULT_STEPS = 8
LONGEST = 32
DEFAULT_IMAGES = 2000
# A difference on the same images counts as shown beyond so many standard errors.
_CLEAR = 3


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.commands.arguments import image_count

    add_network(parser)
    parser.add_argument(
        "--steps",
        type=positive_number,
        default=DEFAULT_STEPS,
        metavar="S",
        help=f"tau + T, at most {LONGEST} (default %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=image_count,
        default=DEFAULT_IMAGES,
        metavar="N",
        help='how many training images, from the first, or "all" (default %(default)s, or all that '
        "there are)",
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from residuum.sw.data.data_sets import dataset
    from residuum.sw.network.library import load_network

    if args.steps > LONGEST:
        raise ResiduumError(f"--steps must be at most {LONGEST}, not {args.steps}")
    network = load_network(args.model, args.bits)
    name = network.metadata.get("dataset")
    if name is None:
        raise ResiduumError(f"{args.model} does not say which data set it is for")
    torch.set_num_threads(1)
    images, labels = dataset(name).train()
    images, labels = images[: args.images], labels[: args.images]
    rows = divisions(network, images, labels, args.steps)
    _show(network, rows, args.steps, len(labels))
    return 0


def divisions(
    network: "IntegerNetwork", images: "np.ndarray", labels: "np.ndarray", steps: int
) -> list[dict[str, Any]]:
    """Accuracy of tau = 0 .. steps-1 with T = steps - tau, with a progress bar.

    Each row has ``tau``, ``T``, ``accuracy``, and ``difference`` and ``error`` against plain
    conversion of the same total; all in percent.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from residuum.sw.study.measure import right_images
    from residuum.sw.study.report import PORTION, paired_difference

    stages = {tau: steps - tau for tau in range(1, steps)}
    parts = [
        right_images(
            network,
            images[first : first + PORTION],
            labels[first : first + PORTION],
            plain_steps=steps,
            stages=stages,
        )
        for first in track(
            range(0, len(labels), PORTION),
            description=f"{network.name}, {steps} steps",
            console=Console(stderr=True),
            transient=True,
        )
    ]
    rows = []
    plain = np.concatenate([part["plain"][-1] for part in parts])
    for tau in range(steps):
        right = plain if tau == 0 else np.concatenate([part[f"srp_{tau}"][-1] for part in parts])
        difference, error = paired_difference(right, plain)
        rows.append(
            {
                "tau": tau,
                "T": steps - tau,
                "accuracy": 100 * float(right.mean()),
                "difference": difference,
                "error": error,
            }
        )
    return rows


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row with the largest accuracy; of equal ones that with the shortest probe."""
    return max(rows, key=lambda row: (row["accuracy"], -row["tau"]))


def _show(network: "IntegerNetwork", rows: list[dict[str, Any]], steps: int, images: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{network.name}, {network.weight_bits}-bit weights, {steps} steps")
    for head in ("tau", "T", "accuracy", "less plain"):
        table.add_column(head, justify="right")
    for row in rows:
        against = f"{row['difference']:+.2f} ± {row['error']:.2f}" if row["tau"] else ""
        table.add_row(str(row["tau"]), str(row["T"]), f"{row['accuracy']:.2f} %", against)
    Console().print(table)
    chosen = best(rows)
    print(
        f"best on {images:,} training images: tau {chosen['tau']}, T {chosen['T']} with "
        f"{chosen['accuracy']:.2f} %"
    )
    print(advice(rows))


def advice(rows: list[dict[str, Any]]) -> str:
    """Whether the best division is clearly better than no probe, and what is as good."""
    chosen = best(rows)
    equal = [row for row in rows if row["accuracy"] == chosen["accuracy"] and row is not chosen]
    if equal:
        others = ", ".join(f"tau {row['tau']} with T {row['T']}" for row in equal)
        return f"equally good: {others}; of equal ones the shortest probe is taken"
    if chosen["tau"] == 0:
        return "no probe does better than plain conversion here"
    if chosen["difference"] > _CLEAR * chosen["error"]:
        return f"its gain over plain conversion is clear (more than {_CLEAR} standard errors)"
    return (
        "its gain over plain conversion may be chance; plain conversion (tau 0) is as good a choice"
    )

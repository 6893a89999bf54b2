"""``residuum eval``."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    add_data,
    add_images,
    add_network,
    add_stages,
    set_stages,
    stages,
)

if TYPE_CHECKING:
    from residuum.sw.data.images import Images
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.progress import Reporter

DESCRIPTION = """\
Run the integer golden model on the held-out images of the network's data set, or on other data.
Prints the accuracy and writes it to a JSON file. Without labels, prints how many images fall into
each class, and how many of them into the class that the float network gives them."""
EXAMPLES = """\
examples:
  residuum eval digits                      8-bit weights, tau 4, T 4, all held-out digits
  residuum eval mnist --bits 4              4-bit weights, all 10,000 test images
  residuum eval mnist --tau 0 --T 8         plain conversion without the probe
  residuum eval cifar10 --tau 2 --T 2 --correction carry   the residual potential goes on
  residuum eval digits --images 50          the first 50 images only
  residuum eval build/zoo/digits-8bit.npz   a newly trained network
  residuum eval my.npz --data photos/       photos/cat/*.jpg, photos/dog/*.jpg and so on
  residuum eval my.npz --data photos/ --split all   all of them, not only the held-out fifth

Images are read from the folder in the environment variable RESIDUUM_DATA, else downloaded once.
"""


# Classes in the table of images without labels.
MOST_CLASSES = 20


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_images(parser)
    add_data(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="report (default build/eval/MODEL-8bit.json)"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import data_access, write_report
    from residuum.commands.images import chosen_images
    from residuum.sw.files import build_folder, require_writable
    from residuum.sw.golden.accuracy import describe, evaluate
    from residuum.sw.network.library import load_network, network_name

    network = load_network(args.model, args.bits)
    set_stages(args, network)
    access = data_access(args)
    data = chosen_images(args, network, access=access)
    name = network_name(args.model, args.bits)
    path = args.json or build_folder() / "eval" / f"{name}.json"
    require_writable(path)
    report: dict[str, object] = {
        "model": name,
        "bits": network.weight_bits,
        **stages(args),
        "images": len(data),
    }
    if data.labels is None:
        report |= _without_labels(args, network, data, access.reporter)
    else:
        tally = evaluate(
            network, data.images, data.labels, **stages(args), reporter=access.reporter
        )
        print(describe(network, tally, **stages(args)))
        report["accuracy"] = round(tally.accuracy, 4)
    write_report(path, report)
    return 0


def _without_labels(
    args: argparse.Namespace, network: IntegerNetwork, data: Images, reporter: Reporter
) -> dict[str, object]:
    """Print the classes of the images, and the agreement with the float network if there is one."""
    from residuum.commands.tables import print_records
    from residuum.sw.golden.golden_model import batch_size, simulate_batches
    from residuum.sw.golden.reference import find_reference

    reference = find_reference(network, args.model, against=None, T=args.T)
    theirs = reference.batches(data.images, batch_size(network, args.tau + args.T))
    counts: Counter[int] = Counter()
    agreed = 0
    with reporter.task(network.name, total=len(data), unit="images") as task:
        for trace in simulate_batches(network, data.images, **stages(args), keep_layers=False):
            counts.update(trace.prediction.tolist())
            if not reference.own:
                agreed += int((trace.prediction == next(theirs)).sum())
            task.advance(len(trace.prediction))
    print_records(
        [
            {"class": data.class_name(label), "images": f"{count:,}"}
            for label, count in counts.most_common(MOST_CLASSES)
        ],
        title=f"{network.name}: {len(data)} images without labels",
        numbers=("images",),
    )
    report: dict[str, object] = {"classes": {data.class_name(k): n for k, n in counts.items()}}
    if reference.own:
        return report
    print(f"{100 * agreed / len(data):.2f} % agree with {reference.source}")
    return report | {"agreement": round(100 * agreed / len(data), 4)}

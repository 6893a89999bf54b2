"""``residuum eval``."""

import argparse
from pathlib import Path

from residuum.commands.arguments import (
    add_allow_modified,
    add_images,
    add_network,
    add_stages,
    set_stages,
)

DESCRIPTION = """\
Run the integer golden model on the held-out images of the network's data set. Prints the accuracy
and writes it to a JSON file."""
EXAMPLES = """\
examples:
  residuum eval digits                      8-bit weights, tau 4, T 4, all held-out digits
  residuum eval mnist --bits 4              4-bit weights, all 10,000 test images
  residuum eval mnist --tau 0 --T 8         plain conversion without the probe
  residuum eval digits --images 50          the first 50 images only
  residuum eval build/zoo/digits-8bit.npz   a newly trained network

Images are read from the folder in the environment variable RESIDUUM_DATA, else downloaded once.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_images(parser)
    add_allow_modified(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="report (default build/eval/MODEL-8bit.json)"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import data_access, write_report
    from residuum.sw.data.held_out import held_out
    from residuum.sw.files import build_folder, require_writable
    from residuum.sw.golden.accuracy import describe, evaluate
    from residuum.sw.network.library import load_network, network_name

    network = load_network(args.model, args.bits)
    set_stages(args, network)
    access = data_access(args)
    images, labels = held_out(network, args.model, args.images, access)
    name = network_name(args.model, args.bits)
    path = args.json or build_folder() / "eval" / f"{name}.json"
    require_writable(path)
    tally = evaluate(network, images, labels, tau=args.tau, T=args.T, reporter=access.reporter)
    print(describe(network, tally, args.tau, args.T))
    report = {
        "model": name,
        "bits": network.weight_bits,
        "tau": args.tau,
        "T": args.T,
        "images": tally.images,
        "accuracy": round(tally.accuracy, 4),
    }
    write_report(path, report)
    return 0

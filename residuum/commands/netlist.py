"""``residuum netlist``: the ECP5 netlists of a small accelerator, simulated."""

from __future__ import annotations

import argparse
import sys

from residuum.commands.arguments import add_allow_modified, positive_number

DESCRIPTION = """\
Synthesise a small accelerator for ECP5, with a network of 4-bit weights in its memories, place and
route it, and run both netlists with models of the primitives in Verilator. Images are classified
with this network, then with two networks that are loaded over the link: the same with 8-bit
weights, and a small graph in radix code with shortcuts, max-pooling and a packed map. Every spike
train, mask, logit and class is compared with the golden model. Writes build/netlist/report.json;
ends with status 1 if anything differs."""
EXAMPLES = """\
examples:
  residuum netlist digits               5 digits on both netlists
  residuum netlist digits --images 20   more digits
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="name of a committed network")
    add_allow_modified(parser)
    parser.add_argument(
        "--images",
        type=positive_number,
        default=5,
        metavar="N",
        help="use the first N held-out images (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Simulate both netlists, print a line for each, write the report."""
    from residuum.commands.console import ConsoleReporter, data_access, write_report
    from residuum.sim.netlist import netlist
    from residuum.sw.data.held_out import held_out
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import build_folder
    from residuum.sw.network.library import is_path, load_network

    if is_path(args.model):
        raise ResiduumError(
            f"netlist takes a committed network (with 4-bit and 8-bit weights), not {args.model}"
        )
    folder = build_folder() / "netlist"
    held, loaded = load_network(args.model, 4), load_network(args.model, 8)
    images, _ = held_out(held, args.model, args.images, data_access(args))
    report = netlist.measure(args.model, held, loaded, images, folder, reporter=ConsoleReporter())
    for stage, result in report["netlists"].items():
        print(
            f"{stage} netlist of {sum(result['cells'].values()):,} cells: {len(images)} images "
            f"each on the network it holds and on two loaded over it, {result['mismatches']} "
            f"mismatches"
        )
        if result["mismatches"]:
            print(f"residuum: the first difference: {result['first']}", file=sys.stderr)
    write_report(folder / "report.json", report)
    return int(report["mismatches"] > 0)

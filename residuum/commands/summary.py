"""``residuum summary``."""

import argparse
import shutil

from residuum.commands.arguments import add_network, add_stages, set_stages, stages

DESCRIPTION = "Print a network's layers, shapes, bits, memory and the bounds of its sums."
EXAMPLES = """\
examples:
  residuum summary digits               the committed network with 8-bit weights
  residuum summary mnist --bits 4       a network with 4-bit weights
  residuum summary digits --T 16        bounds of the potentials for longer runs
  residuum summary build/zoo/my.npz     your own network
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)


def run(args: argparse.Namespace) -> int:
    from residuum.sw.network.library import load_network
    from residuum.sw.network.summary import summary

    # Without a terminal, as in a file, the width is not limited.
    width = shutil.get_terminal_size((10_000, 0)).columns
    network = load_network(args.model, args.bits)
    set_stages(args, network)
    print(summary(network, **stages(args), width=width))
    return 0

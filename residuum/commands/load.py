"""``residuum load``."""

from __future__ import annotations

import argparse

from residuum.commands.arguments import (
    add_batch,
    add_bits,
    add_device,
    add_stages,
    set_stages,
)

DESCRIPTION = """\
Write a network into a device. Weights in an external memory stay there from run to run: they are
written only if the memory does not hold them already, intact by the CRC that the device
computes."""
EXAMPLES = """\
examples:
  residuum load vgg16.npz --device serial:/dev/ttyUSB0   once; then classify without loading:
  residuum run --model vgg16.npz --device serial:/dev/ttyUSB0 --loaded cat.jpg
  residuum info --device serial:/dev/ttyUSB0             which network the memory holds
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="name of a committed network, or path of a .npz file"
    )
    add_bits(parser)
    add_device(parser)
    add_stages(parser)
    add_batch(parser)


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter
    from residuum.commands.devices import compiled, describe_device, load, open_device
    from residuum.sw.network.library import load_network

    reporter = ConsoleReporter()
    network = load_network(args.model, args.bits)
    set_stages(args, network, engine=True)
    with open_device(args.device, reporter, network=network, steps=args.tau + args.T) as device:
        classifier = compiled(device, network, args, reporter)
        there = load(classifier, reporter)
        print(describe_device(device))
    program = classifier.program
    inside = f"{len(program.words):,} words in the engine"
    if not len(program.external):
        print(f"{network.name} is loaded: {inside}")
        return 0
    state = "were there already" if there else "were written"
    print(
        f"{network.name} is loaded: {inside}; {2 * len(program.external):,} bytes of weights in "
        f"the external memory, which {state}"
    )
    return 0

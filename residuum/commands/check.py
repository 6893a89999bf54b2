"""``residuum check``."""

from __future__ import annotations

import argparse
import sys

from residuum.commands.arguments import add_images_on_device, set_stages, stages

DESCRIPTION = """\
Compare every spike train, mask, logit and class of a device with the integer golden model, layer by
layer, and the program in its memories with the program that was loaded. Ends with status 1 if
anything differs."""
EXAMPLES = """\
examples:
  residuum check                                     5 digits on the simulated engine
  residuum check --device serial:/dev/ttyUSB0        the same on a board
  residuum check --model mnist --images 20           MNIST
  residuum check --tau 0 --T 8                       plain conversion without the probe
  residuum check --correction carry                  the residual potential goes on
  residuum check --model my.npz --data photos/       your own network and pictures
  residuum check --device serial:/dev/ttyUSB0 --loaded  the network in the bitstream
"""

IMAGES = 5


def configure(parser: argparse.ArgumentParser) -> None:
    add_images_on_device(parser, images=IMAGES)


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter
    from residuum.commands.devices import describe_device, open_device, prepare
    from residuum.commands.images import chosen_images
    from residuum.sw.host.check import check
    from residuum.sw.network.corrections import describe_run
    from residuum.sw.network.library import load_network

    reporter = ConsoleReporter()
    network = load_network(args.model, args.bits)
    set_stages(args, network, engine=True)
    images = chosen_images(args, network, default=IMAGES).images
    with open_device(args.device, reporter, network=network, steps=args.tau + args.T) as device:
        classifier = prepare(device, network, args, reporter)
        found = check(classifier, images, reporter=reporter)
        words = classifier.differing_words()
        print(describe_device(device))
    print(
        f"{network.name}: {len(images)} images, {describe_run(network, **stages(args))}: "
        f"{found.mismatches} mismatches, {words} of {classifier.program.load_words} words of the "
        f"program differ"
    )
    if found.mismatches:
        print(
            f"residuum: {found.mismatches} values differ; the first: {found.first}",
            file=sys.stderr,
        )
    return int(found.mismatches > 0 or words > 0)

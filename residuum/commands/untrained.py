"""Networks of random weights by name, for commands that measure speed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.progress import Reporter

# Images of CIFAR-10 for the calibration; and the default of --bits.
CALIBRATION = 16
BITS = 4


def named_network(args: argparse.Namespace, reporter: Reporter) -> IntegerNetwork:
    """The network that ``args.model`` names: as `load_network`, or else one of
    `residuum.sw.train.untrained`."""
    from residuum.commands.console import data_access
    from residuum.sw.data.images import load_images
    from residuum.sw.errors import ResiduumError
    from residuum.sw.network.integer_network import MAX_WEIGHT_BITS, MIN_WEIGHT_BITS
    from residuum.sw.network.library import is_path, load_network, zoo_names
    from residuum.sw.train.untrained import UNTRAINED, untrained_network

    if is_path(args.model) or args.model in zoo_names() or args.model not in UNTRAINED:
        return load_network(args.model, args.bits)
    bits = BITS if args.bits is None else args.bits
    if not MIN_WEIGHT_BITS <= bits <= MAX_WEIGHT_BITS:
        raise ResiduumError(
            f"--bits must be {MIN_WEIGHT_BITS} to {MAX_WEIGHT_BITS} for random weights, not {bits}"
        )
    found = load_images("cifar10", split="training", at_most=CALIBRATION, access=data_access(args))
    with reporter.task(f"random weights for {args.model}"):
        network = untrained_network(args.model, found.images, bits=bits)
    return replace(network, metadata={**network.metadata, "dataset": "cifar10"})

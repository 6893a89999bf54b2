"""Networks of random weights by name, for commands that measure speed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from residuum.sw.network.integer_network import IntegerNetwork

# The default of --bits.
BITS = 4


def named_network(args: argparse.Namespace) -> IntegerNetwork:
    """The network that ``args.model`` names: as `load_network`, or else one of
    `residuum.sw.train.untrained`."""
    from residuum.commands.console import data_access
    from residuum.sw.network.library import is_path, load_network, zoo_names
    from residuum.sw.train.untrained import UNTRAINED, untrained_for_cifar10

    if is_path(args.model) or args.model in zoo_names() or args.model not in UNTRAINED:
        return load_network(args.model, args.bits)
    bits = BITS if args.bits is None else args.bits
    return untrained_for_cifar10(args.model, bits=bits, access=data_access(args))

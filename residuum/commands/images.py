"""The images that the arguments of a command choose."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from residuum.commands.console import data_access
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.data.data_sets import Access
    from residuum.sw.data.images import Images
    from residuum.sw.network.integer_network import IntegerNetwork


def chosen_images(
    args: argparse.Namespace,
    network: IntegerNetwork,
    *,
    default: int | None = None,
    access: Access | None = None,
) -> Images:
    """Images for ``--data``, ``--split``, ``--images`` and ``--allow-modified``.

    Without ``--images``, ``default`` images (None: all), or fewer if there are not as many.

    Raises ``ResiduumError`` as `residuum.sw.data.images.load_images`.
    """
    from residuum.sw.data.held_out import data_of
    from residuum.sw.network.graph import IMAGE

    found = data_of(
        network,
        args.model,
        args.data,
        split=args.split,
        count=getattr(args, "images", None),
        at_most=None if "images" in args else default,
        access=access or data_access(args),
    )
    steps = None if network.input == IMAGE or "tau" not in args else args.tau + args.T
    if steps is not None and found.images.shape[1] != steps:
        raise ResiduumError(
            f"the spike trains of {found.source} have {found.images.shape[1]} steps, but tau + T "
            f"is {steps}; say how many of them are probe (--tau) and inference (--T)"
        )
    return found

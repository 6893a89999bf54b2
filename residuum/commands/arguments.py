"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from residuum.boards.board import Board
    from residuum.hw.isa.config import EngineConfig
    from residuum.sw.compiler.batch import Batch
    from residuum.sw.importing.choice import Engines
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.pieces.run import Pool

# Address of the golden model, for the commands that can do without an engine.
GOLDEN = "golden:"
HELD_OUT, TRAINING, ALL = "held-out", "training", "all"
DEFAULT_TAU = 4
DEFAULT_T = 4
LARGEST_SEED = 2**32 - 1


def add_network(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """``MODEL``, optional if there is a default, and ``--bits``: the arguments of
    ``residuum.sw.network.library.load_network``."""
    what = "name of a committed network, or path of a .npz file"
    if default is None:
        parser.add_argument("model", metavar="MODEL", help=what)
    else:
        parser.add_argument(
            "model",
            nargs="?",
            default=default,
            metavar="MODEL",
            help=f"{what} (default %(default)s)",
        )
    add_bits(parser)


def add_bits(parser: argparse.ArgumentParser) -> None:
    """``--bits``."""
    parser.add_argument(
        "--bits", type=int, help="weight bits of the committed network: 8 (default) or 4"
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """``--images``: a number, or "all", which is stored as None; the default is None."""
    parser.add_argument(
        "--images",
        type=image_count,
        default=None,
        metavar="N",
        help="use the first N images (default all)",
    )


def add_some_images(parser: argparse.ArgumentParser, default: int) -> None:
    """``--images``: a number, or "all", which is stored as None; missing if it is not given, for
    ``residuum.commands.images.chosen_images`` with the same default."""
    parser.add_argument(
        "--images",
        type=image_count,
        default=argparse.SUPPRESS,
        metavar="N",
        help=f'use the first N images, or "all" (default {default}, or all if there are fewer)',
    )


def add_pool(parser: argparse.ArgumentParser, *, what: str = "parallel simulations") -> None:
    """``--jobs`` and ``--cluster``, for `pool`."""
    parser.add_argument(
        "--jobs",
        type=positive_number,
        default=os.cpu_count() or 1,
        metavar="N",
        help=f"{what} (default: one for each core, here %(default)s)",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="compute on a Dask cluster: the address of its scheduler, as in tcp://host:8786, or "
        "local for one on this machine (docs/cluster.md)",
    )


def pool(args: argparse.Namespace, *, in_threads: bool = False, threads: int = 1) -> Pool:
    """Where the pieces of a command run, from the arguments of `add_pool`."""
    from residuum.sw.pieces.run import Pool

    return Pool(args.jobs, args.cluster, in_threads=in_threads, threads=threads)


def add_device(parser: argparse.ArgumentParser, *, golden: bool = False) -> None:
    """``--device``: an address for ``residuum.sw.host.links.open_link``, or `GOLDEN`."""
    other = f"; {GOLDEN} for the integer golden model, without an engine" if golden else ""
    parser.add_argument(
        "--device",
        default="sim:",
        metavar="ADDRESS",
        help="serial:PORT (tries the baud rates of all boards), serial:PORT@BAUD, or sim: for the "
        f"simulated engine, with options as in sim:lanes=32{other} (default %(default)s)",
    )


def add_images_on_device(
    parser: argparse.ArgumentParser, *, images: int, golden: bool = False
) -> None:
    """The arguments of the commands that run images on a device.

    With ``golden``, `GOLDEN` is an address too. ``--images`` is missing if it is not given.
    """
    add_device(parser, golden=golden)
    parser.add_argument(
        "--model",
        default="digits",
        help="name of a committed network, or path of a .npz file (default %(default)s)",
    )
    add_bits(parser)
    add_stages(parser)
    add_data(parser)
    parser.add_argument(
        "--images",
        type=positive_number,
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"use the first N images (default {images}, or all if there are fewer)",
    )
    parser.add_argument(
        "--loaded",
        action="store_true",
        help="do not load the network, but verify that the device already holds it, from its "
        "bitstream or an earlier command",
    )


def add_stages(parser: argparse.ArgumentParser) -> None:
    """``--tau``, ``--T`` and ``--correction``, None if not given; `set_stages` then chooses."""
    parser.add_argument(
        "--tau",
        type=whole_number,
        help=f"probe steps; 0 for no probe (default {DEFAULT_TAU}; a network in radix code runs "
        "once, without steps)",
    )
    parser.add_argument(
        "--T",
        type=positive_number,
        help=f"inference steps (default {DEFAULT_T})",
    )
    add_correction(parser)


def add_batch(parser: argparse.ArgumentParser) -> None:
    """``--batch``, for `chosen_batch`."""
    parser.add_argument(
        "--batch",
        type=batch_size,
        default=1,
        metavar="N",
        help="images at a time, for which weights from an SDRAM are read once; best: the number "
        "that takes the fewest cycles (default 1)",
    )


def chosen_batch(args: argparse.Namespace, network: IntegerNetwork, config: EngineConfig) -> Batch:
    """The batch of `add_batch` on an engine, after `set_stages`."""
    from residuum.sw.compiler.batching import best_batch
    from residuum.sw.network.corrections import most_steps

    steps = most_steps(args.correction, args.tau, args.T)
    return best_batch(network, config, steps=steps, images=args.batch)


def add_correction(parser: argparse._ActionsContainer) -> None:
    """``--correction``, None if not given."""
    parser.add_argument(
        "--correction",
        metavar="NAME",
        help="what the residual potential decides after the probe: none (with --tau 0), mask (the "
        "default), carry, or offset (in the golden model only)",
    )


def set_stages(args: argparse.Namespace, network: IntegerNetwork, *, engine: bool = False) -> None:
    """Set ``args.tau``, ``args.T`` and ``args.correction`` to those of a run of the network, on an
    engine or not.

    Raises ``ResiduumError`` if the given ones are not possible for this network.
    """
    from residuum.sw.network.corrections import CARRY, NONE, check_correction

    radix = network.code == "radix"
    # The default, mask, is not for neurons that fire strictly above their threshold.
    probe = not radix and args.correction != NONE
    if args.correction != CARRY and any(layer.strict for layer in network.layers):
        probe = False
    tau = (DEFAULT_TAU if probe else 0) if args.tau is None else args.tau
    T = (1 if radix else DEFAULT_T) if args.T is None else args.T
    args.tau, args.T = network.check_stages(tau, T)
    args.correction = check_correction(network, args.correction, args.tau, engine=engine)


def stages(args: argparse.Namespace) -> dict[str, Any]:
    """tau, T and correction that `set_stages` has chosen, as keyword arguments."""
    return {"tau": args.tau, "T": args.T, "correction": args.correction}


# Sizes of an engine on top of a preset, each with its unit.
ENGINE_SIZES = {
    "lanes": "output channels in parallel",
    "tile_lanes": "lanes that share a pipeline of neurons",
    "event_width": "events per cycle, 1 or 2",
    "steps": "time steps in parallel",
    "weight_rows": "rows of the weight store",
    "feature_rows": "rows of the feature memory",
    "parameter_rows": "thresholds and biases of a tile, all layers together",
    "logit_rows": "logits of a tile",
    "table_entries": "entries of the axis tables, all layers together",
    "layers": "layer descriptors",
    "receive_words": "words of requests that wait",
    "weight_bits": "bits of a weight",
    "accumulator_bits": "bits of a sum of weights",
    "potential_bits": "bits of a potential",
}


def add_engine_sizes(parser: argparse.ArgumentParser, *, default: str = "the preset's") -> None:
    """``--lanes``, ``--weight-rows`` and the other sizes of an engine, None if not given."""
    group = parser.add_argument_group("sizes of the engine", f"Default: {default}.")
    for name, what in ENGINE_SIZES.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=positive_number, metavar="N", help=what
        )


def engine_sizes(args: argparse.Namespace) -> dict[str, int]:
    """The given arguments of `add_engine_sizes`, by the names of `EngineConfig`."""
    given = {name: getattr(args, name) for name in ENGINE_SIZES}
    return {name: value for name, value in given.items() if value is not None}


def engines_of(board: Board, preset: str | None = None) -> Engines:
    """The engines that a board may have: those for its size of device, or the one called
    ``preset``."""
    from residuum.sw.compiler.fit import device_of, preset_named
    from residuum.sw.importing.choice import Engines

    names = board.presets if preset is None else (preset,)
    presets = {name: preset_named(name) for name in names}
    return Engines(board.name, presets, device_of(board.preset))


def add_data(parser: argparse.ArgumentParser, *, split: str = HELD_OUT) -> None:
    """``--data``, ``--split`` and ``--allow-modified``, for
    ``residuum.commands.images.chosen_images``; ``split`` is the default of ``--split``."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--data",
        metavar="SOURCE",
        help="a known data set (digits, mnist, fashion, cifar10, cifar100); a folder with a "
        "sub-folder of pictures for each class, of any size and format; or a .npz file with the "
        "arrays images (uint8) and labels (default: the data set of the network)",
    )
    group.add_argument(
        "--split",
        choices=(HELD_OUT, TRAINING, ALL),
        default=split,
        help="which images of it (default %(default)s). A folder may have the folders train and "
        "test, a .npz file the array train_images; else a fifth is held out, always the same",
    )
    add_allow_modified(group)


def add_allow_modified(parser: argparse._ActionsContainer) -> None:
    """``--allow-modified``, for ``residuum.commands.console.data_access``."""
    parser.add_argument(
        "--allow-modified",
        action="store_true",
        help="accept data set files that differ from the published ones",
    )


def whole_number(text: str) -> int:
    """0, 1, 2, ... for argparse."""
    return _number(text, 0)


def positive_number(text: str) -> int:
    """1, 2, 3, ... for argparse."""
    return _number(text, 1)


def batch_size(text: str) -> int | None:
    """ "best" (as None) or 1, 2, 3, ... for argparse."""
    return None if text == "best" else _number(text, 1)


def image_count(text: str) -> int | None:
    """ "all" (as None) or 1, 2, 3, ... for argparse."""
    return None if text == "all" else _number(text, 1)


def megahertz(text: str) -> float:
    """A frequency for argparse."""
    return positive_quantity(text, "a frequency in MHz")


def megabytes(text: str) -> float:
    """A size for argparse."""
    return positive_quantity(text, "a size in megabytes")


def positive_quantity(text: str, what: str) -> float:
    """A number above 0, or a fraction such as 1/255, for argparse; ``what`` it is, in words."""
    numerator, slash, denominator = text.partition("/")
    try:
        value = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _number(text: str, smallest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if value < smallest:
        raise argparse.ArgumentTypeError(f"{value} is too small, at least {smallest} is needed")
    return value

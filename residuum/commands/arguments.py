"""Arguments that several commands share."""

import argparse
import os

DEFAULT_TAU = 4
DEFAULT_T = 4


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
        help="use the first N held-out images (default all)",
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """``--jobs``: number of parallel simulations."""
    parser.add_argument(
        "--jobs",
        type=positive_number,
        default=os.cpu_count() or 1,
        metavar="N",
        help="parallel simulations (default: one for each core, here %(default)s)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``: an address for ``residuum.sw.host.links.open_link``."""
    parser.add_argument(
        "--device",
        default="sim:",
        metavar="ADDRESS",
        help="serial:PORT (tries the baud rates of all boards), serial:PORT@BAUD, or sim: for the "
        "simulated engine, with options as in sim:lanes=32 (default %(default)s)",
    )


def add_images_on_device(parser: argparse.ArgumentParser, *, images: int) -> None:
    """The arguments of the commands that run images on a device."""
    add_device(parser)
    parser.add_argument(
        "--model",
        default="digits",
        help="name of a committed network, or path of a .npz file (default %(default)s)",
    )
    add_bits(parser)
    add_stages(parser)
    add_allow_modified(parser)
    parser.add_argument(
        "--images",
        type=positive_number,
        default=images,
        metavar="N",
        help="use the first N held-out images (default %(default)s)",
    )
    parser.add_argument(
        "--loaded",
        action="store_true",
        help="do not load the network, but verify that the device already holds it, from its "
        "bitstream or an earlier command",
    )


def add_stages(parser: argparse.ArgumentParser) -> None:
    """``--tau`` and ``--T``."""
    parser.add_argument(
        "--tau",
        type=whole_number,
        default=DEFAULT_TAU,
        help="probe steps; 0 for no probe (default %(default)s)",
    )
    parser.add_argument(
        "--T",
        type=positive_number,
        default=DEFAULT_T,
        help="inference steps (default %(default)s)",
    )


def add_allow_modified(parser: argparse.ArgumentParser) -> None:
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


def image_count(text: str) -> int | None:
    """ "all" (as None) or 1, 2, 3, ... for argparse."""
    return None if text == "all" else _number(text, 1)


def _number(text: str, smallest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if value < smallest:
        raise argparse.ArgumentTypeError(f"{value} is too small, at least {smallest} is needed")
    return value

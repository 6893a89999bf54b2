"""Arguments that several commands share."""

import argparse

DEFAULT_TAU = 4
DEFAULT_T = 4


def add_network(parser: argparse.ArgumentParser) -> None:
    """``MODEL`` and ``--bits``: what ``sw.library.load_network`` takes."""
    parser.add_argument(
        "model", metavar="MODEL", help="name of a committed network, or path of a .npz file"
    )
    parser.add_argument(
        "--bits", type=int, help="weight bits of the committed network: 8 (default) or 4"
    )


def add_stages(parser: argparse.ArgumentParser) -> None:
    """``--tau`` and ``--T``."""
    parser.add_argument(
        "--tau",
        type=whole_number,
        default=DEFAULT_TAU,
        help="steps of the probe; 0: none (default %(default)s)",
    )
    parser.add_argument(
        "--T",
        type=positive_number,
        default=DEFAULT_T,
        help="steps of the inference (default %(default)s)",
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

"""``residuum demo``: a page in the browser."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    DEFAULT_T,
    DEFAULT_TAU,
    GOLDEN,
    add_bits,
    add_device,
    whole_number,
)

if TYPE_CHECKING:
    from residuum.demo.networks import Offer
    from residuum.demo.runs import Runner
    from residuum.sw.host.device import Device
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Open a local page in the browser: draw a digit, drop a picture, or step through test images, and
watch the spikes of every layer, the silenced neurons, logits and class, cycles and latency; change
network, tau, T and correction. Only this computer can reach the page. Ends with Ctrl-C."""
EXAMPLES = """\
examples:
  residuum demo                              draw digits for the MNIST network, on the golden model
  residuum demo cifar10 --bits 4             photos and test images
  residuum demo my.npz --data photos/        your own network, and your own pictures as test images
  residuum demo --board orangecrab-25f       cycles and latency on this board
  residuum demo --device sim:                run on the simulated engine, compare every spike
  residuum demo --device serial:/dev/ttyUSB0 run on a board
  residuum demo --port 0 --no-browser        any free port; print the address only

The address of the page holds the picture and all settings: it is a link that can be kept and sent.
"""
DEFAULT_MODEL = "mnist"
DEFAULT_PORT = 8765


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help="the network that is shown first: name of a committed network, or path of a .npz file "
        "(default %(default)s)",
    )
    add_bits(parser)
    add_device(parser, golden=True)
    parser.set_defaults(device=GOLDEN)
    parser.add_argument(
        "--board",
        metavar="NAME",
        help="board for cycles and latency without a device (default: the smallest that holds the "
        "network)",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="test images of MODEL: a known data set, a folder or a .npz file (default: its own)",
    )
    parser.add_argument(
        "--port",
        type=whole_number,
        default=DEFAULT_PORT,
        metavar="N",
        help="port of the page on this computer; 0 takes a free one (default %(default)s)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter
    from residuum.demo.engines import SMALLEST
    from residuum.demo.jobs import Jobs
    from residuum.demo.networks import offers
    from residuum.demo.server import ADDRESS, bound, serve
    from residuum.demo.session import Session

    offered = offers(args.model, args.bits, args.data)
    board = SMALLEST
    if args.board is not None:
        from residuum.boards.catalogue import find
        from residuum.sw.errors import ResiduumError

        if args.device != GOLDEN:
            raise ResiduumError(
                f"--board is for the cycle model, and {args.device} counts its own cycles; leave "
                "one of the two out"
            )
        board = find(args.board).name
    if args.data is not None:
        with ConsoleReporter().task(f"reading {args.data}"):
            next(iter(offered.values())).images()
    with bound(args.port) as listener:
        runner, jobs = _runner(args, offered), Jobs()
        session = Session(offered, runner, jobs, bits=args.bits, board=board)
        try:
            address = f"http://{ADDRESS}:{listener.getsockname()[1]}/"
            opened = not args.no_browser and _open_browser(address)
            print(
                f"the page is {'open ' if opened else ''}at {address} (Ctrl-C ends it)", flush=True
            )
            serve(session, jobs, listener)
        finally:
            runner.close()
    return 0


def _open_browser(address: str) -> bool:
    """Open the address in a browser with windows; False if there is none."""
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if sys.platform.startswith("linux") and not screen:
        # A browser for the terminal would take it over.
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


def _runner(args: argparse.Namespace, offered: dict[str, Offer]) -> Runner:
    """Where the networks run; a device is opened, so that the user learns now if it is missing."""
    from residuum.commands.console import ConsoleReporter
    from residuum.commands.devices import open_device
    from residuum.demo.runs import OnDevice, OnGolden

    if args.device == GOLDEN:
        return OnGolden()

    def opened(network: IntegerNetwork, steps: int) -> Device:
        return open_device(args.device, ConsoleReporter(), network=network, steps=steps)

    runner = OnDevice(args.device, opened)
    first = next(iter(offered.values()))
    runner.open(first.network(args.bits or first.usual_bits), DEFAULT_TAU + DEFAULT_T)
    return runner

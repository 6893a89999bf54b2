"""``residuum serve``: the simulated engine on a serial port."""

from __future__ import annotations

import argparse
import time

from residuum.commands.arguments import DEFAULT_T, DEFAULT_TAU, positive_number

DESCRIPTION = """\
Offer the simulated accelerator on a pseudo terminal and print its name. Any program that uses a
board on a serial port can use it. Ends with Ctrl-C."""
EXAMPLES = """\
examples:
  residuum serve                       an engine of the default size
  residuum serve --model mnist         an engine large enough for this network
  residuum serve --engine lanes=32     32 lanes instead of 16
  residuum serve --baud 3000000        as slow as the serial port of a board at this rate
  residuum serve --baud 3000000 --latency 1    with low latency set on that port

Then, in another terminal, with the printed name:

  residuum info --device serial:/dev/pts/5
  residuum run --device serial:/dev/pts/5 --model digits
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="make the engine large enough for this network or file")
    parser.add_argument(
        "--engine",
        default="",
        metavar="OPTIONS",
        help="options as after sim: in an address, e.g. lanes=32,steps=16",
    )
    parser.add_argument(
        "--baud",
        type=positive_number,
        metavar="RATE",
        help="let bytes take their time at this rate, behind a USB bridge: an FT231X up to "
        "3,000,000 baud, above an FT2232H, up to 12,000,000 (default: no wire, no delay)",
    )
    parser.add_argument(
        "--latency",
        type=positive_number,
        metavar="MS",
        help="with --baud: period of the latency timer of the bridge, 1 to 255 milliseconds "
        "(default 16, that of a port whose latency nobody has set)",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter
    from residuum.sim.link.pty import pseudo_port
    from residuum.sim.link.simulated import open_simulated
    from residuum.sw.errors import ResiduumError
    from residuum.sw.network.library import load_network

    wire = [f"{name}={getattr(args, name)}" for name in ("baud", "latency") if getattr(args, name)]
    options = ",".join(filter(None, [args.engine, *wire]))
    network = load_network(args.model) if args.model else None
    with ConsoleReporter().task("building the simulated engine"):
        link = open_simulated(options, network=network, steps=DEFAULT_TAU + DEFAULT_T)
    with pseudo_port(link) as port:
        print(f"the simulated accelerator is at serial:{port.path} (Ctrl-C ends it)", flush=True)
        while not port.broken:
            time.sleep(0.1)
    raise ResiduumError("the simulation ended by itself; start it again")

"""``residuum sim``: a trained network on the simulated engine, every spike compared."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from residuum.commands.arguments import add_allow_modified, add_network, add_stages, positive_number

DESCRIPTION = """\
Run held-out images through the engine under Verilator and compare every spike train, mask, logit
and class with the integer golden model. Prints a table, with the cycles that the cycle model
predicts, and writes build/sim/report.json; ends with status 1 if anything differs."""
EXAMPLES = """\
examples:
  residuum sim digits                        100 held-out digits on 16 lanes, tau 4, T 4
  residuum sim mnist --images 50 --lanes 32  MNIST on 32 lanes
  residuum sim digits --tau 0 --T 8          plain conversion without the probe
  residuum sim digits --images 1 --waves     and record every signal in build/waves

`make sim MODEL=mnist IMAGES=50 LANES=32` is the same from a fresh clone; `residuum verify` does all
held-out images, and can be broken off.
"""

DEFAULT_STEPS = 8
# Images of one simulation, so that the traces of many images never lie in memory together.
CHUNK = 100


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_allow_modified(parser)
    parser.add_argument(
        "--images",
        type=positive_number,
        default=100,
        metavar="N",
        help="how many held-out images, from the first (default %(default)s)",
    )
    parser.add_argument(
        "--lanes",
        type=positive_number,
        default=16,
        help="output channels that the engine computes side by side (default %(default)s)",
    )
    parser.add_argument(
        "--waves", action="store_true", help="record every signal, as build/waves/engine-LANES.vcd"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="report (default build/sim/report.json)",
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from residuum.commands.console import data_access, write_report
    from residuum.sim.bench.measure import (
        Totals,
        compared,
        engine_for,
        print_report,
        report,
    )
    from residuum.sim.verilator.engine import Case, build_engine, run_engine
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.data.held_out import held_out
    from residuum.sw.files import build_folder
    from residuum.sw.golden.golden_model import simulate
    from residuum.sw.network.library import load_network, network_name

    network = load_network(args.model, args.bits)
    all_images, all_labels = held_out(network, args.model, args.images, data_access(args))
    config = engine_for(network, args.lanes, steps=max(DEFAULT_STEPS, args.tau + args.T))
    program = compile_network(network, config, tau=args.tau, T=args.T)

    console = Console(stderr=True)
    console.print(f"building the engine: {config.lanes} lanes x {config.steps} steps")
    simulation = build_engine(config, waves=args.waves)
    totals = Totals.empty(len(program.layers))
    for first in range(0, args.images, CHUNK):
        last = min(first + CHUNK, args.images)
        images, labels = all_images[first:last], all_labels[first:last]
        golden = simulate(network, images, tau=args.tau, T=args.T)
        case = Case(network, images, args.tau, args.T)
        (engine,) = run_engine(config, [case], simulation=simulation)
        totals.add(compared(program, images, labels, engine, golden, first=first))

    result = report(network_name(args.model, args.bits), program, totals, tau=args.tau, T=args.T)
    print_report(network, result)
    write_report(args.json or build_folder() / "sim" / "report.json", result)
    if args.waves:
        print("written: build/waves")
    if totals.mismatches:
        message = f"{totals.mismatches} values differ; the first: {totals.first}"
        print(f"residuum: {message}", file=sys.stderr)
        return 1
    return 0

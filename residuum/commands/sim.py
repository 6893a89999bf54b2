"""``residuum sim``: a trained network on the simulated engine, every spike compared."""

from __future__ import annotations

import argparse
import dataclasses
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
  residuum sim digits --images 1 --waves     one image, with every signal in build/waves

`make sim MODEL=mnist IMAGES=50 LANES=32` is the same from a fresh clone; `residuum verify` does all
held-out images, and can be interrupted.
"""

DEFAULT_STEPS = 8
# Images of one simulation: the traces of so many images lie in memory together.
CHUNK = 100
# The largest file of waves, in MB, unless the user allows more.
MOST_WAVES = 500


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
        "--waves",
        action="store_true",
        help="record every signal, as build/waves/MODEL-LANESxSTEPS.vcd",
    )
    parser.add_argument(
        "--waves-mb",
        type=positive_number,
        default=MOST_WAVES,
        metavar="MB",
        help="the most that the waves may take (default %(default)s)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="report (default build/sim/report.json)",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter, data_access, say_written, write_report
    from residuum.commands.engine_report import print_report
    from residuum.sim.bench.measure import Totals, compared, engine_for, report, waves_bytes
    from residuum.sim.verilator.engine import Case, build_engine, run_engine
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.data.held_out import held_out
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import build_folder, require_writable
    from residuum.sw.golden.golden_model import simulate
    from residuum.sw.network.library import load_network, network_name

    reporter = ConsoleReporter()
    network = load_network(args.model, args.bits)
    name = network_name(args.model, args.bits)
    all_images, all_labels = held_out(network, args.model, args.images, data_access(args))
    config = engine_for(network, args.lanes, steps=max(DEFAULT_STEPS, args.tau + args.T))
    program = compile_network(network, config, tau=args.tau, T=args.T)
    path = args.json or build_folder() / "sim" / "report.json"
    require_writable(path)
    if args.waves:
        megabytes = waves_bytes(program, all_images[0], tau=args.tau, T=args.T) / 1e6
        expected = f"the waves will take about {megabytes * args.images:,.0f} MB"
        if megabytes * args.images > args.waves_mb:
            raise ResiduumError(
                f"{expected}, {megabytes:,.0f} MB per image; at most {args.waves_mb:,} MB are "
                "allowed: record fewer images (--images), or allow more (--waves-mb)"
            )
        reporter.say(expected)

    with reporter.task(f"building the engine: {config.lanes} lanes x {config.steps} steps"):
        simulation = dataclasses.replace(
            build_engine(config, waves=args.waves),
            name=f"{name}-{config.lanes}x{config.steps}",
            most_waves=args.waves_mb * 1_000_000,
        )
    totals = Totals.empty(len(program.layers))
    # All waves are those of one simulation.
    chunk = args.images if args.waves else CHUNK
    for first in range(0, args.images, chunk):
        last = min(first + chunk, args.images)
        images, labels = all_images[first:last], all_labels[first:last]
        golden = simulate(network, images, tau=args.tau, T=args.T)
        case = Case(network, images, args.tau, args.T)
        (engine,) = run_engine(config, [case], simulation=simulation, reporter=reporter)
        totals.add(compared(program, images, labels, engine, golden, first=first))

    result = report(name, program, totals, tau=args.tau, T=args.T)
    status = print_report(result)
    write_report(path, result)
    if args.waves:
        file = simulation.waves_file
        say_written(file)
        print(f"the waves take {file.stat().st_size / 1e6:,.1f} MB")
    return status

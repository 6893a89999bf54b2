"""``residuum sim``: a trained network on the simulated engine, every spike compared."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from residuum.commands.arguments import (
    add_data,
    add_network,
    add_stages,
    positive_number,
    set_stages,
    stages,
)

DESCRIPTION = """\
Run held-out images through the engine under Verilator and compare every spike train, mask, logit
and class with the integer golden model. Prints a table, with the prediction of the cycle model, and
writes build/sim/report.json; ends with status 1 if anything differs."""
EXAMPLES = """\
examples:
  residuum sim digits                        100 held-out digits on 16 lanes, tau 4, T 4
  residuum sim mnist --images 50 --lanes 32  MNIST on 32 lanes
  residuum sim digits --tau 0 --T 8          plain conversion without the probe
  residuum sim digits --correction carry     the residual potential goes on after the probe
  residuum sim digits --images 1 --waves     one image, with every signal in build/waves
  residuum sim my.npz --data photos/         your own network and pictures
  residuum sim vgg16 --sdram                 15 million weights in a simulated SDRAM; minutes

From a fresh clone: `make sim MODEL=mnist IMAGES=50 LANES=32`. `residuum verify` runs all held-out
images and can be interrupted.
"""

DEFAULT_STEPS = 8
DEFAULT_IMAGES = 100
DEFAULT_LANES = 16
# A network with weights in an SDRAM takes minutes per image.
SDRAM_IMAGES = 2
SDRAM_LANES = 64
SDRAM_ROWS = 1024
# As in the presets, for networks whose numbers have no more bits.
SDRAM_STEPS = 4
# Images per simulation: limits the number of traces in memory.
CHUNK = 100
# Default limit on the size of a wave file, in MB.
MOST_WAVES = 500


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_data(parser)
    parser.add_argument(
        "--sdram",
        action="store_true",
        help="weights that do not fit the weight store come from an SDRAM, simulated with all its "
        "timings; MODEL may then be vgg16 or resnet18, with random weights and 45 %% of the "
        "neurons firing",
    )
    parser.add_argument(
        "--weight-rows",
        type=positive_number,
        metavar="N",
        help="with --sdram: rows of the weight store, a power of two; it grows to the largest "
        f"group of output channels (default {SDRAM_ROWS})",
    )
    parser.add_argument(
        "--images",
        type=positive_number,
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"use the first N images (default {DEFAULT_IMAGES}, or all if there are fewer; with "
        f"--sdram {SDRAM_IMAGES})",
    )
    parser.add_argument(
        "--lanes",
        type=positive_number,
        help=f"output channels that the engine computes in parallel (default {DEFAULT_LANES}, with "
        f"--sdram {SDRAM_LANES})",
    )
    parser.add_argument(
        "--waves",
        action="store_true",
        help="record every signal in build/waves/MODEL-LANESxSTEPS.vcd",
    )
    parser.add_argument(
        "--waves-mb",
        type=positive_number,
        default=MOST_WAVES,
        metavar="MB",
        help="limit on the size of the wave file (default %(default)s)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="report (default build/sim/report.json)",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter, say_written, write_report
    from residuum.commands.engine_report import print_report, without_labels
    from residuum.commands.images import chosen_images
    from residuum.commands.untrained import named_network
    from residuum.sim.bench.compared import Totals, compared
    from residuum.sim.bench.measure import engine_for, report, waves_bytes
    from residuum.sim.verilator.engine import Case, build_engine, run_engine
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import build_folder, require_writable
    from residuum.sw.golden.golden_model import simulate
    from residuum.sw.network.library import load_network, network_name

    reporter = ConsoleReporter()
    network = named_network(args) if args.sdram else load_network(args.model, args.bits)
    set_stages(args, network, engine=True)
    name = network_name(args.model, args.bits)
    data = chosen_images(args, network, default=SDRAM_IMAGES if args.sdram else DEFAULT_IMAGES)
    all_images, all_labels = data.images, data.labels_or_unknown()
    numbers = max((layer.bits or 0 for layer in network.layers), default=0)
    few = args.sdram and 0 < numbers <= SDRAM_STEPS
    steps = SDRAM_STEPS if few else max(DEFAULT_STEPS, args.tau + args.T)
    if args.weight_rows is not None and not args.sdram:
        raise ResiduumError("--weight-rows is for --sdram; without it the engine has enough")
    if args.sdram:
        rows = args.weight_rows or SDRAM_ROWS
        config = engine_for(network, args.lanes or SDRAM_LANES, steps=steps, ring_rows=rows)
    else:
        config = engine_for(network, args.lanes or DEFAULT_LANES, steps=steps)
    program = compile_network(network, config, **stages(args))
    path = args.json or build_folder() / "sim" / "report.json"
    require_writable(path)
    if args.waves:
        megabytes = waves_bytes(program, all_images[0], **stages(args)) / 1e6
        expected = f"the waves will take about {megabytes * len(data):,.0f} MB"
        if megabytes * len(data) > args.waves_mb:
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
    totals = Totals.empty(len(network.layers))
    # With waves, a single simulation runs all images, since each simulation writes a new file.
    chunk = len(data) if args.waves else CHUNK
    external = program.external if args.sdram else None
    for first in range(0, len(data), chunk):
        last = min(first + chunk, len(data))
        images, labels = all_images[first:last], all_labels[first:last]
        golden = simulate(network, images, **stages(args))
        case = Case(network, images, **stages(args))
        (engine,) = run_engine(
            config, [case], simulation=simulation, reporter=reporter, external=external
        )
        totals.add(compared(program, images, labels, engine, golden, first=first))

    result = report(name, program, totals, **stages(args))
    if data.labels is None:
        result = without_labels(result)
    status = print_report(result)
    write_report(path, result)
    if args.waves:
        file = simulation.waves_file
        say_written(file)
        print(f"the waves take {file.stat().st_size / 1e6:,.1f} MB")
    return status

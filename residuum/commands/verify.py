"""``residuum verify``: every held-out image on the simulated engine, every spike compared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    add_batch,
    add_data,
    add_images,
    add_network,
    add_pool,
    add_stages,
    chosen_batch,
    pool,
    positive_number,
    set_stages,
    stages,
)

if TYPE_CHECKING:
    from residuum.hw.isa.config import EngineConfig
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Run all held-out images of a network through the engine under Verilator and compare every spike
train, mask, logit and class with the integer golden model. This takes from minutes to many hours;
it may be interrupted at any time (Ctrl-C), and the same command continues. Writes
build/verify/MODEL.json; ends with status 1 if anything differs."""
EXAMPLES = """\
examples:
  residuum verify digits                  all 360 held-out digits on 16 lanes, tau 4, T 4
  residuum verify mnist                   all 10,000 test images
  residuum verify mnist --preset 85f      the engine of a board, see `residuum boards`
  residuum verify mnist --tau 0 --T 8     plain conversion without the probe
  residuum verify cifar10 --tau 2 --T 2 --correction carry   the residual potential goes on
  residuum verify mnist --images 1000     the first thousand; a later run can add more
  residuum verify vgg16 --preset 85f-sdram --batch best --images 5   weights read once for all
  residuum verify my.npz --data photos/   your own network, the held-out pictures of a folder
  residuum verify mnist --cluster tcp://host:8786   on a Dask cluster, see docs/cluster.md

Results of finished images are kept in build/pieces. They do not count if the network, the engine or
the golden model has changed. From a fresh clone: `make verify MODEL=mnist`.
"""

LANES, STEPS = 16, 8


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument(
        "--lanes",
        type=positive_number,
        metavar="N",
        help="output channels that the engine computes in parallel; its memories fit the network "
        f"(default {LANES})",
    )
    engine.add_argument(
        "--preset", metavar="PRESET", help="engine and memory sizes of a board, instead of --lanes"
    )
    add_batch(parser)
    add_images(parser)
    add_data(parser)
    add_pool(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="report (default build/verify/MODEL-8bit.json)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the missing images, print the sums, write the report."""
    from residuum.commands.console import ConsoleReporter, write_report
    from residuum.commands.engine_report import print_report, without_labels
    from residuum.commands.images import chosen_images
    from residuum.commands.untrained import named_network
    from residuum.sim.bench import measure
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.files import build_folder, require_writable
    from residuum.sw.network.library import network_name
    from residuum.sw.pieces.run import run as run_pieces

    reporter = ConsoleReporter()
    network = named_network(args)
    set_stages(args, network, engine=True)
    config = _engine(args, network)
    with reporter.task(f"compiling {network.name}"):
        batch = chosen_batch(args, network, config)
        program = compile_network(network, config, **stages(args), batch=batch)
    data = chosen_images(args, network)
    name = network_name(args.model, args.bits)
    path = args.json or build_folder() / "verify" / f"{name}.json"
    require_writable(path)
    task = measure.Task(
        name, program, **stages(args), images=data.images, labels=data.labels_or_unknown()
    )
    results = run_pieces(
        task.pieces(),
        pool(args, in_threads=True),
        title=task.title,
        unit="images",
        doing="simulated",
        reporter=reporter,
    )
    report = measure.report(name, program, task.totals(results), **stages(args))
    if data.labels is None:
        report = without_labels(report)
    status = print_report(report)
    write_report(path, report)
    return status


def _engine(args: argparse.Namespace, network: IntegerNetwork) -> EngineConfig:
    from residuum.sim.bench.measure import engine_for
    from residuum.sw.compiler.fit import preset_named

    if args.preset is not None:
        return preset_named(args.preset).with_changes(memory="inferred")
    return engine_for(network, args.lanes or LANES, steps=max(STEPS, args.tau + args.T))

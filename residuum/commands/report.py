"""``residuum report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    add_allow_modified,
    add_images,
    add_network,
    add_stages,
    positive_number,
)

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import Progress

    from residuum.hw.isa.config import EngineConfig
    from residuum.sw.compiler.program import Program
    from residuum.sw.look.page import Cycles
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Write a page about a network and its run, for a browser: layers and bounds, memory of the engine,
activity, cycles, accuracy, wrong images and boards. One HTML file that needs nothing else."""
EXAMPLES = """\
examples:
  residuum report digits                     build/report/digits.html, all held-out digits
  residuum report mnist --images 1000        the first 1,000 test images
  residuum report digits --sim               cycles measured on the simulated engine, and compared
  residuum report my.npz --out my.html       a network of your own

Figures of boards are those of the reports that `residuum bitstream` and `residuum timing` left
in build/.
"""
# Images whose cycles are predicted, or simulated: a mean over more hardly changes.
CYCLE_IMAGES = 10
DEFAULT_STEPS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser, default="digits")
    add_stages(parser)
    add_allow_modified(parser)
    add_images(parser)
    parser.add_argument(
        "--lanes",
        type=positive_number,
        default=16,
        metavar="P",
        help="output channels that the engine computes side by side (default %(default)s)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="the float network, or an integer network of more bits, to compare with",
    )
    parser.add_argument(
        "--sim",
        action="store_true",
        help=f"run the first {CYCLE_IMAGES} images on the simulated engine and compare every spike",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="page (default build/report/MODEL.html)"
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from residuum.commands.console import data_access
    from residuum.sw.compiler.program import compile_network, grow_to_fit
    from residuum.sw.data.held_out import held_out
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import build_folder, write_whole
    from residuum.sw.golden.reference import find_reference
    from residuum.sw.look.page import board_reports, render, run_golden
    from residuum.sw.network.library import load_network, network_name

    network = load_network(args.model, args.bits)
    reference = find_reference(network, args.model, against=args.against, T=args.T)
    has_images = "dataset" in network.metadata
    images = labels = None
    if has_images or args.images is not None:
        images, labels = held_out(network, args.model, args.images, data_access(args))
    config, program, reason = _config(args), None, ""
    try:
        config = grow_to_fit(network, config)
        program = compile_network(network, config, tau=args.tau, T=args.T)
    except ResiduumError as error:
        if args.sim:
            raise
        reason = str(error).rstrip(".")
    activity = cycles = None
    with Progress(console=Console(stderr=True), transient=True) as progress:
        if images is not None and labels is not None:
            task = progress.add_task(f"{network.name}, golden model", total=len(images))
            activity = run_golden(
                network,
                reference,
                images,
                labels,
                tau=args.tau,
                T=args.T,
                advance=lambda count: progress.advance(task, count),
            )
        if images is not None and program is not None:
            cycles = _cycles(network, program, images[:CYCLE_IMAGES], args, progress)
    boards, timing = board_reports(build_folder())
    page = render(
        network,
        command=_command(args, network_name(args.model, args.bits)),
        tau=args.tau,
        T=args.T,
        program=program,
        no_program=reason,
        images=images,
        activity=activity,
        reference=reference,
        cycles=cycles,
        boards=boards,
        timing=timing,
    )
    path = args.out or build_folder() / "report" / f"{network_name(args.model, args.bits)}.html"
    write_whole(path, page)
    print(f"written: {path}")
    if cycles is not None and cycles.mismatches:
        raise ResiduumError(f"{cycles.mismatches} values differ; the first: {cycles.first}")
    return 0


def _config(args: argparse.Namespace) -> EngineConfig:
    from residuum.hw.isa.config import EngineConfig
    from residuum.sw.errors import ResiduumError

    try:
        return EngineConfig.for_lanes(args.lanes, steps=max(DEFAULT_STEPS, args.tau + args.T))
    except ValueError as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None


def _cycles(
    network: IntegerNetwork,
    program: Program,
    images: np.ndarray,
    args: argparse.Namespace,
    progress: Progress,
) -> Cycles:
    """Cycles of some images: predicted, or measured on the simulated engine."""
    from residuum.hw.isa.host_map import Counter
    from residuum.sw.look.page import Cycles, predict_cycles

    task = progress.add_task("cycle model", total=len(images))
    predicted = predict_cycles(
        program,
        images,
        tau=args.tau,
        T=args.T,
        advance=lambda count: progress.advance(task, count),
    )
    total = float(predicted[:, Counter.CYCLES].sum())
    if not args.sim:
        return Cycles(predicted, len(images), measured=False, predicted=total)

    from residuum.sim.verilator.engine import Case, build_engine, run_engine
    from residuum.sw.golden.golden_model import simulate
    from residuum.sw.trace.compare import compare

    config = program.config
    task = progress.add_task(
        f"simulated engine, {config.lanes} lanes x {config.steps} steps", total=None
    )
    case = Case(network, images, args.tau, args.T)
    (trace,) = run_engine(config, [case], simulation=build_engine(config))
    progress.remove_task(task)
    found = compare(network, trace, simulate(network, images, tau=args.tau, T=args.T))
    counters = trace.counters.mean(axis=0)
    return Cycles(counters, len(images), True, total, found.mismatches, found.first)


def _command(args: argparse.Namespace, name: str) -> str:
    """The command line that makes the page again, without the folders of this machine."""
    words = [f"residuum report {name if name == args.model else Path(args.model).name}"]
    words += [] if args.bits is None else [f"--bits {args.bits}"]
    words += [f"--tau {args.tau} --T {args.T}"]
    words += [] if args.images is None else [f"--images {args.images}"]
    words += [f"--lanes {args.lanes}"]
    words += [] if args.against is None else [f"--against {args.against.name}"]
    words += ["--sim"] if args.sim else []
    return " ".join(words)

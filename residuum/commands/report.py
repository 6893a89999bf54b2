"""``residuum report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    HELD_OUT,
    add_data,
    add_images,
    add_network,
    add_stages,
    positive_number,
    set_stages,
    stages,
)

if TYPE_CHECKING:
    from residuum.hw.isa.config import EngineConfig

DESCRIPTION = """\
Write an HTML page about a network and its run: layers and bounds, memory of the engine, activity,
cycles, accuracy, misclassified images and boards. The file is self-contained."""
EXAMPLES = """\
examples:
  residuum report digits                     build/report/digits-8bit.html, all held-out digits
  residuum report mnist --images 1000        the first 1,000 test images
  residuum report digits --sim               measure cycles on the simulated engine, and compare
  residuum report my.npz --out my.html       your own network
  residuum report my.npz --data photos/      on pictures in a folder

Figures of boards come from the reports of `residuum bitstream` and `residuum timing` in build/.
"""
# Images whose cycles are predicted or simulated; more images hardly change the mean.
CYCLE_IMAGES = 10
DEFAULT_STEPS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser, default="digits")
    add_stages(parser)
    add_data(parser)
    add_images(parser)
    parser.add_argument(
        "--lanes",
        type=positive_number,
        default=16,
        metavar="P",
        help="output channels that the engine computes in parallel (default %(default)s)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="reference: a float network, or an integer network with more bits",
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
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.images import chosen_images
    from residuum.sw.compiler.program import compile_network, grow_to_fit
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import build_folder, require_writable, write_whole
    from residuum.sw.golden.reference import find_reference
    from residuum.sw.look.page import board_reports, predict_cycles, render, run_golden
    from residuum.sw.network.library import load_network, network_name

    reporter = ConsoleReporter()
    name = network_name(args.model, args.bits)
    path = args.out or build_folder() / "report" / f"{name}.html"
    network = load_network(args.model, args.bits)
    set_stages(args, network, engine=args.sim)
    reference = find_reference(network, args.model, against=args.against, T=args.T)
    images = labels = None
    wanted = args.data is not None or args.images is not None or args.sim
    if "dataset" in network.metadata or wanted:
        data = chosen_images(args, network)
        images, labels = data.images, data.need_labels("the page")
    config, program, reason = _config(args), None, ""
    try:
        program = compile_network(network, grow_to_fit(network, config), **stages(args))
    except ResiduumError as error:
        if args.sim:
            raise
        reason = str(error).rstrip(".")
    require_writable(path)
    activity = cycles = None
    if images is not None and labels is not None:
        activity = run_golden(network, reference, images, labels, **stages(args), reporter=reporter)
        if program is not None:
            few = images[:CYCLE_IMAGES]
            cycles = predict_cycles(program, few, **stages(args), reporter=reporter)
            if args.sim:
                from residuum.sim.bench.page_cycles import measure_cycles

                cycles = measure_cycles(program, few, cycles, **stages(args), reporter=reporter)
    boards, timing = board_reports(build_folder())
    page = render(
        network,
        command=_command(args),
        **stages(args),
        program=program,
        no_program=reason,
        images=images,
        activity=activity,
        reference=reference,
        cycles=cycles,
        boards=boards,
        timing=timing,
    )
    write_whole(path, page)
    say_written(path)
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


def _command(args: argparse.Namespace) -> str:
    """The command line that makes the page again, without local folder names."""
    from residuum.sw.network.corrections import MASK, NONE
    from residuum.sw.network.library import is_path

    words = [f"residuum report {Path(args.model).name if is_path(args.model) else args.model}"]
    words += [] if args.bits is None else [f"--bits {args.bits}"]
    words += [f"--tau {args.tau} --T {args.T}"]
    words += [] if args.correction in (NONE, MASK) else [f"--correction {args.correction}"]
    words += [] if args.data is None else [f"--data {Path(args.data).name}"]
    words += [] if args.split == HELD_OUT else [f"--split {args.split}"]
    words += [] if args.images is None else [f"--images {args.images}"]
    words += [f"--lanes {args.lanes}"]
    words += [] if args.against is None else [f"--against {args.against.name}"]
    words += ["--sim"] if args.sim else []
    return " ".join(words)

"""``residuum verilog``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    add_bits,
    add_data,
    add_engine_sizes,
    add_stages,
    engine_sizes,
    positive_number,
)

if TYPE_CHECKING:
    from residuum.hw.isa.config import EngineConfig
    from residuum.sim.core.export import Export
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Write the engine as a Verilog core that depends on no board: a stream of pixels in, a stream of
class and logits out, a bus for programs and counters, one clock, one reset. A comment at its
beginning, and the JSON file beside it, have all ports, sizes and addresses (docs/core.md)."""
EXAMPLES = """\
examples:
  residuum verilog --lanes 16 -o engine.v           empty memories; the bus loads a program
  residuum verilog --model digits -o engine.v       with a network inside
  residuum verilog --model mnist --preset 12f --memory ecp5 -o engine.v
                                                    an engine of the boards, with block memories
                                                    of ECP5 as primitives
  residuum verilog --model digits -o engine.v --example 20
                                                    also an example in Verilog with a test bench
                                                    and 20 images; runs it with Verilator
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="file to write: NAME.v"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="network in the memories after configuration: a committed one, or a .npz file "
        "(default: none)",
    )
    add_bits(parser)
    add_stages(parser)
    parser.add_argument(
        "--preset",
        metavar="PRESET",
        help="an engine, as `residuum fit` lists them (default: that of `residuum synth`, with "
        "memories large enough for the network)",
    )
    parser.add_argument(
        "--memory",
        choices=("inferred", "ecp5"),
        default="inferred",
        help="memories as Verilog arrays, for every tool and device, or as primitives of ECP5 "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--image-bytes",
        type=positive_number,
        metavar="N",
        help="most bytes of an image, a power of two (default: those of the network, or 4096)",
    )
    parser.add_argument(
        "--writes",
        type=Path,
        metavar="FILE",
        help="also write the network as accesses of the bus, one `ADDRESS WORD` per line in "
        "hexadecimal, to load it into a core that holds none or another one",
    )
    parser.add_argument(
        "--example",
        type=positive_number,
        metavar="N",
        help="also write, beside the core, a Verilog module that uses it, its test bench, and the "
        "first N images; run it with Verilator, and compare all results with the golden model",
    )
    add_data(parser)
    add_engine_sizes(parser, default="the preset's, or those of `EngineConfig` (docs/engine.md)")


def run(args: argparse.Namespace) -> int:
    from residuum import __version__
    from residuum.commands.arguments import stages
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.sim.core.export import export_core
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import require_writable, write_json, write_whole
    from residuum.sw.network.library import load_network

    if args.output.suffix != ".v":
        raise ResiduumError(f"{args.output} does not end in .v, as the name of a Verilog file does")
    if args.model is None and (args.example or args.writes):
        option = "--example" if args.example else "--writes"
        raise ResiduumError(f"{option} needs a network; name one with --model")
    paths = [args.output, args.output.with_suffix(".json"), *([args.writes] if args.writes else [])]
    for path in paths:
        require_writable(path)
    network = None if args.model is None else load_network(args.model, args.bits)
    config = _engine(args, network)
    _choose_steps(args, config, network)
    with ConsoleReporter().task("writing Verilog"):
        export = export_core(
            config, network, image_bytes=args.image_bytes, version=__version__, **stages(args)
        )
    write_whole(paths[0], export.verilog.encode())
    write_json(paths[1], export.description)
    if args.writes:
        write_whole(args.writes, _writes(export).encode())
    print(_summary(export))
    say_written(*paths)
    if args.example:
        assert network is not None
        return _run_example(args, export, network)
    return 0


def _engine(args: argparse.Namespace, network: IntegerNetwork | None) -> EngineConfig:
    """The engine of the arguments; without a preset, large enough for the network."""
    from residuum.boards.build.synth import engine_of
    from residuum.sw.compiler.fit import engine_named
    from residuum.sw.compiler.program import grow_to_fit
    from residuum.sw.errors import ResiduumError

    sizes = engine_sizes(args)
    if args.preset:
        config = engine_named(args.preset, sizes)
        if config.external:
            raise ResiduumError(
                f"a core has no external memory, so {args.preset} cannot be one; choose a preset "
                "without -sdram"
            )
    else:
        config = engine_of(sizes)
        if network is not None:
            try:
                config = grow_to_fit(network, config).with_changes(**sizes)
            except ValueError as error:
                raise ResiduumError(f"this engine cannot be built: {error}") from None
    return config.with_changes(memory=args.memory)


def _choose_steps(
    args: argparse.Namespace, config: EngineConfig, network: IntegerNetwork | None
) -> None:
    """Set ``args.tau``, ``args.T`` and ``args.correction`` to those of a run after a reset."""
    from residuum.commands.arguments import set_stages

    if network is not None:
        set_stages(args, network, engine=True)
        return
    args.tau = args.tau or 0
    args.T = config.steps - args.tau if args.T is None else args.T
    args.correction = args.correction or "mask"


def _summary(export: Export) -> str:
    about = export.description
    network, sizes = about["network"], about["parameters"]
    held = f"with {network['name']} inside" if network else "without a network"
    return (
        f"{about['module']}: {sizes['lanes']} lanes, {sizes['steps']} steps, "
        f"{sizes['weight_rows']:,} weight rows, images of up to {sizes['image_bytes']:,} bytes, "
        f"{held}"
    )


def _writes(export: Export) -> str:
    """The program and the steps as accesses of the bus, a line for each."""
    return "".join(f"{address:x} {word:08x}\n" for address, word in export.writes.items())


def _run_example(args: argparse.Namespace, export: Export, network: IntegerNetwork) -> int:
    from residuum.commands.arguments import stages
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.images import chosen_images
    from residuum.sim.core.example import example_files, passed, run_example
    from residuum.sw.files import write_whole

    args.images = args.example
    images = chosen_images(args, network).images
    files = example_files(export, network, images, **stages(args))
    for name, text in files.items():
        write_whole(args.output.parent / name, text.encode())
    say_written(*(args.output.parent / name for name in files))
    with ConsoleReporter().task("running the example in Verilator"):
        said = run_example(export.verilog, files)
    print(said)
    return 0 if passed(said, len(images)) else 1

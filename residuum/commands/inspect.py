"""``residuum inspect``."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from residuum.boards.build.unpacked import Comparison, Unpacked

DESCRIPTION = """\
Read a bitstream back: device, engine, clock, and the network in its memories. With --model, compare
every weight and every other word of the memories with a network; ends with status 1 if anything
differs. The file is unpacked with ecpunpack, which also checks it for damage."""
EXAMPLES = """\
examples:
  residuum inspect build/ulx3s-12f/residuum.bit                    what it holds
  residuum inspect build/ulx3s-12f/residuum.bit --model digits     is it this network?
  residuum inspect my.bit --model my.npz
"""

NAMED = 6


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a bitstream, such as residuum.bit")
    parser.add_argument(
        "--model", metavar="MODEL", help="compare with a network: a committed one or a .npz file"
    )
    parser.add_argument(
        "--bits", type=int, help="weight bits of that network: 8 or 4 (default: the engine's)"
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from residuum.boards.build.bitstream import memory_contents
    from residuum.boards.build.unpacked import compare, unpack
    from residuum.commands.console import ConsoleReporter

    reporter, compared, name = ConsoleReporter(), None, ""
    with reporter.task(f"unpacking {args.file}"):
        unpacked = unpack(args.file)
    if args.model:
        with reporter.task(f"comparing with {args.model}"):
            name, program = memory_contents(args.model, args.bits, unpacked.config)
            compared = compare(unpacked, program)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _rows(unpacked, compared, name):
        table.add_row(key, Text(value))
    print(args.file)
    Console().print(table)
    return int(compared is not None and not compared.equal)


def _rows(
    unpacked: "Unpacked", compared: "Comparison | None", name: str
) -> Iterator[tuple[str, str]]:
    config, identity = unpacked.config, unpacked.identity
    yield "device", unpacked.device
    yield "preset", ", ".join(unpacked.presets) or "none: other sizes than any preset"
    yield "engine", f"{config.lanes} lanes x {config.steps} steps, {config.weight_bits}-bit weights"
    yield "clock", f"{identity.clock_hz / 1e6:g} MHz"
    yield "network", identity.name or "none"
    if any(unpacked.contents_digest):
        yield "digest of the network", unpacked.contents_digest.hex()
    yield "digest of the design", unpacked.design_digest.hex()
    yield "block memories", f"{len(unpacked.blocks)}"
    if compared is None:
        return
    yield (
        "compared with",
        f"{name}, " + ("the same" if compared.same_digest else "another") + (" digest"),
    )
    differing = compared.weights_differing
    yield "weights", f"{compared.weights:,}, " + (f"{differing:,} differ" if differing else "equal")
    others = [path.removesuffix(".dp16kd") for path in compared.memories_differing]
    named = ", ".join(others[:NAMED])
    if len(others) > NAMED:
        named += f" and {len(others) - NAMED} more"
    yield "memories that differ", f"{len(others)}: {named}" if others else "none"

"""``residuum fit``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    DEFAULT_T,
    DEFAULT_TAU,
    add_engine_sizes,
    add_network,
    engine_sizes,
    engines_of,
)
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from rich.text import Text

    from residuum.boards.board import Board
    from residuum.sw.compiler.fit import Need
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Compare what a network needs with what the engines of the boards have: memories, layers and widths.
Prints every limit that is exceeded, with its cures, and what no engine can run. Ends with
status 1 if the network runs on none of them."""
EXAMPLES = """\
examples:
  residuum fit cifar10 --bits 4                all presets and boards
  residuum fit my.npz --board ulx3s-12f        one board
  residuum fit my.npz --preset 85f-4bit --weight-rows 8192 --feature-rows 1024
                                               an engine of other sizes

With --board, and the float network beside the file, where `residuum import` and `residuum train`
leave it, the last line is what `residuum import --board` would take: the widest weights that fit.

`residuum bitstream` takes the same sizes, and refuses a network with the same words.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--board",
        action="append",
        metavar="BOARD",
        help="a board with its preset; can be repeated (default: all presets)",
    )
    chosen.add_argument(
        "--preset", action="append", metavar="PRESET", help="an engine; can be repeated"
    )
    add_engine_sizes(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all needs to a file")


def run(args: argparse.Namespace) -> int:
    from residuum.boards.catalogue import BOARDS, find
    from residuum.commands.console import write_report
    from residuum.commands.tables import print_records
    from residuum.hw.isa.presets import PRESETS
    from residuum.sw.compiler.fit import describe_sizes, device_of, engine_named, fit
    from residuum.sw.compiler.runnable import not_runnable
    from residuum.sw.network.graph import IMAGE
    from residuum.sw.network.library import float_file_of, load_network, network_name

    network = load_network(args.model, args.bits)
    boards = [find(name) for name in args.board] if args.board else list(BOARDS.values())
    presets = {board.preset: None for board in boards} if args.board else PRESETS
    sizes, engines = engine_sizes(args), {}
    for preset in args.preset or presets:
        config = engine_named(preset, sizes)
        engines[preset] = fit(network, config, device=device_of(preset))
    refused = not_runnable(network)

    print(_headline(network))
    print()
    title = f"needed / available{'' if not sizes else ', ' + describe_sizes('preset', sizes)}"
    records = [_record(preset, needs) for preset, needs in engines.items()]
    print_records(records, title=title, numbers=[key for key in records[0] if key != "preset"])
    for line in _lines(engines, {board.name: board.presets for board in boards}, refused):
        print(line)
    floats = float_file_of(network, args.model)
    if args.board and not (sizes or refused) and network.input == IMAGE and floats.exists():
        print()
        for sentence in _proposals(network, floats, boards):
            print(sentence)
    if args.json is not None:
        report = _report(network_name(args.model, args.bits), engines, refused)
        write_report(args.json, report)
    fits = any(all(need.fits for need in needs) for needs in engines.values())
    return int(bool(refused) or not fits)


def _headline(network: IntegerNetwork) -> str:
    weights = sum(source.weight.size for layer in network.layers for source in layer.sources)
    return (
        f"{network.name}: {len(network.layers)} layers, {weights:,} weights of "
        f"{network.weight_bits} bits, {network.code} code"
    )


def _record(preset: str, needs: tuple[Need, ...]) -> dict[str, str | Text]:
    """A row of the table; what exceeds the engine is bold."""
    from rich.text import Text

    shown = [need for need in needs if need.parameter or need.what == "block memories"]
    return {
        "preset": preset,
        "fits": "yes" if all(need.fits for need in needs) else Text("no", "bold"),
        **{
            _column(need.what): Text(
                f"{need.needed:,}\n/ {need.available:,}", "" if need.fits else "bold red"
            )
            for need in shown
        },
    }


def _column(what: str) -> str:
    """The head of a column, a word in each line."""
    for word, halves in {"accumulator": "accumu-\nlator", "activation": "acti-\nvation"}.items():
        what = what.replace(word, halves)
    return what.replace(" ", "\n")


def _lines(
    engines: Mapping[str, tuple[Need, ...]], boards: Mapping[str, Sequence[str]], refused: list[str]
) -> Iterator[str]:
    """The limits of each engine with their cures, and what no engine runs."""
    for preset, needs in engines.items():
        names = ", ".join(name for name, presets in boards.items() if preset in presets)
        where = f"{preset} ({names})" if names else preset
        exceeded = [need for need in needs if not need.fits]
        yield ""
        if not exceeded:
            yield f"{where}: {'large enough' if refused else 'it fits'}"
            continue
        yield f"{where}: too small"
        for need in exceeded:
            yield f"  {need.sentence}"
            if need.cures:
                yield f"    what helps: {'; or '.join(need.cures)}"
    if refused:
        yield ""
        yield "no engine runs it (the needs are an estimate):"
        yield from (f"  {sentence}" for sentence in refused)


def _proposals(network: IntegerNetwork, floats: Path, boards: Sequence[Board]) -> Iterator[str]:
    """What `residuum import --board` would take for each board that holds the network with some
    width of its weights; ``floats`` is the file of the float network."""
    from residuum.sw.files import shown
    from residuum.sw.importing.choice import Rough, widths
    from residuum.sw.importing.pipeline import Options
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.integer_network import RATE

    code = ""
    options = Options(code=network.code)
    if network.code == RATE:
        options = replace(options, tau=DEFAULT_TAU, T=DEFAULT_T)
        code = f" --code rate --tau {DEFAULT_TAU} --T {DEFAULT_T}"
    data = network.metadata.get("dataset", "...")
    rough = Rough(FloatNetwork.load(floats), options)
    for board in boards:
        try:
            choice = next(rough.choices(engines_of(board), widths(network.code)))
        except ResiduumError:
            # The lines above say what is missing.
            continue
        words = f"residuum import {shlex.quote(shown(floats))} --data {data}{code}"
        yield f"`{words} --board {board.name}` would take {choice}"


def _report(
    name: str, engines: Mapping[str, tuple[Need, ...]], refused: list[str]
) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "model": name,
        "not_runnable": refused,
        "engines": {
            preset: [{**asdict(need), "fits": need.fits} for need in needs]
            for preset, needs in engines.items()
        },
    }

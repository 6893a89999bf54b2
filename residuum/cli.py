"""The command line ``residuum``.

A sub-command is a module of `residuum.commands` with

* ``DESCRIPTION``: what it does, in one or two sentences,
* ``EXAMPLES``: commands with a word on each, shown below the options,
* ``configure(parser)``: adds its arguments to an ``argparse.ArgumentParser``,
* ``run(args) -> int``: does the work and returns the exit status.

Only the module of the command that was asked for is imported, so that ``--help`` starts at once.
Modules must import heavy things (torch, simulators) inside ``run``.
"""

import argparse
import importlib
import os
import sys
from dataclasses import dataclass
from typing import NoReturn

from residuum import __version__
from residuum.sw.errors import ResiduumError


@dataclass(frozen=True)
class Command:
    """A sub-command: its name, which is that of its module too, and its line in ``--help``."""

    name: str
    help: str


COMMANDS = (
    Command("eval", "accuracy of a network on the held-out images"),
    Command("summary", "layers, shapes, bits, memory and bounds"),
    Command("train", "train a network and convert it to integers"),
    Command("study", "what the residual potential does, as tables and plots"),
    Command("suggest", "the best tau and T for a given number of steps"),
    Command("show", "spikes, potentials and rates of one image as a picture"),
    Command("explain", "where a conversion loses its accuracy"),
    Command("report", "a page about a network and its run, for a browser"),
    Command("bench", "accuracy, cycles, clock and area of all networks in one table"),
    Command("verify", "every test image on the simulated engine, resumable"),
    Command("sim", "run a network on the simulated engine, compare every spike"),
    Command("run", "classify images on a board or on the simulated engine"),
    Command("check", "compare every spike of a device with the golden model"),
    Command("info", "what a device says about itself"),
    Command("serve", "put the simulated engine behind a serial port"),
    Command("fuzz", "damaged and random frames against the simulated link"),
    Command("netlist", "simulate the ECP5 netlists, compare every spike"),
    Command("boards", "the boards that there are bitstreams for"),
    Command("bitstream", "build the bitstream of a board"),
    Command("program", "load a bitstream into a board"),
    Command("timing", "the clock that boards reach, over several seeds"),
    Command("synth", "synthesise for ECP5 and print the resources"),
)

DESCRIPTION = "Trained networks as bit-exact spiking networks: train, convert, check, simulate."
EXAMPLES = """\
examples:
  residuum summary digits           what the committed network for 8x8 digits looks like
  residuum eval digits              its accuracy on the 360 held-out digits
  residuum eval mnist --bits 4      4-bit weights, all 10,000 test images
  residuum train digits             train and convert it anew, in about a minute
  residuum sim digits               on the simulated engine, every spike compared
  residuum run                      classify digits over the link, simulated or on a board
  residuum synth                    what the engine takes of an ECP5
  residuum eval --help              the options of one command
"""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one sentence instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command line.

    Returns the exit status: 0 done, 1 an error, 2 a wrong command line, 130 interrupted, 141 nobody
    reads what is printed any more (as a shell has it for SIGPIPE).
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        args = _parser(arguments).parse_args(arguments)
        status = int(args.run(args))
        # What is still buffered may meet a closed pipe or a full disk, too.
        sys.stdout.flush()
        return status
    except ResiduumError as error:
        print(f"residuum: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupted:
        kept = f"; {interrupted}" if str(interrupted) else ""
        print(f"residuum: interrupted{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        # A command checks the files that it names; this is for what nobody expects, such as a
        # folder for temporary files that is full.
        _drop_output()
        where = f"{error.filename}: " if error.filename else "a file or the output failed: "
        print(f"residuum: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def _drop_output() -> None:
    """Python writes what is buffered once more when it ends: into nothing, where that failed."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="residuum",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"residuum {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for command in COMMANDS:
        if command.name != chosen:
            commands.add_parser(command.name, help=command.help)
            continue
        module = importlib.import_module(f"residuum.commands.{command.name}")
        child = commands.add_parser(
            command.name,
            help=command.help,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(child)
        child.set_defaults(run=module.run)
    return parser

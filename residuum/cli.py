"""The command line ``residuum``.

A sub-command is a module of `residuum.commands` with

* ``DESCRIPTION``: one or two sentences on the command,
* ``EXAMPLES``: commented command lines, shown below the options,
* ``configure(parser)``: adds arguments to an ``argparse.ArgumentParser``,
* ``run(args) -> int``: does the work and returns the exit status.

Only the module of the given command is imported, and a module imports torch and simulators only
inside ``run``: so ``--help`` is fast.
"""

import argparse
import importlib
import keyword
import os
import sys
from dataclasses import dataclass
from typing import NoReturn

from residuum import __version__
from residuum.sw.errors import ResiduumError


@dataclass(frozen=True)
class Command:
    """A sub-command: its name, which is also the module's, and its line in ``--help``."""

    name: str
    help: str


COMMANDS = (
    Command("eval", "accuracy of a network on held-out images"),
    Command("summary", "layers, shapes, bits, memory and bounds"),
    Command("fit", "what a network needs, and what the boards have"),
    Command("train", "train a network and convert it to integers"),
    Command("import", "take in a trained network from PyTorch, ONNX or NIR"),
    Command("export", "write a network as a NIR or ONNX file"),
    Command("study", "the effect of the residual potential, in tables and plots"),
    Command("suggest", "the best tau and T for a given number of steps"),
    Command("explore", "the best engines of a board for a network, built for real if asked"),
    Command("show", "spikes, potentials and rates of one image as a picture"),
    Command("demo", "a page to draw on, with the spikes of every layer"),
    Command("explain", "the layer in which a conversion loses its accuracy"),
    Command("report", "an HTML page about a network and its run"),
    Command("bench", "accuracy, cycles, clock and area of all networks in one table"),
    Command("verify", "every test image on the simulated engine, resumable"),
    Command("sim", "run a network on the simulated engine, compare every spike"),
    Command("run", "classify images on a board or on the simulated engine"),
    Command("check", "compare every spike of a device with the golden model"),
    Command("info", "engine, clock, build and program of a device"),
    Command("load", "write a network into a device, weights into its SDRAM once"),
    Command("memtest", "test the SDRAM of a device"),
    Command("serve", "offer the simulated engine on a serial port"),
    Command("fuzz", "send damaged and random frames to the simulated link"),
    Command("netlist", "simulate the ECP5 netlists, compare every spike"),
    Command("boards", "list the supported boards"),
    Command("bitstream", "build the bitstream of a board"),
    Command("inspect", "what a bitstream holds, compared with a network"),
    Command("program", "load a bitstream into a board"),
    Command("timing", "Fmax on boards, over several seeds"),
    Command("verilog", "the engine as a Verilog core, for other designs"),
    Command("synth", "synthesise for ECP5 and print the resources"),
)

DESCRIPTION = "Trained networks as bit-exact spiking networks: train, convert, check, simulate."
EXAMPLES = """\
examples:
  residuum summary digits           structure of the committed network for 8x8 digits
  residuum eval digits              its accuracy on the 360 held-out digits
  residuum eval mnist --bits 4      4-bit weights, all 10,000 test images
  residuum train digits             train and convert it, in about a minute
  residuum sim digits               run it on the simulated engine, compare every spike
  residuum run                      classify digits over the link, simulated or on a board
  residuum synth                    ECP5 resources of the engine
  residuum eval --help              the options of one command
"""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one sentence, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command line.

    Returns the exit status: 0 success, 1 error, 2 wrong command line, 130 interrupted, 141 closed
    output pipe (the status of SIGPIPE in a shell).
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        args = _parser(arguments).parse_args(arguments)
        status = int(args.run(args))
        # Flush here, so that a closed pipe or a full disk is handled below.
        if sys.stdout is not None:
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
    except SystemExit as left:
        # A console of rich leaves by itself, with status 1, when its pipe is closed.
        if isinstance(left.__context__, BrokenPipeError):
            return 141
        raise
    except OSError as error:
        # Commands handle errors of their own files. This is for unexpected errors, such as a full
        # temporary folder.
        _drop_output()
        where = f"{error.filename}: " if error.filename else "a file or the output failed: "
        print(f"residuum: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def _drop_output() -> None:
    """If stdout fails, redirect it to /dev/null: Python flushes the buffer again at exit."""
    if sys.stdout is None:
        return
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
        # A keyword cannot name a module that others import.
        file = f"{command.name}_" if keyword.iskeyword(command.name) else command.name
        module = importlib.import_module(f"residuum.commands.{file}")
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

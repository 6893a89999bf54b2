"""``residuum train``."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import add_allow_modified, positive_number, whole_number
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.train.models import ModelDefinition

DESCRIPTION = """\
Train a network (QCFS activation), convert it to integers with 8-bit and 4-bit weights, evaluate
both on the held-out images, and write a .npz file for each. An interrupted run resumes after the
last finished epoch."""
EXAMPLES = """\
examples:
  residuum train digits              8x8 handwritten digits, about a minute; needs no download
  residuum train mnist               28x28 handwritten digits, about 10 minutes
  residuum train fashion             28x28 clothes, about 20 minutes
  residuum train cifar10             32x32 colour photographs, about two hours
  residuum train mnist --bits 4      only the integer network with 4-bit weights
  residuum train mnist --activity-penalty 0.5    fewer spikes, for a faster engine
  residuum train digits --restart    discard the finished epochs of an earlier run
  residuum train digits --install    write to sw/zoo, the committed networks, not to build/zoo

Times are for one core. Images are read from the folder in the environment variable RESIDUUM_DATA,
else downloaded once. All models but digits are trained in bfloat16 and need a C++ compiler.

Seeds are fixed and training uses one thread: the same command gives the same network on the same
kind of machine.
"""

# tau and T of the evaluation.
TAU, T = 4, 4
LARGEST_SEED = 2**32 - 1
BITS = (8, 4)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="digits, mnist, fashion or cifar10")
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="seed of all random numbers (default %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=positive_number,
        metavar="N",
        help="passes over the training images (default: by model)",
    )
    parser.add_argument(
        "--activity-penalty",
        type=float,
        metavar="X",
        help="weight of the mean activity in the loss, >= 0; a larger one gives fewer spikes "
        "(default: by model)",
    )
    parser.add_argument(
        "--bits",
        type=positive_number,
        nargs="+",
        default=BITS,
        metavar="N",
        help="weight bits of the integer networks, each 2 .. 16 (default 8 4)",
    )
    add_allow_modified(parser)
    parser.add_argument("--restart", action="store_true", help="do not resume an earlier run")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for the networks (default build/zoo)"
    )
    place.add_argument("--install", action="store_true", help="write to sw/zoo")


def run(args: argparse.Namespace) -> int:
    from residuum.sw.files import build_folder, shown

    checkpoint = build_folder() / "train" / f"{args.model}.pt"
    try:
        _run(args, checkpoint)
    except KeyboardInterrupt:
        kept = "no epoch was finished, so nothing is kept"
        if checkpoint.exists():
            command = "same command without --restart" if args.restart else "same command"
            kept = (
                f"the finished epochs of the training are kept in {shown(checkpoint)}, and the "
                f"{command} goes on from there"
            )
        raise KeyboardInterrupt(kept) from None
    return 0


def _run(args: argparse.Namespace, checkpoint: Path) -> None:
    import torch

    from residuum.commands.console import data_access, say_written
    from residuum.sw.data.data_sets import dataset, load_dataset
    from residuum.sw.files import build_folder, checkout, require_writable
    from residuum.sw.golden.accuracy import describe, evaluate
    from residuum.sw.network.integer_network import MAX_WEIGHT_BITS, MIN_WEIGHT_BITS
    from residuum.sw.network.library import ZOO, float_file, zoo_file
    from residuum.sw.train.models import model_definition
    from residuum.sw.train.training import float_accuracy, fold, integers, need_compiler, train

    definition = _changed(model_definition(args.model), args)
    for bits in args.bits:
        if not MIN_WEIGHT_BITS <= bits <= MAX_WEIGHT_BITS:
            raise ResiduumError(
                f"--bits must be {MIN_WEIGHT_BITS} .. {MAX_WEIGHT_BITS}, not {bits}"
            )
    if args.seed > LARGEST_SEED:
        raise ResiduumError(f"--seed must be at most {LARGEST_SEED}, not {args.seed}")
    need_compiler(definition)
    # The number of threads changes the order of sums, and so the last bits of a weight.
    torch.set_num_threads(1)
    access = data_access(args)
    data, reporter = load_dataset(definition.dataset, access), access.reporter
    if args.install and checkout() is None:
        raise ResiduumError("--install writes to sw/zoo of a checkout; give --out instead")
    folder = ZOO if args.install else args.out or build_folder() / "zoo"
    path = float_file(definition.name, folder)
    for file in (path, checkpoint):
        require_writable(file)
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    trained = train(definition, data, seed=args.seed, checkpoint=checkpoint, reporter=reporter)
    network = fold(trained)
    accuracy = 100 * float_accuracy(network, data.test_images, data.test_labels)
    print(f"{definition.name}: {accuracy:.2f} % before conversion (float QCFS network)")
    network.save(path)
    say_written(path)
    for bits in args.bits:
        metadata = {
            "dataset": definition.dataset,
            "dataset licence": dataset(definition.dataset).licence,
            "licence": "Apache-2.0",
            "command": command_line(args, bits),
            "accuracy of the float network": f"{accuracy:.2f} %",
            "torch": torch.__version__,
        }
        how = {"bits": bits, "seed": args.seed}
        integer = integers(network, definition, data, **how, metadata=metadata, reporter=reporter)
        tally = evaluate(
            integer, data.test_images, data.test_labels, tau=TAU, T=T, reporter=reporter
        )
        print(describe(integer, tally, TAU, T))
        path = zoo_file(definition.name, bits, folder)
        integer.save(path)
        say_written(path)


def command_line(args: argparse.Namespace, bits: int) -> str:
    """The command that reproduces the network with ``bits``-bit weights, with relevant options
    only."""
    words = ["residuum", "train", args.model, "--seed", str(args.seed)]
    if args.epochs is not None:
        words += ["--epochs", str(args.epochs)]
    if args.activity_penalty is not None:
        words += ["--activity-penalty", str(args.activity_penalty)]
    if bits not in BITS:
        words += ["--bits", str(bits)]
    return " ".join(words)


def _changed(definition: "ModelDefinition", args: argparse.Namespace) -> "ModelDefinition":
    penalty, recipe = args.activity_penalty, definition.recipe
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    if penalty is not None:
        if not 0 <= penalty < float("inf"):
            raise ResiduumError(f"--activity-penalty must be at least 0, not {penalty}")
        recipe = replace(recipe, activity_penalty=penalty)
    return replace(definition, recipe=recipe)

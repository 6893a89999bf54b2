"""``residuum train``."""

import argparse
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import positive_number, whole_number
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.data.data_sets import ImageSet
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.train.models import ModelDefinition

DESCRIPTION = """\
Train a network (QCFS activation), convert it to integers with 8-bit and 4-bit weights, check both
on the held-out images and write one .npz file for each. A run that was interrupted goes on where
it stopped."""
EXAMPLES = """\
examples:
  residuum train digits              8x8 handwritten digits, about a minute; needs no download
  residuum train mnist               28x28 handwritten digits, about 10 minutes
  residuum train fashion             28x28 clothes, about 20 minutes
  residuum train cifar10             32x32 colour photographs, about two hours
  residuum train mnist --bits 4      only the integer network with 4-bit weights
  residuum train mnist --activity-penalty 0.5    fewer spikes, for a faster engine
  residuum train digits --restart    forget the finished epochs of an earlier run
  residuum train digits --install    write to the committed place (sw/zoo) instead of build/zoo

Times are for one core. Images are read from the folder that the variable RESIDUUM_DATA names, else
downloaded once. All but digits are trained in bfloat16 and need a C++ compiler.

Fixed seeds and one thread: the same command gives the same network on the same kind of machine.
"""

FINE_TUNED_BELOW = 8
CHECKED_TAU, CHECKED_T = 4, 4
LARGEST_SEED = 2**32 - 1
BITS = (8, 4)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="digits, mnist, fashion or cifar10")
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="of everything random (default %(default)s)",
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
        help="weight of the mean activity in the loss, >= 0; more means fewer spikes "
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
    parser.add_argument("--restart", action="store_true", help="do not go on with an earlier run")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where the networks go (default build/zoo)"
    )
    place.add_argument("--install", action="store_true", help="write to sw/zoo")


def run(args: argparse.Namespace) -> int:
    import torch

    from residuum.sw.data.data_sets import dataset, load_dataset
    from residuum.sw.files import build_folder
    from residuum.sw.network.integer_network import MAX_WEIGHT_BITS, MIN_WEIGHT_BITS
    from residuum.sw.network.library import ZOO, float_file
    from residuum.sw.train.models import model_definition
    from residuum.sw.train.training import float_accuracy, fold, train

    definition = _changed(model_definition(args.model), args)
    for bits in args.bits:
        if not MIN_WEIGHT_BITS <= bits <= MAX_WEIGHT_BITS:
            raise ResiduumError(
                f"--bits must be {MIN_WEIGHT_BITS} .. {MAX_WEIGHT_BITS}, not {bits}"
            )
    if args.seed > LARGEST_SEED:
        raise ResiduumError(f"--seed must be at most {LARGEST_SEED}, not {args.seed}")
    if definition.recipe.precision == "bfloat16":
        _need_compiler(definition.name)
    # The order of a sum depends on the number of threads, and so do the last bits of a weight.
    torch.set_num_threads(1)
    data = load_dataset(definition.dataset)
    folder = ZOO if args.install else args.out or build_folder() / "zoo"
    checkpoint = build_folder() / "train" / f"{definition.name}.pt"
    # Not after two hours of training.
    for place in (folder, checkpoint.parent):
        _make_writable(place)
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    network = fold(train(definition, data, seed=args.seed, checkpoint=checkpoint))
    accuracy = float_accuracy(network, data.test_images, data.test_labels)
    print(f"{definition.name}: {100 * accuracy:.2f} % before conversion (float QCFS network)")
    described = {
        "dataset": definition.dataset,
        "dataset licence": dataset(definition.dataset).licence,
        "licence": "Apache-2.0",
    }
    measured = {
        "accuracy of the float network": f"{100 * accuracy:.2f} %",
        "torch": torch.__version__,
    }
    path = float_file(definition.name, folder)
    network.save(path)
    print(f"written: {path}")
    for bits in args.bits:
        metadata = {**described, "command": command_line(args, bits), **measured}
        _convert(definition, network, data, bits, args.seed, metadata, folder)
    return 0


def command_line(args: argparse.Namespace, bits: int) -> str:
    """The command that gives the network of ``bits`` bits again, without what does not matter."""
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


def _need_compiler(model: str) -> None:
    """Raise ``ResiduumError`` if there is no C++ compiler, which ``torch.compile`` calls."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(compiler):
        raise ResiduumError(
            f"training of {model} needs the C++ compiler {compiler}, which is not there; install "
            "it, or name another in the variable CXX"
        )


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = None if os.access(folder, os.W_OK) else "Permission denied"
    except OSError as error:
        problem = error.strerror
    if problem:
        raise ResiduumError(f"the folder {folder} cannot be written: {problem}")


def _convert(
    definition: "ModelDefinition",
    network: "FloatNetwork",
    data: "ImageSet",
    bits: int,
    seed: int,
    metadata: dict[str, str],
    folder: Path,
) -> None:
    """Fine-tune if the weights get coarse, convert, check on the held-out images, save."""
    from residuum.sw.convert.to_integer import to_integer
    from residuum.sw.golden.accuracy import describe, evaluate
    from residuum.sw.network.library import zoo_file
    from residuum.sw.train.training import fine_tune

    if bits < FINE_TUNED_BELOW:
        network = fine_tune(network, definition, data, bits=bits, seed=seed)
    integer = to_integer(network, bits=bits, metadata=metadata)
    tally = evaluate(integer, data.test_images, data.test_labels, tau=CHECKED_TAU, T=CHECKED_T)
    print(describe(integer, tally, CHECKED_TAU, CHECKED_T))
    path = zoo_file(definition.name, bits, folder)
    integer.save(path)
    print(f"written: {path}")
